/*
 * hosted.h - run a puppet program in an ordinary process of a test: the
 * operations PUP_OP_SYS and PUP_OP_END, with slots, results and may-fail.
 *
 * The arena must be mapped at the address it was written for:
 *	struct prog_arena a;
 *	hosted_arena(&a, bytes);
 */
#pragma once

#include <errno.h>
#include <unistd.h>

#include "harness/harness.h"
#include "puppet/prog.h"

enum { HOSTED_SLOTS = 256 };

struct hosted {
	uint64_t slot[HOSTED_SLOTS];
	unsigned int failed_line; /* of the file that emitted it */
	int n_ops;
};

/* A shared arena whose addresses are right in this process and its forks. */
static inline void hosted_arena(struct prog_arena *a, size_t bytes)
{
	t_ok(prog_arena_init(a, 0, bytes));
	a->remote = (uint64_t)(uintptr_t)a->local;
}

static inline long hosted_call(const struct pup_op *op, const uint64_t a[6])
{
	long ret =
		syscall(op->nr, a[0], a[1], a[2], a[3], a[4], op->flags & PUP_F_EXACT ? 0 : a[5]);
	if (ret < 0)
		return -errno;
	if (op->flags & PUP_F_EXACT && (uint64_t)ret != a[5])
		return -EIO;
	return ret;
}

/* Run it; 0 or the -errno of the operation that failed. */
static inline long hosted_run(struct hosted *h, uint64_t program)
{
	struct pup_op *op = (struct pup_op *)(uintptr_t)program;
	for (; op->op != PUP_OP_END; op++) {
		uint64_t a[6];
		for (int i = 0; i < 6; i++)
			a[i] = op->slots >> i & 1 ? h->slot[op->a[i] % HOSTED_SLOTS] : op->a[i];
		op->ret = op->op == PUP_OP_SYS ? hosted_call(op, a) : -ENOSYS;
		h->n_ops++;
		if (op->ret < 0 && !(op->flags & PUP_F_MAYFAIL)) {
			h->failed_line = op->line;
			return op->ret;
		}
		if (op->out)
			h->slot[(op->out - 1) % HOSTED_SLOTS] = (uint64_t)op->ret;
	}
	return 0;
}
