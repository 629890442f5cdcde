/*
 * tree.c - the programs of the tree's processes.
 *
 * Each process: found its session, fork its children (what is not theirs is
 * kept out of the copy by MADV_DONTFORK), join its group, then its own state
 * in the order of the parts table, threads, park.
 *
 * Who forks whom: the parent; but a member of a session whose leader is dead
 * can only be made by a process that founds that session: a ghost, or the
 * zombie that the leader is. It ends, and PID 1 inherits its children, as it
 * did when that happened first. So does one whose session has a leader, but
 * whose parent was of the session, too, and has ended (image_proc.maker).
 *
 *	session leader: setsid			group leader: setpgid(0, 0)
 *	fork children, ghosts, zombies		LEADERS += 1
 *	await LEADERS == all			members: setpgid(0, group)
 *	JOINED += 1				ghosts await JOINED == all, end
 */
#include "restore/build.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "parts/frame.h"
#include "parts/memory.h"
#include "parts/posix_timers.h"
#include "parts/stops.h"
#include "parts/timers.h"
#include "parts/tty.h"
#include "sandbox/confine.h"
#include "sys/uffd.h"

enum { CHILD_WAIT_ALL = 0x40000000 /* __WALL */ };

static struct built_proc *built(struct build *b, int i)
{
	return vec_at(&b->procs, (size_t)i);
}

static uint64_t word_address(struct build *b, int word)
{
	return prog_remote(&b->arena, &prog_status(&b->arena)->word[word]);
}

/* Who must fork process i: see above. */
static int forker(const struct tree_image *im, int i)
{
	const struct image_proc *p = image_proc(im, i);
	if (p->maker != IMAGE_NONE)
		return p->maker;
	if (p->parent != IMAGE_NONE || p->sid == p->pid)
		return p->parent;
	int leader = image_find_pid(im, p->sid);
	if (leader == IMAGE_NONE || image_proc(im, leader)->state == PROC_LIVE)
		return p->parent;
	return leader;
}

static uint32_t count_leaders(const struct tree_image *im)
{
	uint32_t n = 0;
	vec_each(struct image_proc, p, &im->procs)
		n += p->pgid == p->pid;
	return n;
}

static uint32_t count_members(const struct tree_image *im)
{
	uint32_t n = 0;
	vec_each(struct image_proc, p, &im->procs)
		n += p->state != PROC_GHOST;
	return n;
}

/* madvise over the staged memory of i, a run of neighbours a call. */
static void advise_proc(struct prog *p, const struct image_proc *proc, int advice)
{
	uint64_t start = 0, end = 0;
	vec_each(struct image_vma, v, &proc->vmas) {
		if (!memory_is_staged(v))
			continue;
		if (end && v->stage == end) {
			end = v->stage + (v->end - v->start);
			continue;
		}
		if (end)
			prog_sys(p, SYS_madvise, start, end - start, (uint64_t)advice);
		start = v->stage;
		end = v->stage + (v->end - v->start);
	}
	if (end)
		prog_sys(p, SYS_madvise, start, end - start, (uint64_t)advice);
}

static void advise_subtree(struct build *b, struct prog *p, int i, int advice)
{
	advise_proc(p, image_proc(b->image, i), advice);
	for (int c = 0; c < (int)b->image->procs.n; c++)
		if (c != i && forker(b->image, c) == i)
			advise_subtree(b, p, c, advice);
}

static void write_fork(struct build *b, struct prog *p, int c)
{
	const struct image_proc *child = image_proc(b->image, c);
	bool waited = child->state == PROC_GHOST && child->parent != IMAGE_NONE;
	advise_subtree(b, p, c, MADV_DOFORK);
	prog_op(p, PUP_OP_CHILD, (uint64_t)child->pid, waited ? 0 : SIGCHLD, built(b, c)->address,
		0);
	advise_subtree(b, p, c, MADV_DONTFORK);
}

