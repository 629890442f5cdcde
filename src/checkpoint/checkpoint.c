/*
 * checkpoint.c - the transaction. All that can be refused is refused before
 * anything is touched: freeze and look change nothing.
 *
 *	prepare		the next overlays exist
 *	template	a fork of the parent's template
 *	freeze, look	the tree stands still and is looked at
 *	handles		the keeper drains and saves its commands
 *	plan, copy	written pages go into the template
 *	cut, reopen	the files
 *	visit		every process is asked, and receives its new files
 *	move		every process takes them: the point of no return
 *	arm		tracking of what is new
 *	settle, thaw
 *
 * What comes after visit finds nothing that it could refuse: a failed call is
 * made again. Only when that fails, too, is the sandbox broken.
 */
#include "checkpoint/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "checkpoint/take.h"
#include "parts/inotify.h"
#include "sys/file.h"

static int run_prepare(void *ctx, struct err *e)
{
	struct take *t = ctx;
	return fs_prepare(t->in->fs, e);
}

/* Nothing to start from, the parent's was killed: all memory is copied. */
static int start_empty(struct take *t, struct err *e)
{
	template_close(&t->parent->template);
	unsigned int depth = t->base->depth;
	checkpoint_unref(t->base);
	t->base = checkpoint_new();
	if (!t->base)
		return err_set(e, ENOMEM, "out of memory");
	t->base->depth = depth;
	tracker_invalidate(&t->in->tracker);
	return template_start(&t->next->template, e);
}

static int run_template(void *ctx, struct err *e)
{
	struct take *t = ctx;
	t->base = checkpoint_ref(t->parent);
	if (!template_is_lost(&t->in->ahead)) {
		t->next->template = t->in->ahead;
		t->in->ahead = TEMPLATE_INIT;
		return 0;
	}
	template_close(&t->in->ahead);
	int r = -ENODATA;
	if (!template_is_lost(&t->parent->template))
		r = template_fork(&t->parent->template, &t->next->template, e);
	return r && template_is_lost(&t->parent->template) ? start_empty(t, e) : r;
}

static int run_freeze(void *ctx, struct err *e)
{
	struct take *t = ctx;
	t->frozen_since_ns = clock_now_ns();
	return freeze_tree(t->en->freezer, t->in->pid1, &t->frozen, e);
}

/* What we did with the sandbox's files, closing them, too, is nobody's business. */
static void be_quiet(struct take *t)
{
	if (!t->look.inotifys.n)
		return;
	look_close(&t->look);
	files_open_deinit(&t->reopened);
	inotify_quiet_live(&t->look);
}

static void undo_freeze(void *ctx)
{
	struct take *t = ctx;
	be_quiet(t);
	thaw(t->frozen);
	t->frozen = NULL;
}

static int run_look(void *ctx, struct err *e)
{
	return take_look(ctx, e);
}

static int run_handles(void *ctx, struct err *e)
{
	struct take *t = ctx;
	return t->hooks && t->hooks->frozen ? t->hooks->frozen(t->hooks->ctx, e) : 0;
}

static int reopen_root(struct take *t, struct err *e)
{
	struct incarnation *in = t->in;
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/root", in->pid1);
	int fd = sys_openat(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0);
	if (fd < 0)
		return err_set(e, -fd, "open the root: %s", strerror(-fd));
	t->old_root_fd = in->root_fd;
	in->root_fd = fd;
	return 0;
}

static void undo_cut(void *ctx)
{
	struct take *t = ctx;
	if (!t->was_cut || t->moved)
		return;
	if (fs_uncut(t->in->fs, t->in->mntns_fd, NULL))
		t->broken = true;
	t->was_cut = false;
	if (t->old_root_fd < 0)
		return;
	cleanup_fd(&t->in->root_fd);
	t->in->root_fd = take_fd(&t->old_root_fd);
}

