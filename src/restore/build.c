/*
 * build.c - the transaction that makes an incarnation.
 *
 *	files	fresh overlays over the checkpoint's layers
 *	mounts	the detached mounts that PID 1 attaches
 *	program	all programs, in one arena
 *	group	a cgroup with the limits
 *	spawn	PID 1 out of the template, in new namespaces; it joins the group
 *	attach	where it cannot do that, the keeper puts it in
 *	open	rendezvous: the tree's files are opened in the new root
 *	track	dirty tracking is armed in every process
 *	park	every process waits at the gate; PID 1 is mulligan-init
 */
#include "restore/build.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "base/clock.h"
#include "parts/memfs.h"
#include "parts/queues.h"
#include "parts/segments.h"
#include "parts/sems.h"
#include "parts/shm.h"
#include "parts/sockets.h"
#include "restore/pid1.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/lookup.h"
#include "sys/proc.h"
#include "sys/sock.h"

enum {
	ARENA_BASE_BYTES = 512 << 10,
	ARENA_PROC_BYTES = 48 << 10,	/* measured: python with 110 VMAs 20 KB */
	ARENA_THREAD_BYTES = 16 << 10,
	ARENA_FILE_BYTES = 2048,	/* a pidfd, an epoll's entry: 16 operations */
	ARENA_SOCKET_BYTES = 24 * sizeof(struct pup_op),
	ARENA_TIMERS_BYTES = 64 << 10,	/* the most of parts/posix_timers.c */
	SLICE_NS = 50000000,
};

#define PATIENCE_NS 20000000000ull

static int run_files(void *ctx, struct err *e)
{
	struct build *b = ctx;
	const struct fs_snapshot *files = b->from->files.mounts.n ? &b->from->files : NULL;
	return fs_tree_new(b->en->store, &b->en->spares, b->en->root, &b->en->spec, files, &b->in->fs, e);
}

static int run_mounts(void *ctx, struct err *e)
{
	struct build *b = ctx;
	int cow_fds[SPEC_VOLUMES_MAX];
	size_t n = 0;
	vec_each(struct volume, v, &b->en->spec.volumes) {
		if (v->mode != VOLUME_COW)
			continue;
		struct fs_mount *m = fs_tree_find_target(b->in->fs, v->dst);
		if (!m)
			return err_set(e, ENOENT, "the volume at %s has no overlay", v->dst);
		cow_fds[n++] = m->mnt_fd;
	}
	struct fs_mount *root = vec_at(&b->in->fs->mounts, 0);
	struct mounts_run run = { .root_fd = root->mnt_fd,
				  .cow_fds = cow_fds,
				  .n_cow = n,
				  .generation = ++b->en->generation,
				  .hostname = b->en->spec.hostname ? b->en->spec.hostname :
								     b->en->spec.name,
				  .last_pid = b->image->last_pid,
				  .pid_max = limits_pid_max(b->en->limits) };
	return mounts_prepare(b->en->mounts, &run, &b->mounts, e);
}

static size_t arena_bytes(const struct tree_image *im)
{
	size_t bytes = ARENA_BASE_BYTES + im->procs.n * ARENA_PROC_BYTES +
		       sock_count(im) * ARENA_SOCKET_BYTES +
		       im->n_threads * ARENA_THREAD_BYTES +
		       im->files.n * ARENA_FILE_BYTES +
		       shm_count_runs(im) * sizeof(struct pup_op);
	vec_each(struct image_proc, p, &im->procs) {
		bytes += (p->fds.n * 2 + p->vmas.n * 8 + 64) * sizeof(struct pup_op);
		size_t signals = p->pending.n;
		vec_each(struct image_thread, t, &p->threads)
			signals += t->pending.n;
		bytes += signals * (sizeof(struct pup_op) + sizeof(siginfo_t) + 16);
		bytes += p->timers.n ? ARENA_TIMERS_BYTES : 0;
	}
	return bytes;
}

