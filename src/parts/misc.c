/*
 * misc.c - the small things of a process: umask, personality, out-of-memory
 * score, core-dump filter, subreaper, huge page switch.
 */
#include "parts/ids.h"
#include "parts/part.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum {
	THP_EXCEPT_ADVISED = 2,		/* PR_THP_DISABLE_EXCEPT_ADVISED, 6.18 */
	ARCH_GET_XCOMP_PERM = 0x1022,	/* asm/prctl.h of 5.16: what a process may */
	ARCH_REQ_XCOMP_PERM = 0x1023,	/* use only after it has asked for it */
	XFEATURE_TILES = 18,		/* AMX */
};

static int look_misc(struct look *l, int i, struct err *e)
{
	struct image_proc *p = look_proc(l, i);
	const struct frozen_proc *f = frozen_proc(l->frozen, (size_t)i);
	p->umask = l->status.umask;
	int r = procfs_oom_score_adj(l->procfs, f->pid, &p->oom_score_adj);
	if (r == 0)
		r = procfs_coredump_filter(l->procfs, f->pid, &p->coredump_filter);
	if (r == 0)
		r = procfs_personality(l->procfs, f->pid, &p->personality);
	return r < 0 ? look_refuse(e, p, -1, "read /proc: %s", strerror(-r)) : 0;
}

static int ask_misc(struct image_proc *p, struct asked *a)
{
	struct prog_arena *arena = a->prog->arena;
	prog_sys(a->prog, SYS_prctl, PR_GET_CHILD_SUBREAPER,
		 prog_remote(arena, &a->answers->subreaper));
	a->misc_first = prog_sys(a->prog, SYS_prctl, PR_GET_DUMPABLE);
	prog_sys(a->prog, SYS_prctl, PR_GET_THP_DISABLE);
	prog_sys(a->prog, SYS_prctl, PR_GET_SECUREBITS);
	prog_sys(a->prog, SYS_brk, 0);
	prog_sys(a->prog, SYS_arch_prctl, ARCH_GET_XCOMP_PERM,
		 prog_remote(arena, &a->answers->xcomp_perm));
	prog_mayfail(a->prog);	/* before Linux 5.16 */
	return 0;
}

static int heard_misc(struct image_proc *p, const struct asked *a, struct err *e)
{
	p->subreaper = a->answers->subreaper == 1;
	if (p->subreaper && ids_would_adopt(a->image, p))
		return look_refuse(e, p, -1, "it adopts orphans (PR_SET_CHILD_SUBREAPER) and has "
				   "not adopted one that is of a session below it");
	p->dumpable = prog_result(a->prog, a->misc_first) == 1;
	p->thp_disable = (uint32_t)prog_result(a->prog, a->misc_first + 1);
	p->cred.securebits = (uint32_t)prog_result(a->prog, a->misc_first + 2);
	p->mm.brk = (uint64_t)prog_result(a->prog, a->misc_first + 3);
	int64_t r = prog_result(a->prog, a->misc_first + 4);
	if (r < 0 && r != -EINVAL && r != -EOPNOTSUPP)
		return look_refuse(e, p, -1, "its vector state: %s", strerror((int)-r));
	p->xcomp_perm = r < 0 ? 0 : a->answers->xcomp_perm;
	return 0;
}

static void write_own_file(struct prog *p, const char *path, const char *text)
{
	size_t len = strlen(text);
	unsigned int slot = prog_slot(p);
	prog_sys(p, SYS_openat, (uint64_t)AT_FDCWD,
		 prog_string(p->arena, path), O_WRONLY | O_CLOEXEC);
	prog_out(p, slot);
	prog_sys(p, SYS_write, slot, prog_data(p->arena, text, len), len);
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
	char text[16];
	if (p->oom_score_adj != l->own->oom_score_adj) {
		snprintf(text, sizeof(text), "%d", p->oom_score_adj);
		write_own_file(l->prog, "/proc/self/oom_score_adj", text);
	}
	if (p->coredump_filter != l->own->coredump_filter) {
		snprintf(text, sizeof(text), "0x%x", p->coredump_filter);
		write_own_file(l->prog, "/proc/self/coredump_filter", text);
	}
	if (p->subreaper)
		prog_sys(l->prog, SYS_prctl, PR_SET_CHILD_SUBREAPER, 1);
	if (p->thp_disable)
		prog_sys(l->prog, SYS_prctl, PR_SET_THP_DISABLE, 1,
			 p->thp_disable & THP_EXCEPT_ADVISED);
	if (p->xcomp_perm >> XFEATURE_TILES & 1)
		prog_sys(l->prog, SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILES);
}

const struct part part_misc = {
	.name = "misc",
	.look = look_misc,
	.ask = ask_misc,
	.heard = heard_misc,
	.load = load_misc,
};