static int run_cut(void *ctx, struct err *e)
{
	struct take *t = ctx;
	bool writers;
	int r = take_carry_list(t, &writers, e);
	if (r)
		return r;
	if (fs_is_clean(t->in->fs, writers))
		return fs_snapshot_now(t->in->fs, &t->next->files, e);
	t->cut = (struct fs_cut){ .mntns_fd = t->in->mntns_fd,
				  .carry = t->carry.data,
				  .n_carry = t->carry.n,
				  .writers = writers };
	r = fs_cut(t->in->fs, &t->cut, &t->next->files, e);
	if (r)
		return r;
	t->was_cut = true;
	r = reopen_root(t, e);
	if (r)
		undo_cut(t);
	return r;
}

static int run_reopen(void *ctx, struct err *e)
{
	struct take *t = ctx;
	return t->was_cut ? take_reopen(t, e) : 0;
}

static int run_visit(void *ctx, struct err *e)
{
	struct take *t = ctx;
	return take_visit(t, e);
}

static void undo_visit(void *ctx)
{
	take_leave(ctx);
}

static int run_move(void *ctx, struct err *e)
{
	struct take *t = ctx;
	t->moved = t->was_cut;
	int r = take_move(t, e);
	t->broken |= r < 0;
	if (r == 0)
		rehome_forget(t);
	return r;
}

static int run_plan(void *ctx, struct err *e)
{
	struct take *t = ctx;
	dump_init(&t->dump, &t->next->image, &t->base->image, t->base->depth + 1);
	for (size_t i = 0; i < t->frozen->procs.n; i++) {
		const struct frozen_proc *fp = frozen_proc(t->frozen, i);
		if (fp->zombie)
			continue;
		struct tracked *tr =
			tracker_find(&t->in->tracker, fp->pid, fp->stat.start_time);
		int r = dump_plan(&t->dump, (int)i, t->look.procfs, fp->pid, tr, e);
		if (r) {
			/* those before it have been armed again */
			tracker_invalidate(&t->in->tracker);
			return r;
		}
	}
	int r = dump_note_changes(&t->dump, e);
	if (r)
		tracker_invalidate(&t->in->tracker);
	return r;
}

static void undo_plan(void *ctx)
{
	struct take *t = ctx;
	tracker_invalidate(&t->in->tracker);
}

static int run_copy(void *ctx, struct err *e)
{
	struct take *t = ctx;
	return dump_run(&t->dump, &t->next->template, &t->look.opened, e);
}

/* A process that cannot be tracked is copied whole the next time. */
static int run_arm(void *ctx, struct err *e)
{
	struct take *t = ctx;
	size_t k = 0;
	for (size_t i = 0; i < t->frozen->procs.n; i++) {
		const struct frozen_proc *fp = frozen_proc(t->frozen, i);
		if (fp->zombie)
			continue;
		struct tracked *tr =
			tracker_find(&t->in->tracker, fp->pid, fp->stat.start_time);
		if (tr->uffd >= 0 && dump_arm(&t->dump, (int)k, tr, NULL))
			cleanup_fd(&tr->uffd);
		k++;
	}
	return 0;
}

/* The old overlays stay hidden where they cannot be detached: no harm. */
static int run_settle(void *ctx, struct err *e)
{
	struct take *t = ctx;
	struct err why = ERR_INIT;
	int r = t->was_cut ? fs_settle(t->in->fs, t->in->mntns_fd, &why) : 0;
	if (!r || !why.broken)
		return 0;
	t->broken = true;
	if (e)
		*e = why;
	return r;
}

static int run_thaw(void *ctx, struct err *e)
{
	struct take *t = ctx;
	t->stats->frozen_ns = clock_now_ns() - t->frozen_since_ns;
	undo_freeze(t);
	return 0;
}

static const struct stage take_stages[] = {
	{ "prepare", run_prepare, NULL, false },
	{ "template", run_template, NULL, false },
	{ "freeze", run_freeze, undo_freeze, false },
	{ "look", run_look, NULL, false },
	{ "handles", run_handles, NULL, false },
	{ "plan", run_plan, undo_plan, false },
	{ "copy", run_copy, NULL, false },
	{ "cut", run_cut, undo_cut, false },
	{ "reopen", run_reopen, NULL, false },
	{ "visit", run_visit, undo_visit, false },
	{ "move", run_move, NULL, false },
	{ "arm", run_arm, NULL, false },
	{ "settle", run_settle, NULL, false },
	{ "thaw", run_thaw, NULL, false },
};

