/*
 * run.c - the puppet's interpreter.
 *
 * One process runs one program at a time; the threads of a process that is
 * being restored run theirs concurrently and share the slots, which they only
 * read. A failure anywhere in a tree ends that process after it was written
 * to the status page; PID 1's end ends the incarnation.
 *
 * Must not: allocate, use floating point or vector registers (a live guest's
 * are in use), touch memory that no program names.
 */
#include "puppet/internal.h"

#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>

enum { DUPFD_CLOEXEC = 1030 };	/* F_DUPFD_CLOEXEC, fcntl(2) */
enum { CHILD_SIGNAL = 17 };	/* SIGCHLD */

/* The process's values; a fork inherits them. */
static uint64_t slot[PUP_SLOTS];
/* Threads of this process that have reached the gate. */
static uint32_t parked;
/* The last of them has taken away what they had in common with the keeper. */
static uint32_t cleared;
/* The first thread has run what comes after the gate. */
static uint32_t passed;

void *memcpy(void *dst, const void *src, size_t n)
{
	void *ret = dst;
	__asm__ volatile("rep movsb"
			 : "+D"(dst), "+S"(src), "+c"(n)
			 :
			 : "memory");
	return ret;
}

void *memset(void *dst, int c, size_t n)
{
	void *ret = dst;
	__asm__ volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(c) : "memory");
	return ret;
}

void run_set_slot(unsigned int i, uint64_t value)
{
	if (i < PUP_SLOTS)
		slot[i] = value;
}

void run_wake(uint32_t *word)
{
	raw_syscall3(__NR_futex, (long)word, FUTEX_WAKE, 0x7fffffff);
}

void run_sleep(uint32_t *word, uint32_t seen)
{
	raw_syscall4(__NR_futex, (long)word, FUTEX_WAIT, seen, 0);
}

static long op_sys(const struct pup_op *op, const uint64_t a[6])
{
	bool exact = op->flags & PUP_F_EXACT;
	long ret = raw_syscall6(op->nr, (long)a[0], (long)a[1], (long)a[2],
				(long)a[3], (long)a[4], exact ? 0 : (long)a[5]);
	if (exact && ret >= 0 && (uint64_t)ret != a[5])
		return -EIO;
	return ret;
}

/* The process side of a tree: run, and never come back. */
static __attribute__((noreturn)) void run_to_end(const struct pup_op *program,
						 struct pup_status *status)
{
	struct run_error err;
	long ret = run_program(program, status, &err);
	run_exit(ret < 0 ? 99 : 0);
}

static long op_child(const uint64_t a[6], struct pup_status *status)
{
	struct clone_args args;
	memset(&args, 0, sizeof(args));
	int tid = (int)a[0];
	args.flags = a[3];
	args.exit_signal = a[1];
	if (tid) {
		args.set_tid = (uint64_t)&tid;
		args.set_tid_size = 1;
	}
	long pid = raw_syscall3(__NR_clone3, (long)&args, sizeof(args), 0);
	if (pid == 0)
		run_to_end((const struct pup_op *)a[2], status);
	return pid;
}

struct thread_start {
	const struct pup_op *program;
	struct pup_status *status;
};

static void thread_main(void *arg)
{
	struct thread_start *start = arg;
	run_to_end(start->program, start->status);
}

static long op_thread(const uint64_t a[6], struct pup_status *status)
{
	/* the start record lies below the frame's end, above the stack */
	struct thread_start *start =
		(void *)(a[2] + PUP_WORK_BYTES - sizeof(*start));
	start->program = (const struct pup_op *)a[1];
	start->status = status;
	int tid = (int)a[0];
	struct clone_args args;
	memset(&args, 0, sizeof(args));
	args.flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND |
		     CLONE_THREAD | CLONE_SYSVSEM;
	args.set_tid = (uint64_t)&tid;
	args.set_tid_size = 1;
	args.stack = a[2] + PUP_FRAME_BYTES;
	args.stack_size = PUP_WORK_BYTES - PUP_FRAME_BYTES - 64;
	return raw_clone3_call(__NR_clone3, &args, sizeof(args), thread_main,
			       start);
}