void tree_write_children(struct build *b, struct prog *p, int parent)
{
	int n = (int)b->image->procs.n;
	for (int c = 0; c < n; c++)
		if (forker(b->image, c) == parent)
			advise_subtree(b, p, c, MADV_DONTFORK);
	if (parent != IMAGE_NONE)
		advise_proc(p, image_proc(b->image, parent), MADV_DONTFORK);
	for (int c = 0; c < n; c++)
		if (forker(b->image, c) == parent)
			write_fork(b, p, c);
	if (parent != IMAGE_NONE) {
		advise_proc(p, image_proc(b->image, parent), MADV_DOFORK);
		return;
	}
	/* PID 1's memory is the template's: its next fork needs all of it */
	for (int c = 0; c < n; c++)
		if (forker(b->image, c) == parent)
			advise_subtree(b, p, c, MADV_DOFORK);
}

/* Reap ghosts; let zombies die and take the signal of it. */
static void write_waits(struct build *b, struct prog *p, int parent)
{
	uint64_t child_mask = 1ull << (SIGCHLD - 1);
	struct timespec zero = { 0, 0 };
	for (int c = 0; c < (int)b->image->procs.n; c++) {
		const struct image_proc *child = image_proc(b->image, c);
		if (forker(b->image, c) != parent || child->parent != parent)
			continue;
		if (child->state == PROC_GHOST) {
			prog_sys(p, SYS_wait4, (uint64_t)child->pid, 0, CHILD_WAIT_ALL, 0);
		} else if (child->state == PROC_ZOMBIE) {
			prog_sys(p, SYS_waitid, P_PID, (uint64_t)child->pid, 0,
				 WEXITED | WNOWAIT, 0);
			prog_sys(p, SYS_rt_sigtimedwait,
				 prog_data(p->arena, &child_mask, sizeof(child_mask)), 0,
				 prog_data(p->arena, &zero, sizeof(zero)), 8);
			prog_mayfail(p);
		}
	}
}

static void write_tty_call(struct build *b, struct prog *p, const struct image_tty *t,
			   unsigned long request, uint64_t argument)
{
	prog_sys(p, SYS_ioctl, b->file_slot + (unsigned int)t->by, request, argument);
	prog_slots(p, 1);
}

/*
 * The leader takes the controlling terminal before it forks, for its children
 * inherit it; who had none gives it back after that. The foreground group must
 * be there, and be there still: before the leader has JOINED no ghost ends.
 */
static void write_tty(struct build *b, struct prog *p, const struct image_proc *proc)
{
	const struct image_tty *t = tty_of_session(b->image, proc);
	if (!t)
		return;
	if (proc->sid == proc->pid) {
		prog_op(p, PUP_OP_AWAIT, word_address(b, WORD_LEADERS), count_leaders(b->image));
		write_tty_call(b, p, t, TIOCSPGRP,
			       prog_data(p->arena, &t->pgrp, sizeof(t->pgrp)));
	} else if (!proc->has_tty && proc->state != PROC_GHOST) {
		write_tty_call(b, p, t, TIOCNOTTY, 0);
	}
}

static void write_ids(struct build *b, struct prog *p, int i)
{
	const struct image_proc *proc = image_proc(b->image, i);
	const struct image_tty *tty = tty_of_leader(b->image, proc);
	bool session_leader = proc->sid == proc->pid;
	if (session_leader)
		prog_sys(p, SYS_setsid);
	else if (proc->pgid == proc->pid)
		prog_sys(p, SYS_setpgid, 0, 0);
	if (tty)
		write_tty_call(b, p, tty, TIOCSCTTY, 0);
	if (proc->pgid == proc->pid)
		prog_op(p, PUP_OP_NOTIFY, word_address(b, WORD_LEADERS), 1);
	tree_write_children(b, p, i);
	write_tty(b, p, proc);
	if (proc->pgid != proc->pid) {
		prog_op(p, PUP_OP_AWAIT, word_address(b, WORD_LEADERS), count_leaders(b->image));
		prog_sys(p, SYS_setpgid, 0, (uint64_t)proc->pgid);
	}
	if (proc->state != PROC_GHOST)
		prog_op(p, PUP_OP_NOTIFY, word_address(b, WORD_JOINED), 1);
	write_waits(b, p, i);
}

