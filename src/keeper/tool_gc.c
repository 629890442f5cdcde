/*
 * tool_gc.c - find and remove what the dead left, in the namespaces that own it.
 *
 *	runtime directories	of keepers that are dead
 *	records			of dead sandboxes without checkpoints, or whose owner or
 *				lease is over (store/record.h); those that the caller
 *				names, with the files of their checkpoints
 *	layers, bases, trash	that nothing names
 *
 * What cannot be removed is told, and the rest is removed all the same.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "keeper/lost.h"
#include "keeper/tools.h"
#include "sandbox/userns.h"
#include "store/layer.h"
#include "sys/proc.h"
#include "sys/procfs.h"
#include "wire/errjson.h"
#include "wire/runtime.h"

struct gc {
	int runtime_fd;
	struct store *store;
	bool all;		/* delete all dead sandboxes */
	char *const *targets;	/* NAME or NAME@CKPT to delete; NULL-terminated */
	json_t *names;		/* of dead sandboxes that were removed */
	json_t *kept;		/* of those of which files are kept */
	json_t *problems;	/* what could not be done: struct err as JSON */
	size_t checkpoints;	/* deleted */
	size_t files_kept;	/* checkpoints of which the files are kept */
	size_t busy_cgroups;
	struct store_gc collected;
	size_t trash;
};

enum {
	KERNEL_PF_EXITING = 4,	/* include/linux/sched.h, in /proc/<pid>/stat */
	DYING_MS = 5000,	/* its mounts and memory go first */
};

/*
 * A keeper that was killed a moment ago still has its lock: wait until it is
 * gone. One that lives is left alone at once.
 */
static void await_dying(pid_t pid)
{
	struct procfs p = PROCFS_INIT;
	struct procfs_stat stat;
	struct procfs_status status;
	scoped_fd int pidfd = sys_pidfd_open(pid);
	if (pidfd < 0 || procfs_open(&p, NULL))
		return;
	const uint64_t killed = 1ull << (SIGKILL - 1);
	bool dying = procfs_stat(&p, pid, 0, &stat) || (stat.flags & KERNEL_PF_EXITING) ||
		     procfs_status(&p, pid, 0, &status) ||
		     ((status.sig_pending | status.sig_shared_pending) & killed);
	procfs_close(&p);
	if (dying && sys_pidfd_wait(pidfd, DYING_MS) < 0)
		return;
}

static bool listed(const json_t *array, const char *text)
{
	size_t i;
	json_t *v;
	json_array_foreach((json_t *)array, i, v)
		if (!strcmp(json_string_value(v), text))
			return true;
	return false;
}

static void add_name(json_t *array, const char *name)
{
	if (!listed(array, name))
		json_array_append_new(array, json_string(name));
}

static void remove_name(json_t *array, const char *name)
{
	for (size_t i = json_array_size(array); i-- > 0;)
		if (!strcmp(json_string_value(json_array_get(array, i)), name))
			json_array_remove(array, i);
}

/* Go on: this is told at the end. */
static void problem(struct gc *g, const struct err *e)
{
	json_array_append_new(g->problems, err_to_json(e));
}

/* Its runtime directory and cgroups. */
static int clear_runtime(struct gc *g, const struct runtime_entry *entry, struct err *e)
{
	struct runtime_entry now = *entry;
	int r = 0;
	if (entry->alive && entry->pid) {
		await_dying(entry->pid);
		r = runtime_find(g->runtime_fd, entry->name, &now, e);
		if (r == -ENOENT)
			return 0;	/* it ended in good order */
	}
	if (r || now.alive)
		return r;
	int left = limits_gc(entry->name, e);
	if (left < 0)
		return left;
	g->busy_cgroups += (size_t)left;
	add_name(g->names, entry->name);
	r = runtime_clear(g->runtime_fd, entry->name, e);
	/* another gc may have been faster */
	return r < 0 && r != -ENOENT ? r : 0;
}

static int clear_runtimes(struct gc *g, struct err *e)
{
	struct vec all;
	int r = runtime_list(g->runtime_fd, &all, e);
	if (r)
		return r;
	vec_each(struct runtime_entry, entry, &all) {
		struct err why = ERR_INIT;
		if (clear_runtime(g, entry, &why))
			problem(g, &why);
	}
	vec_deinit(&all);
	return 0;
}

static bool is_target(const struct gc *g, const char *name)
{
	for (char *const *t = g->targets; *t; t++)
		if (!strcmp(*t, name))
			return true;
	return g->all;
}

/* A keeper of another version may live without a lock on its record. */
static bool runs(const struct gc *g, const char *name)
{
	struct runtime_entry entry;
	return !runtime_find(g->runtime_fd, name, &entry, NULL) && entry.alive;
}

static int settle_record(struct gc *g, struct record *r, const struct lost *l, struct err *e)
{
	if (r->state == RECORD_LIVING || runs(g, r->name))
		return 0;
	if (r->state == RECORD_KEPT && !is_target(g, r->name)) {
		remove_name(g->names, r->name);
		add_name(g->kept, r->name);
		return record_tidy(g->store, r, e);
	}
	add_name(g->names, r->name);
	int wrong = record_delete(g->store, r, &l->records, &l->manifests, &g->checkpoints, e);
	/* the next one of its family may be the last now */
	if (!wrong)
		r->state = RECORD_LEFT_OVER;
	return wrong;
}

static int settle_records(struct gc *g, struct err *e)
{
	struct lost l;
	int r = lost_read(g->store, &l, e);
	vec_each(struct record, one, &l.records) {
		struct err why = ERR_INIT;
		if (!r && settle_record(g, one, &l, &why))
			problem(g, &why);
	}
	lost_deinit(&l);
	return r;
}