static int run_program(void *ctx, struct err *e)
{
	struct build *b = ctx;
	int r = prog_arena_init(&b->arena, PUP_ARENA, arena_bytes(b->image));
	if (r)
		return err_set(e, -r, "arena: %s", strerror(-r));
	if (vec_reserve(&b->procs, b->image->procs.n))
		return err_set(e, ENOMEM, "out of memory");
	while (b->procs.n < b->image->procs.n)
		vec_add(&b->procs);
	if (exes_list(b))
		return err_set(e, ENOMEM, "out of memory");
	int max = files_max_fd(b->image);
	b->fd_base = (unsigned int)(max < b->en->next_template_fd ? b->en->next_template_fd :
								    max + 1);
	r = own_settings_read(freezer_procfs(b->en->freezer), &b->own);
	return r < 0 ? err_set(e, -r, "read /proc: %s", strerror(-r)) : pid1_write(b, e);
}

/* A page that the keeper may write and the tree can only read. */
static int make_gate(struct build *b, int *guest_fd, struct err *e)
{
	struct incarnation *in = b->in;
	in->gate_fd = sys_memfd("mulligan-gate", 0);
	int r = in->gate_fd < 0 ? in->gate_fd : sys_ftruncate(in->gate_fd, PUP_PAGE);
	if (r == 0)
		r = *guest_fd = sys_reopen(in->gate_fd, O_RDONLY);
	void *page = NULL;
	if (r >= 0)
		r = sys_mmap(NULL, PUP_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, in->gate_fd, 0,
			     &page);
	in->gate = page;
	return r < 0 ? err_set(e, -r, "the gate: %s", strerror(-r)) : 0;
}

static int run_group(void *ctx, struct err *e)
{
	struct build *b = ctx;
	int r = limits_group_take(b->en->limits, &b->in->group, e);
	return r ? r : limits_group_open_doors(b->in->group, b->doors, e);
}

/* Where it does not go in by itself; before the tree is forked. */
static int run_attach(void *ctx, struct err *e)
{
	struct build *b = ctx;
	return limits_doors(b->en->limits) ? 0 :
					     limits_group_attach(b->in->group, b->in->pid1, e);
}

static uint64_t namespaces(const struct spec *spec)
{
	return CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS |
	       (spec->net == NET_NONE ? CLONE_NEWNET : 0);
}

static int run_spawn(void *ctx, struct err *e)
{
	struct build *b = ctx;
	struct incarnation *in = b->in;
	int pair[2];
	int r = sys_sock_pair(pair);
	if (r)
		return err_set(e, -r, "socketpair: %s", strerror(-r));
	in->init_socket = pair[0];
	b->init_theirs = pair[1];
	scoped_fd int gate = -1;
	r = make_gate(b, &gate, e);
	if (r)
		return r;
	int fds[PUP_FDS_MAX];
	size_t n = pid1_fds(b, fds);
	int pid = template_spawn(&b->from->template, &b->arena, b->pid1_address, gate,
				 namespaces(&b->en->spec), fds, n, &in->pid1_pidfd, e);
	cleanup_fd(&b->init_theirs);
	if (pid < 0)
		return pid;
	in->pid1 = pid;
	return 0;
}

/* SIGKILL, and wait: the template is not asked for anything before. */
static void undo_spawn(void *ctx)
{
	struct build *b = ctx;
	incarnation_kill(b->in);
	if (b->in->pid1_pidfd >= 0)
		(void)!sys_pidfd_wait(b->in->pid1_pidfd, 5000);
}

static int tree_failed(struct build *b, struct err *e)
{
	const struct pup_status *s = prog_status(&b->arena);
	uint64_t at = s->failed_op - b->arena.remote;
	if (at + sizeof(struct pup_op) > b->arena.used_bytes)
		return err_set(e, EIO, "process %d of the new tree failed: %s", s->failed_pid,
			       strerror(s->error));
	const struct pup_op *op = (const void *)(b->arena.local + at);
	return err_set(e, s->error > 0 ? s->error : EIO,
		       "process %d of the new tree: operation %u, call %u(%#lx, %#lx, %#lx, %#lx), "
		       "line %u: %s",
		       s->failed_pid, op->op, op->nr, op->a[0], op->a[1], op->a[2], op->a[3],
		       op->line, strerror(s->error));
}