static void write_ghost(struct build *b, struct prog *p)
{
	prog_op(p, PUP_OP_AWAIT, word_address(b, WORD_JOINED), count_members(b->image));
	prog_sys(p, SYS_exit_group, 0);
}

/* End as the zombie ended; without a core file. */
static void write_zombie(struct build *b, struct prog *p, int i)
{
	const struct image_proc *proc = image_proc(b->image, i);
	int status = proc->exit_status;
	prog_op(p, PUP_OP_AWAIT, word_address(b, WORD_JOINED), count_members(b->image));
	prog_sys(p, SYS_prctl, 15 /* PR_SET_NAME */,
		 prog_data(p->arena, proc->comm, sizeof(proc->comm)));
	if (WIFSIGNALED(status)) {
		struct rlimit none = { 0, 0 };
		uint64_t no_mask = 0;
		prog_sys(p, SYS_prlimit64, 0, RLIMIT_CORE,
			 prog_data(p->arena, &none, sizeof(none)), 0);
		prog_sys(p, SYS_kill, (uint64_t)proc->pid, (uint64_t)WTERMSIG(status));
		prog_sys(p, SYS_rt_sigprocmask, SIG_SETMASK,
			 prog_data(p->arena, &no_mask, sizeof(no_mask)), 0, 8);
	}
	prog_sys(p, SYS_exit_group, (uint64_t)WEXITSTATUS(status));
}

static uint64_t work_area(size_t thread)
{
	return PUP_THREAD + thread * PUP_WORK_BYTES;
}

/*
 * What runs after the gate lies in the work area, behind the frame: the
 * arena is gone by then.
 */
static uint64_t write_after(struct build *b, struct prog *p, int i)
{
	enum { CAP = PUP_FRAME_BYTES - IMAGE_FRAME_BYTES };
	uint64_t remote = work_area(0) + IMAGE_FRAME_BYTES;
	uint8_t bytes[CAP] = { 0 };
	struct prog_arena arena = { .local = bytes, .remote = remote, .cap_bytes = CAP, .memfd = -1 };
	struct prog after;
	prog_init(&after, &arena);
	timers_load_after(&after, image_proc(b->image, i));
	stops_load_after(&after, b->image, i);
	uint64_t start = after.ops.n ? prog_seal(&after) : 0;
	prog_deinit(&after);
	if (arena.failed)
		b->arena.failed = true;
	else if (start)
		prog_op(p, PUP_OP_COPY, remote, prog_data(p->arena, bytes, arena.used_bytes),
			arena.used_bytes);
	return start;
}

static void write_frame(struct build *b, struct prog *p, const struct image_thread *t, size_t k)
{
	uint8_t frame[IMAGE_FRAME_BYTES];
	int len = frame_lay(t, work_area(k), frame, sizeof(frame));
	if (len < 0) {
		b->arena.failed = true;
		return;
	}
	prog_op(p, PUP_OP_COPY, work_area(k), prog_data(p->arena, frame, (size_t)len),
		(uint64_t)len);
}

static void write_thread_parts(struct load *l, const struct image_thread *t)
{
	for (size_t i = 0; i < part_count; i++)
		if (part_table[i]->load_thread)
			part_table[i]->load_thread(l, t);
}

static void write_other_threads(struct build *b, struct load *l, const struct image_proc *proc,
				uint64_t counter, bool waits)
{
	struct prog *p = l->prog;
	size_t n = proc->threads.n;
	if (n > 1)
		prog_sys(p, SYS_mmap, work_area(1), (n - 1) * PUP_WORK_BYTES,
			 PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
			 (uint64_t)-1, 0);
	for (size_t k = 1; k < n; k++) {
		const struct image_thread *t = vec_at(&proc->threads, k);
		struct prog thread;
		prog_init(&thread, &b->arena);
		thread.next_slot = p->next_slot;
		struct load lt = *l;
		lt.prog = &thread;
		write_frame(b, &thread, t, k);
		write_thread_parts(&lt, t);
		prog_op(&thread, PUP_OP_NOTIFY, counter, 1);
		prog_op(&thread, PUP_OP_PARK, work_area(k), n, 0, b->arena.cap_bytes,
			stops_level(proc), waits);
		uint64_t start = prog_seal(&thread);
		prog_deinit(&thread);
		prog_op(p, PUP_OP_THREAD, (uint64_t)t->tid, start, work_area(k));
	}
}

