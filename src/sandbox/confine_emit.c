/*
 * confine_emit.c - give a restored thread its credentials back.
 *
 * The order is forced: changing uids drops capabilities unless a securebit
 * keeps them; dropping from the bounding set and setting securebits need
 * CAP_SETPCAP; so ids first, then bounding set and securebits, the real
 * capability sets after them, and no_new_privs, which needs nothing, last.
 */
#include "sandbox/confine.h"

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sys/syscall.h>

static void emit_prctl(struct prog *p, uint64_t option, uint64_t a, uint64_t b)
{
	prog_sys(p, SYS_prctl, option, a, b, 0, 0);
}

void confine_emit_bounding(struct prog *p, uint64_t have, uint64_t want)
{
	for (unsigned int cap = 0; cap < 64; cap++)
		if ((have & ~want) >> cap & 1)
			emit_prctl(p, PR_CAPBSET_DROP, cap, 0);
}

static void emit_capset(struct prog *p, uint64_t effective, uint64_t permitted,
			uint64_t inheritable)
{
	const struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	const struct __user_cap_data_struct data[2] = {
		{(uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable},
		{(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32),
		 (uint32_t)(inheritable >> 32)},
	};
	prog_sys(p, SYS_capset, prog_data(p->arena, &head, sizeof(head)),
		 prog_data(p->arena, data, sizeof(data)));
}

static void emit_ids(struct prog *p, const struct confinement *c)
{
	if (!c->keep_groups)
		prog_sys(p, SYS_setgroups, c->n_groups,
			 prog_data(p->arena, c->groups, c->n_groups * sizeof(gid_t)));
	prog_sys(p, SYS_setresgid, c->rgid, c->egid, c->sgid);
	if (c->fsgid != c->egid)
		prog_sys(p, SYS_setfsgid, c->fsgid);
	prog_sys(p, SYS_setresuid, c->ruid, c->euid, c->suid);
	if (c->fsuid != c->euid)
		prog_sys(p, SYS_setfsuid, c->fsuid);
}

void confine_emit(struct prog *p, const struct confinement *c, uint64_t have_bounding)
{
	const uint64_t needed = c->cap_prm | 1ull << CAP_SETPCAP;
	emit_prctl(p, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0);
	emit_ids(p, c);
	/* inheritable capabilities outside the bounding set come before it */
	if (c->cap_inh & ~c->cap_bnd)
		emit_capset(p, needed, needed, c->cap_inh);
	confine_emit_bounding(p, have_bounding, c->cap_bnd);
	emit_prctl(p, PR_SET_SECUREBITS, c->securebits, 0);
	emit_capset(p, c->cap_eff, c->cap_prm, c->cap_inh);
	for (unsigned int cap = 0; cap < 64; cap++)
		if (c->cap_amb >> cap & 1)
			emit_prctl(p, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap);
	if (c->no_new_privs)
		emit_prctl(p, PR_SET_NO_NEW_PRIVS, 1, 0);
	if (c->dumpable >= 0)
		emit_prctl(p, PR_SET_DUMPABLE, (uint64_t)c->dumpable, 0);
}

void confine_emit_seccomp(struct prog *p, const struct confine *c)
{
	size_t n;
	const struct sock_filter *insns = confine_filter(c, &n);
	/* struct sock_fprog with the target's address in it */
	const uint64_t fprog[2] = {
		n,
		prog_data(p->arena, insns, n * sizeof(*insns)),
	};
	prog_sys(p, SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC,
		 prog_data(p->arena, fprog, sizeof(fprog)));
	prog_exact(p, 0); /* a thread that cannot follow is named by its tid */
}
