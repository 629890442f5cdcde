/*
 * visit.c - one visit to every live process: its questions are answered, its
 * descriptors re-homed, dirty tracking begun. Two rounds, so that all that
 * may fail has been done before anything of the guest's is changed:
 *
 *	take_visit()	every process: ask, and receive the new files above all
 *			its own numbers. Taken back by take_leave().
 *	take_move()	every process: put them in place of the old ones. Does
 *			only what round one found possible; what fails
 *			nevertheless is tried again, from where it failed.
 *
 * A move is not taken back. The old descriptors would have to be kept at other
 * numbers until the last process has moved, and be closed in a third round,
 * which can fail as well as the second: the guest would have descriptors that
 * it never opened. And what fails three times running is the way into the
 * process (ptrace, its memory), which an undo would need just as much.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "checkpoint/take.h"
#include "parts/stops.h"
#include "parts/threads.h"
#include "sys/proc.h"
#include "sys/uffd.h"

enum {
	ARENA_BYTES = 64 << 10,
	ARENA_THREAD_BYTES = 768,
	ARENA_FD_BYTES = 320,		/* four operations and a lock */
	ARENA_VMA_BYTES = 256,		/* three operations */
	ARENA_CHILD_BYTES = 256,	/* an operation and a siginfo_t */
	FD_PAIR_BYTES = 8,
	TRIES = 3,
};