int build_await(struct build *b, const uint32_t *word, uint32_t n, const char *what,
		struct err *e)
{
	struct pup_status *s = prog_status(&b->arena);
	uint64_t deadline = clock_now_ns() + PATIENCE_NS;
	for (;;) {
		uint32_t seen = __atomic_load_n(&s->seq, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&s->failed, __ATOMIC_SEQ_CST))
			return tree_failed(b, e);
		if (__atomic_load_n(word, __ATOMIC_SEQ_CST) >= n)
			return 0;
		if (sys_pidfd_wait(b->in->pid1_pidfd, 0) == 1)
			return err_set(e, ECHILD, "PID 1 died before %s", what);
		if (clock_now_ns() > deadline)
			return err_set(e, ETIMEDOUT, "the new tree did not reach %s", what);
		struct timespec slice = { 0, SLICE_NS };
		syscall(SYS_futex, &s->seq, FUTEX_WAIT, seen, &slice, NULL, 0);
	}
}

static int send_fds(int socket, const struct vec *fds)
{
	uint64_t byte = 0;
	for (size_t at = 0; at < fds->n; at += PUP_FDS_MAX) {
		size_t n = fds->n - at < PUP_FDS_MAX ? fds->n - at : PUP_FDS_MAX;
		int r = sys_sock_send(socket, &byte, sizeof(byte), vec_at(fds, at), n, 0);
		if (r)
			return r;
	}
	return 0;
}

/* A description that the guest has no end of: any descriptor keeps the order. */
static int fill_gaps(struct vec *fds, int filler)
{
	vec_each(int, fd, fds) {
		if (*fd >= 0)
			continue;
		*fd = sys_dup(filler);
		if (*fd < 0)
			return *fd;
	}
	return 0;
}

static int run_open(void *ctx, struct err *e)
{
	struct build *b = ctx;
	struct incarnation *in = b->in;
	struct pup_status *s = prog_status(&b->arena);
	int r = build_await(b, &s->reached, REACHED_MOUNTED, "its mounts", e);
	if (r)
		return r;
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/root", in->pid1);
	r = in->root_fd = sys_openat(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0);
	if (r >= 0) {
		snprintf(path, sizeof(path), "/proc/%d/ns/mnt", in->pid1);
		r = in->mntns_fd = sys_openat(AT_FDCWD, path, O_RDONLY, 0);
	}
	if (r < 0)
		return err_set(e, -r, "open %s: %s", path, strerror(-r));
	r = in->diag_fd = sys_pidfd_getfd(in->pid1_pidfd,
					  (int)sock_born_diag(b->born, b->image));
	if (r < 0)
		return err_set(e, -r, "the socket of its network: %s", strerror(-r));
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", in->pid1);
	scoped_fd int pidns = sys_openat(AT_FDCWD, path, O_RDONLY, 0);
	if (pidns < 0)
		return err_set(e, -pidns, "open %s: %s", path, strerror(-pidns));
	scoped_fd int netns = sys_sock_netns(in->diag_fd);
	b->files = (struct files_open){ .image = b->image,
					.root_fd = in->root_fd,
					.pid1_pidfd = in->pid1_pidfd,
					.pidns_fd = pidns,
					.netns_fd = netns,
					.born = b->born };
	r = memfs_fill(b->image, in->root_fd, e);
	if (r == 0)
		r = segments_make(&b->files, e);
	if (r == 0)
		r = sems_make(&b->files, e);
	if (r == 0)
		r = queues_make(&b->files, e);
	if (r == 0)
		r = files_open_all(&b->files, e);
	if (r)
		return r;
	r = fill_gaps(&b->files.fds, in->root_fd);
	if (r)
		return err_set(e, -r, "duplicate a descriptor: %s", strerror(-r));
	r = exes_open(b, &b->files.fds, e);
	if (r)
		return r;
	uint64_t go = REACHED_MOUNTED;
	r = sys_sock_send(in->init_socket, &go, sizeof(go), NULL, 0, 0);
	if (r == 0)
		r = send_fds(in->init_socket, &b->files.fds);
	if (r)
		return err_set(e, -r, "pass the tree's files: %s", strerror(-r));
	in->outers = b->files.outers;
	b->files.outers = VEC_INIT(struct files_outer);
	in->timers = b->files.timers;
	b->files.timers = VEC_INIT(struct files_timer);
	in->inotifys = b->files.inotifys;
	b->files.inotifys = VEC_INIT(int);
	return 0;
}

static int run_track(void *ctx, struct err *e)
{
	struct build *b = ctx;
	return build_track(b, e);
}

static uint32_t count_live(const struct tree_image *im)
{
	uint32_t n = 0;
	vec_each(struct image_proc, p, &im->procs)
		n += p->state == PROC_LIVE;
	return n;
}

