/*
 * timers.c - interval timers. They are armed after the gate has opened, with
 * the time that was left at the checkpoint: nothing fires into a parked
 * process. So are POSIX timers: posix_timers.c.
 */
#include "parts/timers.h"

#include <sys/syscall.h>
#include <sys/time.h>

#include "parts/part.h"
#include "parts/posix_timers.h"

static int ask_timers(struct image_proc *p, struct asked *a)
{
	for (int i = 0; i < 3; i++)
		prog_sys(a->prog, SYS_getitimer, (uint64_t)i,
			 prog_remote(a->prog->arena, &a->answers->itimer[i]));
	posix_timers_ask(p, a);
	return 0;
}

static int heard_timers(struct image_proc *p, const struct asked *a, struct err *e)
{
	for (int i = 0; i < 3; i++) {
		int64_t interval = a->answers->itimer[i].interval_s * 1000000 +
				   a->answers->itimer[i].interval_us;
		int64_t value = a->answers->itimer[i].value_s * 1000000 +
				a->answers->itimer[i].value_us;
		/*
		 * While its signal is pending, a periodic real timer reads 0:
		 * the kernel arms it again when the signal is taken. One that
		 * is not armed has no interval.
		 */
		if (i == ITIMER_REAL && interval > 0 && value == 0)
			value = interval;
		p->itimer[i].interval_us = interval;
		p->itimer[i].value_us = value;
	}
	posix_timers_heard(p, a);
	return 0;
}

void timers_load_after(struct prog *after, const struct image_proc *p)
{
	for (int i = 0; i < 3; i++) {
		if (p->itimer[i].value_us <= 0)
			continue;
		struct itimerval v = {
			.it_interval = { p->itimer[i].interval_us / 1000000,
					 p->itimer[i].interval_us % 1000000 },
			.it_value = { p->itimer[i].value_us / 1000000,
				      p->itimer[i].value_us % 1000000 },
		};
		prog_sys(after, SYS_setitimer, (uint64_t)i,
			 prog_data(after->arena, &v, sizeof(v)), 0);
	}
	posix_timers_load_after(after, p);
}

const struct part part_timers = {
	.name = "timers",
	.look = posix_timers_look,
	.ask = ask_timers,
	.heard = heard_timers,
};
