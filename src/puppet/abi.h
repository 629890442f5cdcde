/*
 * abi.h - all that the keeper and the puppet know of each other.
 *
 * The puppet is one freestanding blob. It has three roles: the template (a
 * process that holds a checkpoint's memory), the restorer (PID 1 of a new
 * incarnation and the tree that it forks), and the guest in a live process
 * (to ask it things and to re-home its descriptors). In all of them it does
 * one thing: run a program, an array of struct pup_op, most of which are
 * system calls. What to do is decided by the keeper; the puppet has no policy.
 *
 * Programs live in an arena: a memfd that the keeper and a template, or the
 * processes of an incarnation, map at different addresses; or, in a live
 * process, private memory that the keeper copies in and out. An arena starts
 * with struct pup_status. What comes back through it is hostile input.
 *
 * Address plan of templates and restored processes. Nothing a guest maps may
 * overlap [PUP_LOW, PUP_SHM_END): the checkpoint refuses it by name. Few are
 * there: V8 maps at random below 0x4000 0000 0000, address sanitizers below
 * 0x1001 0000 0000 and from 0x6000 0000 0000 on, the kernel places programs
 * from 0x5555 0000 0000 on and all the rest downwards from the stack.
 *
 *	PUP_LOW    0x4000 0000 0000	blob: code and constants, r-x
 *	PUP_THREAD   +64 MB		one work area a thread: frame, stack
 *	PUP_ARENA    +1 GB		arena of the request being served
 *	PUP_GATE     +9 GB		one page, read-only: who may go
 *	PUP_VDSO     +10 GB		the template's own vvar and vdso, parked
 *	PUP_HIGH   +16 GB
 *	PUP_STAGE  0x4100 0000 0000	templates only: staged memory of the tree
 *	PUP_STAGE_END 0x5300 0000 0000
 *	PUP_SHM    0x5300 0000 0000	shared objects, while a tree is being made
 *	PUP_SHM_END 0x5500 0000 0000
 */
#pragma once

#include <stdint.h>

#define PUP_LOW 0x400000000000ull
#define PUP_THREAD (PUP_LOW + (64ull << 20))
#define PUP_ARENA (PUP_LOW + (1ull << 30))
#define PUP_GATE (PUP_LOW + (9ull << 30))
#define PUP_VDSO (PUP_LOW + (10ull << 30))
#define PUP_HIGH (PUP_LOW + (16ull << 30))
#define PUP_STAGE 0x410000000000ull
#define PUP_STAGE_END 0x530000000000ull
#define PUP_SHM PUP_STAGE_END
#define PUP_SHM_END 0x550000000000ull
#define PUP_TASK_END 0x7ffffffff000ull /* end of user addresses, x86-64 */

enum {
	PUP_MAGIC = 0x4d505550,		/* "PUPM" */
	PUP_PAGE = 4096,
	PUP_SLOTS = 4096,		/* values a program may keep */
	/*
	 * A thread's work area: the finished signal frame first (xstate is
	 * at most 11 KB with AMX tiles), then its stack.
	 */
	PUP_FRAME_BYTES = 20480,
	PUP_WORK_BYTES = 32768,
	PUP_WORK_MAX = 16384,		/* threads in one process */
	PUP_ERRAND_BYTES = 8192,	/* stack of PUP_OP_ERRAND */
	PUP_FDS_MAX = 250,		/* SCM_MAX_FD is 253 */
	PUP_GATE_OPEN = 0x7fffffff,	/* what the gate says to all */
};

/*
 * Operations. `a[i]` is a value, or a slot number where bit i of `slots` is
 * set. The result goes to op->ret and, where `out` is not 0, to slot out - 1.
 * A result in [-4095, -1] stops the program and is reported in the status,
 * unless PUP_F_MAYFAIL is set.
 */
