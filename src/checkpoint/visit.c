/*
 * visit.c - one visit to every live process: its questions are answered, its
 * descriptors re-homed, dirty tracking begun. Two programs, since what the
 * first opens the keeper must fetch before the second closes it.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "checkpoint/take.h"
#include "parts/threads.h"
#include "sys/probe.h"
#include "sys/proc.h"
#include "sys/uffd.h"

enum {
	ARENA_BYTES = 64 << 10,
	ARENA_THREAD_BYTES = 512,
	ARENA_FD_BYTES = 256,		/* three operations and a lock */
	FD_PAIR_BYTES = 8,
};

struct visit {
	struct take *t;
	int proc;
	struct remote remote;
	struct prog ask, act;
	struct asked asked;
	bool rehomes, tracks;
	int32_t *pair;			/* in the arena: the guest's socket pair */
	size_t uffd_op;
};

static int failed(struct visit *v, struct err *e)
{
	const struct pup_status *s = prog_status(&v->remote.arena);
	const struct image_proc *p = image_proc(&v->t->next->image, v->proc);
	if (!s->failed)
		return 0;
	uint64_t at = s->failed_op - v->remote.arena.remote;
	unsigned int nr = 0, line = 0;
	if (at + sizeof(struct pup_op) <= v->remote.arena.used_bytes) {
		const struct pup_op *op = (const void *)(v->remote.arena.local + at);
		nr = op->nr;
		line = op->line;
	}
	err_set(e, s->error > 0 ? s->error : EIO,
		"process %d (%s): system call %u for it failed (line %u): %s", p->pid, p->comm, nr,
		line, strerror(s->error));
	return err_about(e, p->pid, -1);
}

static int run(struct visit *v, struct prog *p, struct err *e)
{
	uint64_t start = prog_seal(p);
	int r = remote_run(&v->remote, start, e);
	return r ? r : failed(v, e);
}

/* One thread after the other; the first is asked with its process. */
static int ask_threads(struct visit *v, struct err *e)
{
	struct image_proc *p = image_proc(&v->t->next->image, v->proc);
	int r = 0;
	for (size_t k = 1; r == 0 && k < p->threads.n; k++) {
		struct prog prog;
		prog_init(&prog, &v->remote.arena);
		struct thread_answers *answers =
			prog_space(&v->remote.arena, sizeof(*answers), NULL);
		if (answers)
			threads_ask_one(&prog, answers);
		uint64_t start = prog_seal(&prog);
		r = remote_run_thread(&v->remote, k, start, e);
		if (r == 0)
			r = failed(v, e);
		if (r == 0)
			threads_heard_one(vec_at(&p->threads, k), answers);
		prog_deinit(&prog);
	}
	return r;
}

/* First program: questions; a socket pair; a tracking descriptor. */
static int ask(struct visit *v, struct err *e)
{
	struct image_proc *p = image_proc(&v->t->next->image, v->proc);
	struct prog_arena *arena = &v->remote.arena;
	prog_init(&v->ask, arena);
	v->asked.prog = &v->ask;
	v->asked.answers = prog_space(arena, sizeof(struct answers), NULL);
	struct thread_answers *first = prog_space(arena, sizeof(*first), NULL);
	v->pair = prog_space(arena, FD_PAIR_BYTES, NULL);
	if (!v->asked.answers || !v->pair || !first)
		return err_set(e, ENOMEM, "out of memory");
	int r = 0;
	for (size_t i = 0; r == 0 && i < part_count; i++)
		if (part_table[i]->ask)
			r = part_table[i]->ask(p, &v->asked);
	threads_ask_one(&v->ask, first);
	if (v->tracks)
		v->uffd_op = prog_sys(&v->ask, SYS_userfaultfd, SYS_UFFD_FLAGS);
	if (v->rehomes)
		prog_sys(&v->ask, SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
			 prog_remote(arena, v->pair));
	if (r == 0)
		r = run(v, &v->ask, e);
	for (size_t i = 0; r == 0 && i < part_count; i++)
		if (part_table[i]->heard)
			r = part_table[i]->heard(p, &v->asked, e);
	if (r == 0)
		threads_heard_one(vec_at(&p->threads, 0), first);
	return r ? r : ask_threads(v, e);
}