static int delete_checkpoint(struct gc *g, const char *text, struct err *e)
{
	struct lost l;
	const struct manifest *m;
	int r = lost_read(g->store, &l, e);
	if (!r)
		r = lost_parse(&l, text, &m, e);
	if (!r)
		r = manifest_remove(g->store, m->id, e);
	g->checkpoints += !r;
	lost_deinit(&l);
	return r;
}

/* What was to be deleted and is not there. */
static void check_targets(struct gc *g)
{
	for (char *const *t = g->targets; *t; t++) {
		struct err e = ERR_INIT;
		if (strchr(*t, '@') || listed(g->names, *t))
			continue;
		err_set(&e, ENOENT, "no sandbox named '%.80s'", *t);
		err_remedy(&e, "`mulligan ps` lists them");
		problem(g, &e);
	}
}

/* Layers that are not there. Those that are damaged: doctor looks. */
static int check_layers(struct gc *g, struct err *e)
{
	struct lost l;
	int r = lost_read(g->store, &l, e);
	vec_each(struct manifest, m, &l.manifests) {
		struct err why = ERR_INIT;
		bool whole = !r;
		vec_each(struct manifest_mount, mm, &m->mounts)
			vec_each(struct manifest_layer, want, &mm->layers) {
				struct layer *layer;
				if (!whole || !layer_open(g->store, want->id, &layer, &why)) {
					if (whole)
						layer_unref(layer);
					continue;
				}
				whole = false;
				err_wrap(&why, "checkpoint %s of '%s'", m->id, m->sandbox);
				err_remedy(&why, "its files are lost: `mulligan rm %s@%s`",
					   m->sandbox, m->id);
				problem(g, &why);
			}
		g->files_kept += whole && listed(g->kept, m->sandbox);
	}
	lost_deinit(&l);
	return r;
}

static int gc_open(struct gc *g, struct err *e)
{
	char state[RUNTIME_PATH_BYTES];
	int r = runtime_state_path(state, e);
	if (!r)
		g->runtime_fd = runtime_open(e);
	if (!r && g->runtime_fd < 0)
		r = g->runtime_fd;
	if (!r)
		r = userns_enter(userns_needed(), e);
	return r ? r : store_open(state, &g->store, e);
}

static int gc_run(struct gc *g, struct err *e)
{
	int r = gc_open(g, e);
	if (!r)
		r = clear_runtimes(g, e);
	for (char *const *t = g->targets; !r && *t; t++) {
		struct err why = ERR_INIT;
		if (strchr(*t, '@') && delete_checkpoint(g, *t, &why))
			problem(g, &why);
	}
	if (!r)
		r = settle_records(g, e);
	if (!r)
		r = store_gc(g->store, &g->collected, e);
	if (!r)
		r = store_empty_trash(g->store, &g->trash, e);
	if (!r)
		r = check_layers(g, e);
	if (!r)
		check_targets(g);
	return r;
}

static void print_error(bool json, const json_t *error)
{
	if (json) {
		scoped_json json_t *j = json_pack("{s:O}", "error", error);
		json_dumpf(j, stderr, JSON_COMPACT);
		fputc('\n', stderr);
		return;
	}
	const char *remedy = json_get_string(error, "remedy", "");
	fprintf(stderr, "mulligan: %s\n", json_get_string(error, "cause", ""));
	if (*remedy)
		fprintf(stderr, "  remedy: %s\n", remedy);
}

static void gc_print(const struct gc *g, bool json)
{
	size_t dead = json_array_size(g->names);
	if (json) {
		scoped_json json_t *j = json_pack(
			"{s:O, s:I, s:O, s:I, s:I, s:I, s:I, s:I}", "sandboxes", g->names,
			"checkpoints", (json_int_t)g->checkpoints, "kept", g->kept,
			"kept_checkpoints", (json_int_t)g->files_kept, "layers", (json_int_t)g->collected.layers, "bases",
			(json_int_t)g->collected.bases, "leftovers",
			(json_int_t)g->collected.leftovers, "busy_cgroups",
			(json_int_t)g->busy_cgroups);
		struct buf out = BUF_INIT;
		json_write(&out, j);
		puts(out.failed ? "{}" : out.data);
		buf_deinit(&out);
		return;
	}
	printf("removed: %zu dead sandboxes, %zu checkpoints, %zu layers, %zu bases, %zu leftovers\n",
	       dead, g->checkpoints, g->collected.layers, g->collected.bases,
	       g->collected.leftovers);
	if (json_array_size(g->kept))
		printf("kept: the files of %zu checkpoints of %zu dead sandboxes (`mulligan ps` lists "
		       "them, `mulligan rm` deletes them)\n",
		       g->files_kept, json_array_size(g->kept));
	if (g->busy_cgroups)
		printf("%zu cgroups still have processes: try again\n", g->busy_cgroups);
}

int tool_gc(bool json, bool all, char *const names[])
{
	struct gc g = {
		.runtime_fd = -1,
		.all = all,
		.targets = names,
		.names = json_array(),
		.kept = json_array(),
		.problems = json_array(),
	};
	struct err e = ERR_INIT;
	int r = gc_run(&g, &e);
	if (r)
		problem(&g, &e);
	else if (json || (!all && !names[0]))	/* rm says nothing, as of the living */
		gc_print(&g, json);
	fflush(stdout);
	size_t i;
	json_t *error;
	json_array_foreach(g.problems, i, error)
		print_error(json, error);
	bool good = !json_array_size(g.problems);
	if (g.store)
		store_close(g.store);
	cleanup_fd(&g.runtime_fd);
	json_decref(g.names);
	json_decref(g.kept);
	json_decref(g.problems);
	return good ? 0 : 1;
}