/*
 * The first thread waits for the others: the filter takes them all. At the
 * gate they wait for it, if it has something to do there.
 */
static void write_threads(struct build *b, struct load *l)
{
	struct prog *p = l->prog;
	const struct image_proc *proc = image_proc(l->image, l->proc);
	const struct image_thread *first = vec_at(&proc->threads, 0);
	uint64_t counter;
	prog_space(&b->arena, sizeof(uint32_t), &counter);
	uint64_t after = write_after(b, p, l->proc);
	write_other_threads(b, l, proc, counter, after);
	write_frame(b, p, first, 0);
	write_thread_parts(l, first);
	prog_op(p, PUP_OP_AWAIT, counter, proc->threads.n - 1);
	posix_timers_load(p, proc);
	if (proc->cred.filters)
		confine_emit_seccomp(p, b->en->confine);
	prog_op(p, PUP_OP_PARK, work_area(0), proc->threads.n, after, b->arena.cap_bytes,
		stops_level(proc));
}

/* The keeper takes the descriptor and arms; then it is closed here. */
static void write_tracking(struct build *b, struct prog *p, int i)
{
	if (!b->options->track)
		return;
	unsigned int slot = prog_slot(p);
	built(b, i)->uffd_op = prog_sys(p, SYS_userfaultfd, SYS_UFFD_FLAGS);
	prog_out(p, slot);
	prog_op(p, PUP_OP_NOTIFY, word_address(b, WORD_TRACKED), 1);
	prog_op(p, PUP_OP_AWAIT, word_address(b, WORD_ARMED), 1);
	prog_sys(p, SYS_close, slot);
	prog_slots(p, 1);
}

static void write_live(struct build *b, struct prog *p, int i)
{
	struct load l = { .image = b->image,
			  .prog = p,
			  .proc = i,
			  .file_slot = b->file_slot,
			  .fd_base = b->fd_base,
			  .own = &b->own,
			  .pidfds = &b->pidfds,
			  .keep_groups = b->en->keep_groups };
	for (size_t k = 0; k < part_count; k++) {
		if (part_table[k] == &part_limits) {
			write_tracking(b, p, i);
			files_load_end(&l);
		}
		if (part_table[k]->load)
			part_table[k]->load(&l);
	}
	write_threads(b, &l);
}

void tree_write(struct build *b, int i)
{
	for (int c = 0; c < (int)b->image->procs.n; c++)
		if (forker(b->image, c) == i)
			tree_write(b, c);
	const struct image_proc *proc = image_proc(b->image, i);
	struct prog *p = &built(b, i)->prog;
	prog_init(p, &b->arena);
	p->next_slot = b->next_slot;
	write_ids(b, p, i);
	if (proc->state == PROC_GHOST)
		write_ghost(b, p);
	else if (proc->state == PROC_ZOMBIE)
		write_zombie(b, p, i);
	else
		write_live(b, p, i);
	built(b, i)->address = prog_seal(p);
}

void tree_write_pidfds(struct build *b, struct prog *p)
{
	pidfd_emit_open(p, b->image, b->file_slot, &b->pidfds, count_members(b->image));
}

int build_programs(struct build *b, struct err *e)
{
	b->pidfds = (struct pidfd_words){ .joined = word_address(b, WORD_JOINED),
					  .opened = word_address(b, WORD_PIDFDS),
					  .taken = word_address(b, WORD_TAKEN) };
	for (int i = 0; i < (int)b->image->procs.n; i++)
		if (forker(b->image, i) == IMAGE_NONE)
			tree_write(b, i);
	if (b->arena.failed)
		return err_set(e, ENOMEM, "the programs of %zu processes do not fit into %zu bytes",
			       b->image->procs.n, b->arena.cap_bytes);
	return 0;
}