static int start_tracking(struct visit *v, struct err *e)
{
	const struct frozen_proc *fp = frozen_proc(v->t->frozen, (size_t)v->proc);
	struct tracked *tr = tracker_find(&v->t->in->tracker, fp->pid, fp->stat.start_time);
	int uffd = sys_pidfd_getfd(fp->pidfd, (int)prog_result(&v->ask, v->uffd_op));
	if (uffd < 0)
		return err_set(e, -uffd, "its tracking descriptor: %s", strerror(-uffd));
	tr->uffd = uffd;
	int r = sys_uffd_start(uffd);
	return r ? err_set(e, -r, "start dirty tracking: %s", strerror(-r)) : 0;
}

static int write_rehome(struct visit *v, struct err *e)
{
	const struct frozen_proc *fp = frozen_proc(v->t->frozen, (size_t)v->proc);
	scoped_fd int ours = sys_pidfd_getfd(fp->pidfd, v->pair[1]);
	if (ours < 0)
		return err_set(e, -ours, "its socket: %s", strerror(-ours));
	unsigned int slot = prog_slot(&v->act);
	prog_sys(&v->act, SYS_dup, (uint64_t)v->pair[0]);
	prog_out(&v->act, slot);
	int r = rehome_write(v->t, v->proc, &v->act, slot, ours, e);
	prog_sys(&v->act, SYS_close, slot);
	prog_slots(&v->act, 1);
	prog_sys(&v->act, SYS_close, (uint64_t)v->pair[0]);
	prog_sys(&v->act, SYS_close, (uint64_t)v->pair[1]);
	return r;
}

/* Second program: re-home, close what the first opened. */
static int act(struct visit *v, struct err *e)
{
	prog_init(&v->act, &v->remote.arena);
	int r = v->tracks ? start_tracking(v, e) : 0;
	if (v->tracks)
		prog_sys(&v->act, SYS_close, (uint64_t)prog_result(&v->ask, v->uffd_op));
	if (r == 0 && v->rehomes)
		r = write_rehome(v, e);
	if (v->act.ops.n) {
		int ran = run(v, &v->act, r ? NULL : e);
		r = r ? r : ran;
	}
	return r;
}

static int visit_process(struct take *t, int i, struct err *e)
{
	const struct frozen_proc *fp = frozen_proc(t->frozen, (size_t)i);
	struct tracked *tr = tracker_find(&t->in->tracker, fp->pid, fp->stat.start_time);
	struct visit v = { .t = t,
			   .proc = i,
			   .remote = REMOTE_INIT,
			   .rehomes = rehome_wanted(t, i),
			   .tracks = tr->uffd < 0 && sys_has(SYS_F_UFFD_WP) };
	const struct image_proc *p = image_proc(&t->next->image, i);
	size_t bytes = ARENA_BYTES + p->threads.n * ARENA_THREAD_BYTES +
		       p->fds.n * ARENA_FD_BYTES;
	int r = remote_begin(&v.remote, t->frozen, (size_t)i, &t->en->puppet, bytes, e);
	if (r)
		return r;
	r = ask(&v, e);
	if (r == 0 && (v.rehomes || v.tracks))
		r = act(&v, e);
	prog_deinit(&v.ask);
	prog_deinit(&v.act);
	if (r)
		remote_abort(&v.remote);
	else
		r = remote_end(&v.remote, e);
	return r;
}

int take_visit(struct take *t, struct err *e)
{
	for (size_t i = 0; i < t->frozen->procs.n; i++) {
		if (frozen_proc(t->frozen, i)->zombie)
			continue;
		int r = visit_process(t, (int)i, e);
		if (r)
			return r;
	}
	return 0;
}
