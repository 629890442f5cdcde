#include "keeper/merging.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "keeper/child.h"
#include "keeper/nodes.h"
#include "sandbox/chain.h"
#include "sandbox/merge.h"
#include "store/tree.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/proc.h"

enum {
	NICE = 10,		/* a tenth of what a guest gets that wants all */
	CATCH_UP_TIMES = 16,	/* longer than it should be: 384, overlays end at 480 */
	CATCH_UP_MS = 20000,	/* then the checkpoint takes its chance */
};

/* What the child says before it ends. */
struct report {
	int result;
	struct merge_stats stats;
	char cause[ERR_CAUSE_BYTES];
};

struct merging {
	struct box *box;
	const struct fs_mount *mount;	/* of what lives; until the child runs */
	size_t from;			/* the run in its layers */
	struct vec run;			/* struct layer *, newest first, references */
	struct layer *merged;
	pid_t pid;			/* of the child, 0: none */
	int report_fd;
	struct loop_source source;	/* its pidfd */
};

/* The child */

static int keep_what_is_needed(const struct merging *g, int below_fd, int report_fd)
{
	struct vec fds = VEC_INIT(int);
	int r = vec_reserve(&fds, g->run.n + 4);
	if (r == 0) {
		const int others[] = { below_fd, report_fd, g->merged->fs_fd, g->merged->dir_fd };
		vec_each(struct layer *, l, &g->run)
			*(int *)vec_add(&fds) = (*l)->fs_fd;
		for (size_t i = 0; i < 4; i++)
			*(int *)vec_add(&fds) = others[i];
		r = child_keep_only(&fds);
	}
	vec_deinit(&fds);
	return r;
}

/* Half of what is free: the sandbox goes on writing meanwhile. */
static uint64_t may_copy(int fd)
{
	struct statvfs fs;
	return fstatvfs(fd, &fs) ? 0 : (uint64_t)fs.f_bavail * fs.f_frsize / 2;
}

/* fs_fds has room for the run's. */
static int copy_layers(const struct merging *g, int below_fd, int *fs_fds,
		       struct merge_stats *stats, struct err *e)
{
	struct merge m = {
		.fs_fds = fs_fds,
		.n = g->run.n,
		.to_fd = g->merged->fs_fd,
		.below_fd = below_fd,
		.userxattr = g->box->live->fs->userxattr,
		.bytes_max = may_copy(g->merged->fs_fd),
	};
	for (size_t i = 0; i < g->run.n; i++)
		fs_fds[i] = (*(struct layer **)vec_at(&g->run, i))->fs_fd;
	int r = merge_layers(&m, e);
	*stats = m.stats;
	return r;
}

/* What was made of it takes room that may be needed. */
static void empty_merged(const struct layer *merged)
{
	int r = tree_remove(merged->dir_fd, "fs");
	if (r == 0)
		r = sys_mkdirat(merged->dir_fd, "fs", 0755);
	(void)r;	/* the keeper moves what stays to the trash */
}

static int child_work(const struct merging *g, int report_fd, struct merge_stats *stats,
		      struct err *e)
{
	scoped_free int *fs_fds = calloc(g->run.n, sizeof(int));
	scoped_fd int below = chain_open_below(g->mount, g->from + g->run.n,
					       g->box->live->fs->userxattr, g->merged->dir_fd, e);
	if (below < 0)
		return below;
	int r = fs_fds ? keep_what_is_needed(g, below, report_fd) : -ENOMEM;
	if (r)
		return err_set(e, -r, "cannot begin: %s", strerror(-r));
	r = copy_layers(g, below, fs_fds, stats, e);
	if (r)
		empty_merged(g->merged);
	return r;
}

static void __attribute__((noreturn)) child_run(const struct merging *g, pid_t keeper,
						int report_fd)
{
	struct err e = ERR_INIT;
	struct report report = { 0 };
	child_begin(keeper, "mulligan-merge");
	setpriority(PRIO_PROCESS, 0, NICE);
	report.result = child_work(g, report_fd, &report.stats, &e);
	snprintf(report.cause, sizeof(report.cause), "%s", e.cause);
	ssize_t n = sys_write(report_fd, &report, sizeof(report));
	_exit(n != sizeof(report));
}

/* The end */

static void merging_free(struct merging *g)
{
	if (!g)
		return;
	if (g->source.fd >= 0)
		loop_remove(&g->box->loop, &g->source);
	cleanup_fd(&g->source.fd);
	cleanup_fd(&g->report_fd);
	vec_each(struct layer *, l, &g->run)
		layer_unref(*l);
	vec_deinit(&g->run);
	free(g);
}

/* From here on no stack has the run that this keeper holds and can shorten. */
static void switch_all(struct box *b, const struct vec *run, struct layer *merged)
{
	vec_each(struct node *, n, &b->nodes)
		if (chain_switch_snapshot(&(*n)->checkpoint->files, run, merged))
			(*n)->manifest_stale = b->merge_unsynced = true;
	if (b->live)
		chain_switch_tree(b->live->fs, run, merged);
	if (b->standby)
		chain_switch_tree(b->standby->fs, run, merged);
	fs_spares_drop_layers(&b->engine.spares, run);
}

static int stage_report(void *ctx, struct err *e)
{
	struct merging *g = ctx;
	struct report report;
	int status = 0;
	pid_t pid = g->pid;
	g->pid = 0;
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status))
		return err_set(e, ECHILD, "the merging process ended with status %#x", status);
	if (sys_read(g->report_fd, &report, sizeof(report)) != sizeof(report))
		return err_set(e, EPROTO, "the merging process said nothing");
	report.cause[sizeof(report.cause) - 1] = '\0';
	return report.result < 0 ? err_set(e, -report.result, "%s", report.cause) : 0;
}

