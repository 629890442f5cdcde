/* turns.h - two processes that count in shared memory, one after the other. */
#pragma once

#include "guest.h"

#include <sys/wait.h>

struct turns {
	volatile uint64_t turn;
	volatile uint64_t sum;
	volatile bool stop;
};

/* A step, if it is the turn of who: 0 or 1. */
static inline void turns_take(struct turns *t, unsigned who)
{
	if (t->turn % 2 != who) {
		usleep(200);
		return;
	}
	t->sum = guest_mix(t->sum, t->turn);
	__sync_synchronize();
	t->turn++;
}

/* The child's part: until the parent says stop. */
static inline void turns_take_all(struct turns *t)
{
	while (!t->stop)
		turns_take(t, 1);
}

/* The parent's: say ready, take turns until go, await the child; was each step made once? */
static inline void turns_lead(struct turns *t, pid_t child)
{
	guest_check(child > 0);
	guest_ready();
	while (!guest_go())
		turns_take(t, 0);
	t->stop = true;
	int status;
	guest_eq(waitpid(child, &status, 0), child);
	guest_eq(status, 0);
	uint64_t sum = 0;
	for (uint64_t i = 0; i < t->turn; i++)
		sum = guest_mix(sum, i);
	guest_check(sum == t->sum);
}