struct visit {
	struct take *t;
	int proc;
	struct remote remote;
	struct prog ask, receive, move;
	struct asked asked;
	bool rehomes, tracks;
	siginfo_t *zombies;		/* in the arena: its children's ends */
	siginfo_t *stops;		/* .. and stops */
	int32_t *pair;			/* in the arena: the guest's socket pair */
	size_t uffd_op;
	struct rehome rehome;
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

/*
 * What take_move() will do, with what the process has now: may it? Its memory
 * of where it is does not change by these.
 */
static void probe_dirs(struct visit *v)
{
	if (v->rehome.root)
		prog_sys(&v->ask, SYS_chroot, prog_string(&v->remote.arena, "/"));
	if (v->rehome.cwd)
		prog_sys(&v->ask, SYS_chdir, prog_string(&v->remote.arena, "."));
}

/*
 * How the zombies of a process ended: /proc tells it only to whom may trace
 * them, and that is the first namespace's root since they have no memory.
 * Their parent may look without reaping.
 */
static siginfo_t *ask_zombies(struct visit *v)
{
	const struct tree_image *im = &v->t->next->image;
	size_t n = 0;
	vec_each(struct image_proc, z, &im->procs)
		n += z->state == PROC_ZOMBIE && z->parent == v->proc;
	siginfo_t *info = prog_space(&v->remote.arena, (n + 1) * sizeof(*info), NULL);
	size_t i = 0;
	vec_each(struct image_proc, z, &im->procs)
		if (info && z->state == PROC_ZOMBIE && z->parent == v->proc) {
			prog_sys(&v->ask, SYS_waitid, P_PID, (uint64_t)z->pid,
				 prog_remote(&v->remote.arena, &info[i++]),
				 WEXITED | WNOHANG | WNOWAIT | 0x40000000 /* __WALL */, 0);
			prog_mayfail(&v->ask);
		}
	return info;
}

static void heard_zombies(struct visit *v, const siginfo_t *info)
{
	vec_each(struct image_proc, z, &v->t->next->image.procs) {
		if (z->state != PROC_ZOMBIE || z->parent != v->proc)
			continue;
		if (info->si_pid == z->pid && info->si_code == CLD_EXITED)
			z->exit_status = (info->si_status & 0xff) << 8;
		else if (info->si_pid == z->pid)
			z->exit_status = info->si_status |
					 (info->si_code == CLD_DUMPED ? 0x80 : 0);
		info++;
	}
}

static int ask_all(struct visit *v, struct thread_answers *first)
{
	struct image_proc *p = image_proc(&v->t->next->image, v->proc);
	int r = 0;
	for (size_t i = 0; r == 0 && i < part_count; i++)
		if (part_table[i]->ask)
			r = part_table[i]->ask(p, &v->asked);
	threads_ask_one(&v->ask, first);
	v->zombies = ask_zombies(v);
	v->stops = stops_ask(&v->ask, &v->t->next->image, v->proc);
	probe_dirs(v);
	if (v->rehomes)
		prog_sys(&v->ask, SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
			 prog_remote(&v->remote.arena, v->pair));
	if (v->tracks) {
		v->uffd_op = prog_sys(&v->ask, SYS_userfaultfd, SYS_UFFD_FLAGS);
		/* without it the next checkpoint copies all memory of the process */
		prog_mayfail(&v->ask);
		if (v->ask.ops.n)
			((struct pup_op *)vec_at(&v->ask.ops, v->uffd_op))->ret = -EIO;
	}
	return r;
}

/* First program: questions; a socket pair; a tracking descriptor. */
static int ask(struct visit *v, struct err *e)
{
	struct image_proc *p = image_proc(&v->t->next->image, v->proc);
	struct prog_arena *arena = &v->remote.arena;
	v->asked.image = &v->t->next->image;
	v->asked.prog = &v->ask;
	v->asked.untouched = remote_untouched_page(&v->remote);
	v->asked.answers = prog_space(arena, sizeof(struct answers), NULL);
	struct thread_answers *first = prog_space(arena, sizeof(*first), NULL);
	v->pair = prog_space(arena, FD_PAIR_BYTES, NULL);
	if (!v->asked.answers || !v->pair || !first)
		return err_set(e, ENOMEM, "out of memory");
	v->pair[0] = v->pair[1] = -1;
	int r = ask_all(v, first);
	if (r)
		return err_set(e, -r, "ask process %d: %s", p->pid, strerror(-r));
	r = run(v, &v->ask, e);
	for (size_t i = 0; r == 0 && i < part_count; i++)
		if (part_table[i]->heard)
			r = part_table[i]->heard(p, &v->asked, e);
	if (r == 0)
		threads_heard_one(vec_at(&p->threads, 0), first);
	if (r == 0 && v->zombies)
		heard_zombies(v, v->zombies);
	if (r == 0 && v->stops)
		stops_heard(&v->t->next->image, v->proc, v->stops);
	return r ? r : ask_threads(v, e);
}

/* Its tracking descriptor, -errno: it has none. */
static int guest_uffd(const struct visit *v)
{
	return v->tracks && v->ask.sealed ? (int)prog_result(&v->ask, v->uffd_op) : -ENOENT;
}

/* Tracking saves time. Where it cannot be had, the next checkpoint is whole. */
static void start_tracking(struct visit *v)
{
	const struct frozen_proc *fp = frozen_proc(v->t->frozen, (size_t)v->proc);
	struct tracked *tr = tracker_find(&v->t->in->tracker, fp->pid, fp->stat.start_time);
	int uffd = sys_pidfd_getfd(fp->pidfd, guest_uffd(v));
	if (uffd >= 0 && sys_uffd_start(uffd))
		cleanup_fd(&uffd);
	tr->uffd = uffd < 0 ? -1 : uffd;
}

/* Second program: receive the files; what it opened for us is closed. */
static int receive(struct visit *v, struct err *e)
{
	const struct frozen_proc *fp = frozen_proc(v->t->frozen, (size_t)v->proc);
	if (guest_uffd(v) >= 0) {
		start_tracking(v);
		prog_sys(&v->receive, SYS_close, (uint64_t)guest_uffd(v));
	}
	if (v->rehomes) {
		scoped_fd int ours = sys_pidfd_getfd(fp->pidfd, v->pair[1]);
		if (ours < 0)
			return err_set(e, -ours, "its socket: %s", strerror(-ours));
		int r = rehome_receive(v->t, v->proc, &v->rehome, &v->receive,
				       (unsigned int)v->pair[0], ours, e);
		if (r)
			return r;
		prog_sys(&v->receive, SYS_close, (uint64_t)v->pair[0]);
		prog_sys(&v->receive, SYS_close, (uint64_t)v->pair[1]);
	}
	return v->receive.ops.n ? run(v, &v->receive, e) : 0;
}

static void visit_free(struct visit *v)
{
	prog_deinit(&v->ask);
	prog_deinit(&v->receive);
	prog_deinit(&v->move);
	vec_deinit(&v->rehome.files);
}

/* Close what was opened in it, wherever the visit failed. */
static void visit_undo(struct visit *v)
{
	struct prog p;
	prog_init(&p, &v->remote.arena);
	if (guest_uffd(v) >= 0) {
		prog_sys(&p, SYS_close, (uint64_t)guest_uffd(v));
		prog_mayfail(&p);
	}
	for (int i = 0; i < 2 && v->rehomes && v->pair && v->pair[0] >= 0; i++) {
		prog_sys(&p, SYS_close, (uint64_t)v->pair[i]);
		prog_mayfail(&p);
	}
	if (v->receive.sealed)
		prog_sys(&p, SYS_close_range, v->rehome.first_free_fd, ~0u, 0);
	uint64_t start = p.ops.n ? prog_seal(&p) : 0;
	for (int i = 0; i < TRIES && p.ops.n; i++)
		if (remote_run(&v->remote, start, NULL) == 0 &&
		    !prog_status(&v->remote.arena)->failed)
			break;
	prog_deinit(&p);
	remote_abort(&v->remote);
	visit_free(v);
}

static size_t shared_maps(const struct image_proc *p)
{
	size_t n = 0;
	vec_each(struct image_vma, v, &p->vmas)
		n += v->kind == VMA_FILE_SHARED;
	return n;
}

static int visit_process(struct take *t, int i, struct err *e)
{
	const struct frozen_proc *fp = frozen_proc(t->frozen, (size_t)i);
	const struct image_proc *p = image_proc(&t->next->image, i);
	struct tracked *tr = tracker_find(&t->in->tracker, fp->pid, fp->stat.start_time);
	/* there is room: what points into it stays right */
	struct visit *v = vec_add(&t->visits);
	*v = (struct visit){ .t = t,
			     .proc = i,
			     .remote = REMOTE_INIT,
			     .tracks = tr->uffd < 0 && sys_uffd_tracks() };
	v->rehomes = rehome_wanted(t, i, &v->rehome);
	size_t bytes = ARENA_BYTES + p->threads.n * ARENA_THREAD_BYTES +
		       p->fds.n * ARENA_FD_BYTES + shared_maps(p) * ARENA_VMA_BYTES +
		       t->next->image.procs.n * ARENA_CHILD_BYTES;
	int r = remote_begin(&v->remote, t->frozen, (size_t)i, &t->en->puppet, bytes, e);
	if (r) {
		vec_deinit(&v->rehome.files);
		t->visits.n--;
		return r;
	}
	prog_init(&v->ask, &v->remote.arena);
	prog_init(&v->receive, &v->remote.arena);
	prog_init(&v->move, &v->remote.arena);
	r = ask(v, e);
	return r ? r : receive(v, e);
}

void take_leave(struct take *t)
{
	vec_each(struct visit, v, &t->visits)
		visit_undo(v);
	vec_deinit(&t->visits);
}

int take_visit(struct take *t, struct err *e)
{
	t->visits = VEC_INIT(struct visit);
	int r = vec_reserve(&t->visits, t->frozen->procs.n);
	if (r)
		err_set(e, ENOMEM, "out of memory");
	for (size_t i = 0; r == 0 && i < t->frozen->procs.n; i++)
		if (!frozen_proc(t->frozen, i)->zombie)
			r = visit_process(t, (int)i, e);
	if (r == 0)
		r = rehome_check(t, e);
	if (r)
		take_leave(t);
	return r;
}

/* Where a program stopped, to go on from there. */
static uint64_t stopped_at(struct visit *v, uint64_t start)
{
	const struct pup_status *s = prog_status(&v->remote.arena);
	uint64_t end = start + (uint64_t)v->move.ops.n * sizeof(struct pup_op);
	return s->failed && s->failed_op >= start && s->failed_op < end ? s->failed_op : start;
}

static int move_process(struct visit *v, struct err *e)
{
	rehome_write(v->t, v->proc, &v->rehome, &v->move);
	uint64_t begin = prog_seal(&v->move), at = begin;
	struct err why = ERR_INIT;
	int r = -EIO;
	for (int i = 0; r && i < TRIES && !v->remote.gone; i++) {
		r = remote_run(&v->remote, at, &why);
		if (r == 0)
			r = failed(v, &why);
		if (r)
			at = stopped_at(v, begin);
	}
	if (r && !v->remote.gone && e)
		*e = why;
	return v->remote.gone ? 0 : r;
}

int take_move(struct take *t, struct err *e)
{
	int first = 0;
	vec_each(struct visit, v, &t->visits) {
		int r = v->rehomes ? move_process(v, first ? NULL : e) : 0;
		bool gone = v->remote.gone;
		int ended = remote_end(&v->remote, r || first ? NULL : e);
		/* killed from outside meanwhile: nobody is left to move */
		if (!r && ended && !gone && ended != -ESRCH)
			r = ended;
		first = first ? first : r;
		visit_free(v);
	}
	vec_deinit(&t->visits);
	return first;
}
