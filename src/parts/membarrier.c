/*
 * membarrier.c - which expedited memory barriers a process has registered
 * for: without it they fail, with EPERM. Only it can tell. Before Linux 6.3 by
 * trying; whether it takes part in those of others (GLOBAL_EXPEDITED) nobody
 * can tell there, and nobody can notice when it does: it always comes back so.
 */
#include "parts/part.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>

#include "sys/probe.h"

/* The bit of a registration is also the command that makes it. */
static const struct {
	int use, registration;
} barriers[] = {
	{ MEMBARRIER_CMD_PRIVATE_EXPEDITED, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED },
	{ MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE,
	  MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE },
	{ MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ },
};

enum {
	N_BARRIERS = sizeof(barriers) / sizeof(*barriers),
	GET_REGISTRATIONS = 1 << 9,	/* MEMBARRIER_CMD_GET_REGISTRATIONS, 6.3 */
};

static int ask_membarrier(struct image_proc *p, struct asked *a)
{
	if (sys_has(SYS_F_MEMBARRIER_GET)) {
		a->membarrier_first = prog_sys(a->prog, SYS_membarrier, GET_REGISTRATIONS, 0, 0);
		return 0;
	}
	for (size_t i = 0; i < N_BARRIERS; i++) {
		size_t op = prog_sys(a->prog, SYS_membarrier, (uint64_t)barriers[i].use, 0, 0);
		prog_mayfail(a->prog);
		a->membarrier_first = i ? a->membarrier_first : op;
	}
	return 0;
}

static int heard_membarrier(struct image_proc *p, const struct asked *a, struct err *e)
{
	if (sys_has(SYS_F_MEMBARRIER_GET)) {
		p->membarriers = (uint32_t)prog_result(a->prog, a->membarrier_first);
		return 0;
	}
	p->membarriers = MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED;
	for (size_t i = 0; i < N_BARRIERS; i++) {
		int64_t r = prog_result(a->prog, a->membarrier_first + i);
		if (r == 0)
			p->membarriers |= (uint32_t)barriers[i].registration;
		else if (r == -ENOSYS)
			p->membarriers = 0;
		else if (r != -EPERM && r != -EINVAL) /* neither registered nor known */
			return look_refuse(e, p, -1, "its memory barriers: %s", strerror((int)-r));
	}
	return 0;
}

/* Before there are threads: registering waits for those. */
static void load_membarrier(struct load *l)
{
	uint32_t have = image_proc(l->image, l->proc)->membarriers;
	for (uint32_t bit = 1; bit && bit <= have; bit <<= 1)
		if (have & bit)
			prog_sys(l->prog, SYS_membarrier, bit, 0, 0);
}

const struct part part_membarrier = {
	.name = "memory barriers",
	.ask = ask_membarrier,
	.heard = heard_membarrier,
	.load = load_membarrier,
};
