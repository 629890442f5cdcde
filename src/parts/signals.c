/*
 * signals.c - handlers and pending signals. Masks and alternate stacks come
 * back with the registers (frame.c).
 *
 * Every signal is blocked from PID 1's birth until a thread returns through
 * its frame, so that no handler runs in a parked process.
 */
#include "parts/part.h"

#include <signal.h>
#include <sys/syscall.h>

static bool can_ask(int sig)
{
	return sig != SIGKILL && sig != SIGSTOP;
}

static int ask_signals(struct image_proc *p, struct asked *a)
{
	for (int s = 1; s <= IMAGE_SIGNALS; s++)
		if (can_ask(s))
			prog_sys(a->prog, SYS_rt_sigaction, (uint64_t)s, 0,
				 prog_remote(a->prog->arena, &a->answers->action[s]), 8);
	return 0;
}

static int heard_signals(struct image_proc *p, const struct asked *a, struct err *e)
{
	for (int s = 1; s <= IMAGE_SIGNALS; s++)
		p->action[s] = a->answers->action[s];
	return 0;
}

/*
 * A new process has the defaults: PID 1 set them. What it has blocked is what
 * a libc can block, which keeps two signals for itself (32 and 33): timers
 * of SIGEV_THREAD send the one.
 */
static void load_signals(struct load *l)
{
	const struct image_proc *p = image_proc(l->image, l->proc);
	const uint64_t all = ~0ull;
	prog_sys(l->prog, SYS_rt_sigprocmask, SIG_SETMASK,
		 prog_data(l->prog->arena, &all, sizeof(all)), 0, sizeof(all));
	for (int s = 1; s <= IMAGE_SIGNALS; s++) {
		const struct image_sigaction *action = &p->action[s];
		if (can_ask(s) && (action->handler || action->flags || action->mask))
			prog_sys(l->prog, SYS_rt_sigaction, (uint64_t)s,
				 prog_data(l->prog->arena, action, sizeof(*action)), 0, 8);
	}
	vec_each(siginfo_t, info, &p->pending)
		prog_sys(l->prog, SYS_rt_sigqueueinfo, (uint64_t)p->pid,
			 (uint64_t)info->si_signo,
			 prog_data(l->prog->arena, info, sizeof(*info)));
}

static void load_thread(struct load *l, const struct image_thread *t)
{
	const struct image_proc *p = image_proc(l->image, l->proc);
	vec_each(siginfo_t, info, &t->pending)
		prog_sys(l->prog, SYS_rt_tgsigqueueinfo, (uint64_t)p->pid, (uint64_t)t->tid,
			 (uint64_t)info->si_signo,
			 prog_data(l->prog->arena, info, sizeof(*info)));
}

const struct part part_signals = {
	.name = "signals",
	.ask = ask_signals,
	.heard = heard_signals,
	.load = load_signals,
	.load_thread = load_thread,
};