enum pup_opcode {
	PUP_OP_END = 0,		/* end of the program; in a live process: int3 */
	PUP_OP_SYS = 1,		/* system call nr(a0..a5) */
	PUP_OP_CHILD = 2,	/* fork: a0 pid to have (0: any), a1 exit signal,
				 * a2 program the child runs, a3 clone flags */
	PUP_OP_THREAD = 3,	/* thread: a0 tid, a1 program, a2 work area */
	PUP_OP_COPY = 4,	/* copy a2 bytes from a1 to a0 */
	PUP_OP_NOTIFY = 5,	/* add a1 to the 32-bit word at a0, wake it and
				 * the status word */
	PUP_OP_AWAIT = 6,	/* sleep until the word at a0 is >= a1 */
	PUP_OP_PARK = 7,	/* unmap the arena (a3 bytes) and report ready if
				 * this is the last of the process's a1 threads,
				 * wait until the gate says a4 or more, run the
				 * program at a2 if not 0 (in the work area), let
				 * the threads of which a5 is 1 go on, then
				 * sigreturn from frame a0 */
	PUP_OP_RECVFDS = 8,	/* receive a1 descriptors from socket a0 and
				 * keep them at numbers >= a2, in slots a3.. */
	PUP_OP_JUMP = 9,	/* go on with the program at a0 */
	PUP_OP_EQUAL = 10,	/* fail with -ESTALE unless a0 == a1 */
	PUP_OP_LOAD = 11,	/* the 32-bit word at a0 */
	PUP_OP_ERRAND = 12,	/* let a process with pid a0 run the program at a1
				 * on the stack that ends at a2, with our memory
				 * and descriptors; it ends before we go on */
};

enum {
	PUP_F_MAYFAIL = 1,	/* an error is an answer, go on */
	PUP_F_EXACT = 2,	/* for copying calls: fail with -EIO unless the
				 * result equals a[5] (a[5] is not passed on) */
};

struct pup_op {
	uint16_t op;		/* enum pup_opcode */
	uint16_t nr;		/* system call number */
	uint16_t flags;		/* PUP_F_* */
	uint16_t slots;		/* bit i: a[i] names a slot */
	uint64_t a[6];
	int64_t ret;
	uint32_t out;		/* 1 + slot for the result, 0: none */
	uint32_t line;		/* where the keeper emitted it, for errors */
};
_Static_assert(sizeof(struct pup_op) == 72, "ABI");

/* First bytes of every arena. Words are futexes. */
struct pup_status {
	uint32_t magic;
	uint32_t seq;		/* bumped at every notification */
	uint32_t ready;		/* processes parked */
	uint32_t unused;
	uint32_t reached;	/* tree -> keeper: rendezvous reached */
	uint32_t failed;	/* 1: the fields below are valid */
	int32_t failed_pid;	/* in the incarnation's namespace */
	int32_t error;		/* errno value */
	uint64_t failed_op;	/* address of the op that failed */
	uint32_t fault_after;	/* tests: the n-th system call fails, 0: off */
	uint32_t word[29];	/* counters a program uses */
};
_Static_assert(sizeof(struct pup_status) == 160, "ABI");

/*
 * Requests to a template, one datagram each over a SOCK_SEQPACKET pair, with
 * descriptors by SCM_RIGHTS. Every request is answered by one pup_reply on
 * the socket it came from.
 */
enum pup_request_kind {
	PUP_REQ_RUN = 1,	/* fd 0: arena; run program at `program` */
	PUP_REQ_FORK = 2,	/* fd 0: socket of the new template */
	PUP_REQ_SPAWN = 3,	/* fd 0: arena, 1: gate page, 2..: kept open for
				 * the program in slots 0..; clone PID 1 with
				 * `clone_flags`; reply carries its pidfd */
	PUP_REQ_ATTACH = 4,	/* fd 0: socket of one more keeper */
	PUP_REQ_END = 5,	/* no reply: exit */
};

struct pup_request {
	uint32_t magic;
	uint32_t kind;
	uint64_t program;	/* address of the first op */
	uint64_t arena_bytes;
	uint64_t clone_flags;
	uint32_t fault_after;	/* tests: as in pup_status, of the template's own */
	uint32_t reserved;
};

struct pup_reply {
	uint32_t magic;
	int32_t result;		/* 0, pid of the new process, or -errno */
	uint64_t failed_op;
	uint32_t fault_left;	/* tests: what is left of fault_after */
	uint32_t reserved;
};

/* argv of the template's exec: "mulligan-template"; fd 3 is its socket. */
enum { PUP_TEMPLATE_SOCKET_FD = 3 };