/* mulligan-init says READY on its socket: it has executed. */
static int run_park(void *ctx, struct err *e)
{
	struct build *b = ctx;
	struct pup_status *s = prog_status(&b->arena);
	int r = build_await(b, &s->ready, count_live(b->image), "the gate", e);
	if (r)
		return r;
	struct pollfd ready[2] = { { b->in->init_socket, POLLIN, 0 },
				   { b->in->pid1_pidfd, POLLIN, 0 } };
	do {
		r = poll(ready, 2, (int)(PATIENCE_NS / 1000000));
	} while (r < 0 && errno == EINTR);
	if (__atomic_load_n(&s->failed, __ATOMIC_SEQ_CST))
		return tree_failed(b, e);
	if (r <= 0 || !(ready[0].revents & POLLIN))
		return err_set(e, ECHILD, "mulligan-init did not start");
	b->in->state = INCARNATION_PARKED;
	return 0;
}

static const struct stage build_stages[] = {
	{ "files", run_files, NULL, false },
	{ "mounts", run_mounts, NULL, false },
	{ "program", run_program, NULL, false },
	{ "group", run_group, NULL, false },
	{ "spawn", run_spawn, undo_spawn, false },
	{ "attach", run_attach, NULL, false },
	{ "open", run_open, NULL, false },
	{ "track", run_track, NULL, false },
	{ "park", run_park, NULL, false },
};

static struct incarnation *incarnation_new(struct engine *en, struct checkpoint *c)
{
	struct incarnation *in = calloc(1, sizeof(*in));
	if (!in)
		return NULL;
	*in = (struct incarnation){ .state = INCARNATION_BUILDING,
				    .engine = en,
				    .from = checkpoint_ref(c),
				    .ahead = TEMPLATE_INIT,
				    .pid1_pidfd = -1,
				    .init_socket = -1,
				    .mntns_fd = -1,
				    .root_fd = -1,
				    .diag_fd = -1,
				    .gate_fd = -1,
				    .tracker = TRACKER_INIT,
				    .outers = VEC_INIT(struct files_outer),
				    .timers = VEC_INIT(struct files_timer),
				    .inotifys = VEC_INIT(int),
				    .empties = VEC_INIT(uint64_t) };
	return in;
}

static void build_deinit(struct build *b)
{
	vec_each(struct built_proc, p, &b->procs)
		prog_deinit(&p->prog);
	vec_deinit(&b->procs);
	vec_deinit(&b->exes);
	prog_deinit(&b->pid1);
	if (b->arena.local)
		prog_arena_deinit(&b->arena);
	files_open_deinit(&b->files);
	mounts_set_deinit(&b->mounts);
	cleanup_fd(&b->init_theirs);
	for (size_t i = 0; i < LIMITS_DOORS_MAX; i++)
		cleanup_fd(&b->doors[i]);
}

/* Whoever killed the template, the files are in the layers. */
static int refuse_lost(struct checkpoint *c, struct err *e)
{
	template_close(&c->template);
	err_set(e, ENODATA, "processes lost, files available: the process that held the memory of "
			    "this checkpoint has ended");
	return err_remedy(e, "roll back to another checkpoint");
}

int incarnation_build(struct engine *en, struct checkpoint *c,
		      const struct restore_options *options, struct incarnation **out,
		      struct stage_times *times, struct err *e)
{
	if (template_is_lost(&c->template))
		return refuse_lost(c, e);
	struct build b = { .en = en,
			   .from = c,
			   .image = &c->image,
			   .options = options,
			   .in = incarnation_new(en, c),
			   .mounts = MOUNTS_SET_INIT,
			   .procs = VEC_INIT(struct built_proc),
			   .exes = VEC_INIT(int),
			   .init_theirs = -1,
			   .doors = { [0 ... LIMITS_DOORS_MAX - 1] = -1 },
			   .arena.memfd = -1 };
	if (!b.in)
		return err_set(e, ENOMEM, "out of memory");
	int r = stage_run(build_stages, sizeof(build_stages) / sizeof(build_stages[0]), &b, times,
			  e);
	if (r) {
		undo_spawn(&b);
		incarnation_free(b.in);
		if (template_is_lost(&c->template))
			r = refuse_lost(c, e);
	} else {
		*out = b.in;
	}
	build_deinit(&b);
	return r;
}