/*
 * For what remembers who did it. It shares all that we have, so that what it
 * opens stays; memory is what its own program leaves alone.
 */
static long op_errand(const uint64_t a[6], struct pup_status *status)
{
	struct thread_start *start = (void *)(a[2] - sizeof(*start));
	start->program = (const struct pup_op *)a[1];
	start->status = status;
	int pid = (int)a[0], end = 0;
	struct clone_args args;
	memset(&args, 0, sizeof(args));
	args.flags = CLONE_VM | CLONE_FILES | CLONE_VFORK;
	args.exit_signal = CHILD_SIGNAL;
	args.set_tid = (uint64_t)&pid;
	args.set_tid_size = 1;
	args.stack = a[2] - PUP_ERRAND_BYTES;
	args.stack_size = PUP_ERRAND_BYTES - 64;
	long ret = raw_clone3_call(__NR_clone3, &args, sizeof(args), thread_main, start);
	if (ret > 0)
		ret = raw_syscall4(__NR_wait4, ret, (long)&end, 0x40000000 /* __WALL */, 0);
	return ret < 0 ? ret : end ? -ECHILD : 0;
}

static long op_notify(const uint64_t a[6], struct pup_status *status)
{
	uint32_t *word = (uint32_t *)a[0];
	__atomic_add_fetch(word, (uint32_t)a[1], __ATOMIC_SEQ_CST);
	run_wake(word);
	if (status) {
		__atomic_add_fetch(&status->seq, 1, __ATOMIC_SEQ_CST);
		run_wake(&status->seq);
	}
	return 0;
}

static void await_word(uint32_t *word, uint32_t value)
{
	for (;;) {
		uint32_t seen = __atomic_load_n(word, __ATOMIC_SEQ_CST);
		if (seen >= value)
			return;
		run_sleep(word, seen);
	}
}

static long op_await(const uint64_t a[6])
{
	await_word((uint32_t *)a[0], (uint32_t)a[1]);
	return 0;
}

/*
 * The last thread of a process takes away the arena before it says that the
 * process is ready, and the status page after: guest code never runs in sight
 * of either, and nothing in the other is believed once the gate is open.
 */
static void park_process(uint64_t threads, uint64_t arena_bytes,
			 struct pup_status *status)
{
	if (__atomic_add_fetch(&parked, 1, __ATOMIC_SEQ_CST) != threads)
		return;
	raw_syscall3(__NR_munmap, PUP_ARENA + PUP_PAGE,
		     (long)(arena_bytes - PUP_PAGE), 0);
	__atomic_add_fetch(&status->ready, 1, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&status->seq, 1, __ATOMIC_SEQ_CST);
	run_wake(&status->seq);
	raw_syscall3(__NR_munmap, PUP_ARENA, PUP_PAGE, 0);
	__atomic_store_n(&cleared, 1, __ATOMIC_SEQ_CST);
	run_wake(&cleared);
}

static __attribute__((noreturn)) void op_park(const uint64_t a[6],
					      struct pup_status *status)
{
	uint64_t frame = a[0];
	const struct pup_op *after = (const struct pup_op *)a[2];
	park_process(a[1], a[3], status);
	await_word((uint32_t *)PUP_GATE, (uint32_t)a[4]);
	/* a stop would leave it half-way */
	await_word(&cleared, 1);
	if (after) {
		struct run_error err;
		run_program(after, NULL, &err);
		__atomic_store_n(&passed, 1, __ATOMIC_SEQ_CST);
		run_wake(&passed);
	} else if (a[5]) {
		await_word(&passed, 1);
	}
	/* the frame's first word is the handler's return address */
	raw_sigreturn(frame + 8);
}