static void take_deinit(struct take *t)
{
	checkpoint_unref(t->base);
	cleanup_fd(&t->old_root_fd);
	look_deinit(&t->look);
	dump_deinit(&t->dump);
	files_open_deinit(&t->reopened);
	vec_deinit(&t->reopen);
	vec_deinit(&t->carry);
}

static void take_stats(struct take *t)
{
	struct checkpoint_stats *s = t->stats;
	s->processes = t->next->image.procs.n;
	s->threads = t->next->image.n_threads;
	s->dirty_pages = t->dump.pages;
	s->copied_bytes = t->dump.pages * PUP_PAGE;
	s->files_carried = t->cut.stats.carried;
	s->files_cut = t->was_cut;
	t->next->dirty_pages = t->dump.pages;
}

/* Done: the incarnation's next checkpoint starts from this one. */
static void take_commit(struct take *t)
{
	struct incarnation *in = t->in;
	t->en->next_template_fd = t->look.next_template_fd;
	checkpoint_descend(t->next, t->base);
	checkpoint_unref(in->from);
	in->from = checkpoint_ref(t->next);
	tracker_forget_dead(&in->tracker);
}

static int take_once(struct take *t, struct err *e)
{
	t->next = checkpoint_new();
	if (!t->next)
		return err_set(e, ENOMEM, "out of memory");
	look_init(&t->look);
	t->reopen = VEC_INIT(bool);
	t->carry = VEC_INIT(struct carry_want);
	int r = stage_run(take_stages, sizeof(take_stages) / sizeof(take_stages[0]), t,
			  &t->stats->times, e);
	rehome_leave(t);
	if (r == 0) {
		take_stats(t);
		take_commit(t);
	} else {
		checkpoint_unref(t->next);
		if (t->broken && e)
			e->broken = true;
	}
	take_deinit(t);
	return r;
}

int checkpoint_take(struct incarnation *in, const struct vec *outers,
		    const struct checkpoint_hooks *hooks, struct checkpoint **out,
		    struct checkpoint_stats *stats, struct err *e)
{
	enum { TRIES = 20, WAIT_NS = 100000 };	/* 21 ms in all */
	if (in->state != INCARNATION_RUNNING)
		return err_set(e, EINVAL, "the sandbox is not running (%s)",
			       incarnation_state_name(in->state));
	int r = 0;
	for (int i = 0; i < TRIES; i++) {
		struct take t = { .in = in,
				  .en = in->engine,
				  .outers = outers,
				  .hooks = hooks,
				  .parent = in->from,
				  .old_root_fd = -1,
				  .stats = stats };
		r = take_once(&t, e);
		if (r == 0)
			*out = t.next;
		if (r != -EAGAIN)
			return r;
		/*
		 * A thread just released has not left the gate, say: let it. Not
		 * always for as long: what comes and goes may keep the same time.
		 */
		struct timespec wait = { 0, WAIT_NS * (1 + i * 7 % TRIES) };
		nanosleep(&wait, NULL);
	}
	return r;
}

int checkpoint_prepare(struct incarnation *in, struct err *e)
{
	int r = fs_prepare(in->fs, e);
	if (r || in->ahead.socket >= 0 || in->from->template.socket < 0)
		return r;
	return checkpoint_fork_ahead(in->from, &in->ahead, e);
}

int checkpoint_first(struct checkpoint **out, struct err *e)
{
	struct checkpoint *c = checkpoint_new();
	if (!c)
		return err_set(e, ENOMEM, "out of memory");
	int r = template_start(&c->template, e);
	if (r)
		checkpoint_unref(c);
	else
		*out = c;
	return r;
}
