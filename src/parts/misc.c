/*
 * misc.c - the small things of a process: umask, personality, out-of-memory
 * score, subreaper, parent-death signal, huge page switch.
 */
#include "parts/part.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static int look_misc(struct look *l, int i, struct err *e)
{
	struct image_proc *p = look_proc(l, i);
	const struct frozen_proc *f = frozen_proc(l->frozen, (size_t)i);
	p->umask = l->status.umask;
	int r = procfs_oom_score_adj(l->procfs, f->pid, &p->oom_score_adj);
	if (r == 0)
		r = procfs_personality(l->procfs, f->pid, &p->personality);
	return r < 0 ? look_refuse(e, p, -1, "read /proc: %s", strerror(-r)) : 0;
}

static int ask_misc(struct image_proc *p, struct asked *a)
{
	struct prog_arena *arena = a->prog->arena;
	prog_sys(a->prog, SYS_prctl, PR_GET_CHILD_SUBREAPER,
		 prog_remote(arena, &a->answers->subreaper));
	prog_sys(a->prog, SYS_prctl, PR_GET_PDEATHSIG,
		 prog_remote(arena, &a->answers->pdeath_signal));
	a->misc_first = prog_sys(a->prog, SYS_prctl, PR_GET_DUMPABLE);
	prog_sys(a->prog, SYS_prctl, PR_GET_THP_DISABLE);
	prog_sys(a->prog, SYS_prctl, PR_GET_SECUREBITS);
	prog_sys(a->prog, SYS_brk, 0);
	return 0;
}

static int heard_misc(struct image_proc *p, const struct asked *a, struct err *e)
{
	p->subreaper = a->answers->subreaper == 1;
	p->pdeath_signal = a->answers->pdeath_signal;
	p->dumpable = prog_result(a->prog, a->misc_first) == 1;
	p->thp_disable = prog_result(a->prog, a->misc_first + 1) == 1;
	p->cred.securebits = (uint32_t)prog_result(a->prog, a->misc_first + 2);
	p->mm.brk = (uint64_t)prog_result(a->prog, a->misc_first + 3);
	return 0;
}

static void load_oom_score(struct load *l, int score)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", score);
	struct prog *p = l->prog;
	unsigned int slot = prog_slot(p);
	prog_sys(p, SYS_openat, (uint64_t)AT_FDCWD,
		 prog_string(p->arena, "/proc/self/oom_score_adj"), O_WRONLY | O_CLOEXEC);
	prog_out(p, slot);
	prog_sys(p, SYS_write, slot, prog_data(p->arena, text, (size_t)len), (uint64_t)len);
	prog_slots(p, 1);
	prog_sys(p, SYS_close, slot);
	prog_slots(p, 1);
}

static void load_misc(struct load *l)
{
	const struct image_proc *p = image_proc(l->image, l->proc);
	prog_sys(l->prog, SYS_umask, p->umask);
	if (p->personality)
		prog_sys(l->prog, SYS_personality, p->personality);
	if (p->oom_score_adj != l->own->oom_score_adj)
		load_oom_score(l, p->oom_score_adj);
	if (p->subreaper)
		prog_sys(l->prog, SYS_prctl, PR_SET_CHILD_SUBREAPER, 1);
	if (p->pdeath_signal)
		prog_sys(l->prog, SYS_prctl, PR_SET_PDEATHSIG, (uint64_t)p->pdeath_signal);
	if (p->thp_disable)
		prog_sys(l->prog, SYS_prctl, PR_SET_THP_DISABLE, 1);
}

const struct part part_misc = {
	.name = "misc",
	.look = look_misc,
	.ask = ask_misc,
	.heard = heard_misc,
	.load = load_misc,
};