static long op_recvfds(const uint64_t a[6])
{
	struct message m;
	uint64_t got = 0, byte;
	while (got < a[1]) {
		long ret = message_receive(&m, (long)a[0], &byte, sizeof(byte));
		if (ret <= 0 || !m.n_fds)
			return ret < 0 ? ret : -EPIPE;
		if (a[3] + got + m.n_fds > PUP_SLOTS)
			return -EMSGSIZE;
		for (unsigned int i = 0; i < m.n_fds; i++) {
			long fd = raw_syscall3(__NR_fcntl, m.control.fd[i],
					       DUPFD_CLOEXEC, (long)a[2]);
			raw_syscall3(__NR_close, m.control.fd[i], 0, 0);
			if (fd < 0)
				return fd;
			slot[a[3] + got++] = (uint64_t)fd;
		}
	}
	return (long)got;
}

/* Tests: is this the call that is to fail? The tree's processes share it. */
static bool is_faulty(const struct pup_op *op, struct pup_status *status)
{
	bool calls = op->op == PUP_OP_SYS || op->op == PUP_OP_CHILD || op->op == PUP_OP_THREAD ||
		     op->op == PUP_OP_RECVFDS || op->op == PUP_OP_ERRAND;
	return calls && status && status->fault_after &&
	       !__atomic_sub_fetch(&status->fault_after, 1, __ATOMIC_SEQ_CST);
}

static long run_op(const struct pup_op *op, const uint64_t a[6],
		   struct pup_status *status)
{
	if (is_faulty(op, status))
		return -EIO;
	switch (op->op) {
	case PUP_OP_SYS:
		return op_sys(op, a);
	case PUP_OP_CHILD:
		return op_child(a, status);
	case PUP_OP_THREAD:
		return op_thread(a, status);
	case PUP_OP_COPY:
		memcpy((void *)a[0], (const void *)a[1], a[2]);
		return 0;
	case PUP_OP_NOTIFY:
		return op_notify(a, status);
	case PUP_OP_AWAIT:
		return op_await(a);
	case PUP_OP_PARK:
		op_park(a, status);
	case PUP_OP_RECVFDS:
		return op_recvfds(a);
	case PUP_OP_EQUAL:
		return a[0] == a[1] ? 0 : -ESTALE;
	case PUP_OP_LOAD:
		return *(const int32_t *)a[0];
	case PUP_OP_ERRAND:
		return op_errand(a, status);
	default:
		return -ENOSYS;
	}
}

static void report(struct pup_status *status, const struct run_error *err)
{
	if (__atomic_exchange_n(&status->failed, 1, __ATOMIC_SEQ_CST))
		return;
	status->failed_pid = (int32_t)raw_syscall3(__NR_getpid, 0, 0, 0);
	status->error = (int32_t)err->error;
	status->failed_op = err->op;
	__atomic_add_fetch(&status->seq, 1, __ATOMIC_SEQ_CST);
	run_wake(&status->seq);
}

long run_program(const struct pup_op *program, struct pup_status *status,
		 struct run_error *err)
{
	/* results go back into the program, wherever the keeper put it */
	struct pup_op *op = (struct pup_op *)program;
	while (op->op != PUP_OP_END) {
		uint64_t a[6];
		for (int i = 0; i < 6; i++) {
			a[i] = op->a[i];
			if (op->slots & (1u << i))
				a[i] = slot[a[i] % PUP_SLOTS];
		}
		if (op->op == PUP_OP_JUMP) {
			op = (struct pup_op *)a[0];
			continue;
		}
		long ret = run_op(op, a, status);
		if (ret < 0 && ret >= -4095 && !(op->flags & PUP_F_MAYFAIL)) {
			op->ret = ret;
			*err = (struct run_error){ -ret, (uint64_t)op };
			if (status)
				report(status, err);
			return ret;
		}
		op->ret = ret;
		if (op->out)
			slot[(op->out - 1) % PUP_SLOTS] = (uint64_t)ret;
		op++;
	}
	return 0;
}

__attribute__((used)) long puppet_live(const struct pup_op *program,
				       struct pup_status *status);

long puppet_live(const struct pup_op *program, struct pup_status *status)
{
	struct run_error err;
	return run_program(program, status, &err);
}
