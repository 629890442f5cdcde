/*
 * box_end.c - a sandbox goes: what runs, and what of it lies on disk.
 *
 * Removed on purpose (a request, its owner, its lease) it takes its checkpoints
 * along, if no fork has them. Ended from outside (a signal: the machine goes
 * down) it leaves their files: they stay until somebody deletes them.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "keeper/box.h"
#include "keeper/commit.h"
#include "keeper/merging.h"
#include "keeper/nodes.h"
#include "store/manifest.h"
#include "store/record.h"
#include "sys/proc.h"

enum { END_MS = 5000 };	/* a killed namespace of thousands of processes */

/* Kill it and wait, so that its cgroups and layers are free. */
static void end_incarnation(struct incarnation *in)
{
	if (!in)
		return;
	incarnation_kill(in);
	/* after the time-out its cgroup is left to gc */
	if (in->pid1_pidfd >= 0 && sys_pidfd_wait(in->pid1_pidfd, END_MS) < 0)
		in->state = INCARNATION_DEAD;
	incarnation_free(in);
}

static const struct record *own_record(const struct box *b, const struct vec *list)
{
	vec_each(struct record, r, list)
		if (!strcmp(r->name, b->place.name) && !strcmp(r->id, b->id))
			return r;
	return NULL;
}

/* Is a fork of it, or what it was forked from, still there? */
static int family_lives(struct box *b, bool *lives, struct err *e)
{
	/* without manifests, which may be many: this alone needs none */
	const struct vec none = VEC_INIT(struct manifest);
	struct vec list;
	int r = record_list(b->store, &none, &list, e);
	if (r)
		return r;
	*lives = record_has_family(&list, b->family, b->place.name);
	record_list_deinit(&list);
	return 0;
}

/* Delete the record, with the checkpoints that nobody else has. */
static int forget(struct box *b, struct err *e)
{
	bool lives;
	int r = family_lives(b, &lives, e);
	/* from here on it counts as dead */
	cleanup_fd(&b->record_fd);
	struct vec manifests = VEC_INIT(struct manifest), list;
	if (!r && (!lives || b->keep))
		r = manifest_list(b->store, &manifests, e);
	if (r)
		return r;
	r = record_list(b->store, &manifests, &list, e);
	if (!r) {
		const struct record *own = own_record(b, &list);
		size_t n = 0;
		bool keep = b->keep && own && own->state == RECORD_KEPT;
		if (own && !keep)
			r = record_delete(b->store, own, &list, &manifests, &n, e);
		else if (keep)
			r = record_tidy(b->store, own, e);
		record_list_deinit(&list);
	}
	manifest_list_deinit(&manifests);
	return r;
}

static int end_files_once(struct box *b, bool recorded, struct err *e)
{
	struct store_gc done;
	size_t n = 0;
	int r = recorded ? forget(b, e) : 0;
	if (!r)
		r = store_gc(b->store, &done, e);
	return r ? r : store_empty_trash(b->store, &n, e);
}

/* What is on disk. Nobody is left to be told: once more, then gc finds the rest. */
static void end_files(struct box *b)
{
	bool recorded = b->record_fd >= 0;
	for (int attempt = 0; attempt < 2; attempt++) {
		struct err e = ERR_INIT;
		int r = end_files_once(b, recorded, &e);
		if (!r)
			return;
		fprintf(stderr, "what=end code=%s cause=\"%s\"\n", err_name(-r), e.cause);
	}
}

void box_end(struct box *b)
{
	if (b->state == BOX_ENDING)
		return;
	b->state = BOX_ENDING;
	loop_task_cancel(&b->loop, &b->background);
	merging_end(b);
	box_commit_end(b);
	box_unwatch_live(b);
	loop_remove(&b->loop, &b->commands_source);
	cleanup_fd(&b->init_fd);
	if (b->live)
		incarnation_kill(b->live);
	if (b->standby)
		incarnation_kill(b->standby);
	if (b->keep)
		box_commit_all(b);
	end_incarnation(take_ptr(b->live));
	end_incarnation(take_ptr(b->standby));
	vec_each(struct incarnation *, in, &b->dying)
		end_incarnation(*in);
	vec_deinit(&b->dying);
	/* init has hung up: whoever follows a command is told that it is lost */
	if (b->commands)
		commands_dispatch(b->commands);
	nodes_deinit(b);
	if (b->engine_made)
		engine_deinit(&b->engine);
	image_close(&b->image);
	if (b->store)
		end_files(b);
	runtime_place_release(b->runtime_fd, &b->place);
	loop_stop(&b->loop);
}