static int stage_switch(void *ctx, struct err *e)
{
	struct merging *g = ctx;
	const struct layer *newest = *(struct layer **)vec_at(&g->run, 0);
	layer_seal(g->merged);
	g->merged->level = newest->level + 1;
	switch_all(g->box, &g->run, g->merged);
	layer_unref(take_ptr(g->merged));
	return 0;
}

static const struct stage end_table[] = {
	{ .name = "merge-report", .run = stage_report },
	{ .name = "merge-switch", .run = stage_switch },
};

static size_t longest(const struct box *b)
{
	size_t most = 0;
	vec_each(struct fs_mount, m, &b->live->fs->mounts)
		most = m->layers.n > most ? m->layers.n : most;
	return most;
}

/* A disk may be full for long: not again at every checkpoint. */
static void merge_failed(struct box *b, const struct err *e)
{
	b->merges_failed++;
	b->merge_again_at = b->live ? longest(b) + chain_limits().run : 0;
	fprintf(stderr, "sandbox=%s what=merge code=%s cause=\"%s\"\n", b->place.name,
		err_name(e->code), e->cause);
}

static void merging_finish(struct box *b)
{
	struct err e = ERR_INIT;
	struct merging *g = take_ptr(b->merging);
	if (stage_run(end_table, sizeof(end_table) / sizeof(end_table[0]), g, NULL, &e)) {
		layer_discard(b->store, take_ptr(g->merged));
		merge_failed(b, &e);
	} else {
		b->merges_done++;
		b->merge_again_at = 0;
	}
	merging_free(g);
	loop_idle(&b->loop, &b->background);
}

static void child_ready(struct loop_source *s, uint32_t events)
{
	merging_finish(loop_owner(s, struct merging, source)->box);
}

void merging_end(struct box *b)
{
	struct merging *g = take_ptr(b->merging);
	if (!g)
		return;
	if (g->pid > 0) {
		int status;
		kill(g->pid, SIGKILL);
		waitpid(g->pid, &status, 0);
	}
	layer_discard(b->store, take_ptr(g->merged));
	merging_free(g);
}

void merging_abandon(struct box *b)
{
	struct merging *g = take_ptr(b->merging);
	if (!g)
		return;
	/* dropping the reference alone removes no files */
	layer_unref(take_ptr(g->merged));
	merging_free(g);
}

/* The beginning */

static bool choose(struct merging *g)
{
	const struct chain_limits limits = chain_limits();
	vec_each(struct fs_mount, m, &g->box->live->fs->mounts) {
		size_t n;
		if (!chain_choose(&m->layers, &limits, &g->from, &n) ||
		    m->layers.n < g->box->merge_again_at || vec_reserve(&g->run, n))
			continue;
		g->mount = m;
		for (size_t i = 0; i < n; i++)
			*(struct layer **)vec_add(&g->run) =
				layer_ref(*(struct layer **)vec_at(&m->layers, g->from + i));
		return true;
	}
	return false;
}

static int stage_layer(void *ctx, struct err *e)
{
	struct merging *g = ctx;
	return layer_new(g->box->store, &g->merged, e);
}

static void undo_layer(void *ctx)
{
	struct merging *g = ctx;
	layer_discard(g->box->store, take_ptr(g->merged));
}

static int stage_fork(void *ctx, struct err *e)
{
	struct merging *g = ctx;
	scoped_fd int read_end = -1, write_end = -1;
	int ends[2], r = sys_pipe_with(ends, 0);
	if (r)
		return err_set(e, -r, "make a pipe: %s", strerror(-r));
	read_end = ends[0];
	write_end = ends[1];
	pid_t keeper = getpid(), pid = fork();
	if (pid < 0)
		return err_set(e, errno, "fork: %s", strerror(errno));
	if (pid == 0)
		child_run(g, keeper, write_end);
	g->pid = pid;
	g->source.fd = sys_pidfd_open(pid);
	r = g->source.fd < 0 ? g->source.fd : loop_add(&g->box->loop, &g->source, EPOLLIN);
	if (r) {
		int status;
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		g->pid = 0;
		return err_set(e, -r, "watch the merging process: %s", strerror(-r));
	}
	g->report_fd = take_fd(&read_end);
	return 0;
}

static const struct stage begin_table[] = {
	{ .name = "merge-layer", .run = stage_layer, .undo = undo_layer },
	{ .name = "merge-fork", .run = stage_fork },
};

bool merging_begin(struct box *b)
{
	struct err e = ERR_INIT;
	if (b->merging || !b->live)
		return false;
	struct merging *g = calloc(1, sizeof(*g));
	if (!g)
		return false;
	*g = (struct merging){ .box = b,
			       .run = VEC_INIT(struct layer *),
			       .report_fd = -1,
			       .source = { .fd = -1, .ready = child_ready } };
	if (!choose(g)) {
		merging_free(g);
		return false;
	}
	if (stage_run(begin_table, sizeof(begin_table) / sizeof(begin_table[0]), g, NULL, &e)) {
		merging_free(g);
		merge_failed(b, &e);
		return true;
	}
	b->merging = g;
	return true;
}

void merging_catch_up(struct box *b)
{
	uint64_t end_ns = clock_now_ns() + CATCH_UP_MS * 1000000ull;
	while (b->live && longest(b) > CATCH_UP_TIMES * chain_limits().most) {
		uint64_t now_ns = clock_now_ns();
		if (now_ns >= end_ns || (!b->merging && (!merging_begin(b) || !b->merging)))
			return;
		int r = sys_pidfd_wait(b->merging->source.fd, (int)((end_ns - now_ns) / 1000000));
		if (r <= 0 && r != -EINTR)
			return;
		if (r > 0)
			merging_finish(b);
	}
}
