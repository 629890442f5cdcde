/*
 * confine_args.c - calls that the filter judges by an argument. These
 * instructions come before libseccomp's part: the kernel looks only at the
 * low 32 bits of an ioctl's number, a socket's family and the like, libseccomp
 * compares 64: an "is not" or "is one of" over them could be led around.
 *
 * Some can do harm; the others are settings that nobody outside can see or a
 * restore could not give back. These are answered as by a kernel that does
 * not know them yet: programs go without.
 *
 *	if the architecture is not ours: on to libseccomp's part (refuses)
 *	for each rule: if it is that call, decide or go on to libseccomp's part
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "sandbox/confine_internal.h"

/* They type into a terminal. */
static const uint32_t typing_ioctls[] = { TIOCSTI, TIOCLINUX };

/* vsock reaches the host past every network namespace. */
static const uint32_t families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET };

/* Signals when something happens in a directory: in no file of /proc. */
static const uint32_t directory_signals[] = { F_NOTIFY };

/*
 * Neither MAP_DROPPABLE (6.11) nor MAP_GROWSDOWN, which only smaps shows: it
 * takes a third of a checkpoint to read.
 */
enum { MAP_TYPE_GROWS = MAP_TYPE | MAP_GROWSDOWN };
static const uint32_t map_types[] = { MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE };

/*
 * Advice about contents, and hints. Not what changes the meaning of a mapping
 * and is told by smaps alone: DONTFORK, WIPEONFORK, DONTDUMP; nor guard pages
 * (6.13). Going back to the default is always granted.
 */
static const uint32_t advices[] = {
	MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED,
	MADV_FREE, MADV_REMOVE, MADV_DOFORK, MADV_MERGEABLE, MADV_UNMERGEABLE,
	MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DODUMP, MADV_KEEPONFORK, MADV_COLD,
	MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
	24 /* MADV_DONTNEED_LOCKED */, 25 /* MADV_COLLAPSE */,
};

/*
 * Not among them: SYSCALL_USER_DISPATCH, SPECULATION_CTRL, SCHED_CORE,
 * SET_MEMORY_MERGE, MCE_KILL, SET_PTRACER, SET_VMA (names of memory), and
 * what is newer than this list.
 */
static const uint32_t prctls[] = {
	PR_SET_PDEATHSIG, PR_GET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_DUMPABLE,
	PR_GET_KEEPCAPS, PR_SET_KEEPCAPS, PR_GET_TIMING, PR_SET_TIMING, PR_SET_NAME,
	PR_GET_NAME, PR_GET_SECCOMP, PR_SET_SECCOMP, PR_CAPBSET_READ, PR_CAPBSET_DROP,
	PR_GET_TSC, PR_SET_TSC, PR_GET_SECUREBITS, PR_SET_SECUREBITS, PR_SET_TIMERSLACK,
	PR_GET_TIMERSLACK, PR_TASK_PERF_EVENTS_DISABLE, PR_TASK_PERF_EVENTS_ENABLE,
	PR_MCE_KILL_GET, PR_SET_MM, PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER,
	PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_GET_TID_ADDRESS, PR_SET_THP_DISABLE,
	PR_GET_THP_DISABLE, PR_CAP_AMBIENT, PR_GET_SPECULATION_CTRL, PR_GET_IO_FLUSHER,
	65 /* PR_SET_MDWE */, 66 /* PR_GET_MDWE */, 68 /* PR_GET_MEMORY_MERGE */,
	0x41555856 /* PR_GET_AUXV */,
};

/* Not: shadow stacks, tagged addresses, faulting cpuid, more than one vdso. */
static const uint32_t arch_prctls[] = {
	0x1001 /* ARCH_SET_GS */, 0x1002 /* ARCH_SET_FS */, 0x1003 /* ARCH_GET_FS */,
	0x1004 /* ARCH_GET_GS */, 0x1011 /* ARCH_GET_CPUID */,
	0x1021 /* ARCH_GET_XCOMP_SUPP */, 0x1022 /* ARCH_GET_XCOMP_PERM */,
	0x1023 /* ARCH_REQ_XCOMP_PERM */,
};

#define LIST(values) (values), sizeof(values) / sizeof(*(values))
enum { ANY = -1 };	/* mask: all of the low half */

const struct confine_rule confine_rules[] = {
	{ SYS_ioctl, 1, ANY, CONFINE_NONE_OF, EPERM, LIST(typing_ioctls) },
	{ SYS_socket, 0, ANY, CONFINE_ONLY, EAFNOSUPPORT, LIST(families) },
	{ SYS_fcntl, 1, ANY, CONFINE_NONE_OF, EINVAL, LIST(directory_signals) },
	{ SYS_mmap, 3, MAP_TYPE_GROWS, CONFINE_ONLY, EINVAL, LIST(map_types) },
	{ SYS_madvise, 2, ANY, CONFINE_ONLY, EINVAL, LIST(advices) },
	{ SYS_process_madvise, 3, ANY, CONFINE_ONLY, EINVAL, LIST(advices) },
	{ SYS_prctl, 0, ANY, CONFINE_ONLY, EINVAL, LIST(prctls) },
	{ SYS_arch_prctl, 0, ANY, CONFINE_ONLY, EINVAL, LIST(arch_prctls) },
};
const size_t confine_n_rules = sizeof(confine_rules) / sizeof(*confine_rules);

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(field))
#define IS(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, (uint8_t)(yes), (uint8_t)(no))
#define GO(by) BPF_STMT(BPF_JMP | BPF_JA, (uint32_t)(by))

enum {
	HEAD_INSNS = 4,
	RULE_INSNS = 5,		/* and one a value */
};

static size_t rule_insns(const struct confine_rule *r)
{
	return RULE_INSNS + r->n_values;
}

size_t confine_front_insns(void)
{
	size_t n = HEAD_INSNS;
	for (size_t i = 0; i < confine_n_rules; i++)
		n += rule_insns(&confine_rules[i]);
	return n;
}

/*
 *	if the call is not r->nr: skip the rest of this rule
 *	load the low half of the argument, and the mask
 *	compare with each value: a hit goes to the second verdict
 *	first verdict, second verdict
 * where one verdict is "go on `left` instructions behind this rule".
 */
static size_t write_rule(const struct confine_rule *r, size_t left, struct sock_filter *f)
{
	const struct sock_filter error = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | r->error);
	bool only = r->kind == CONFINE_ONLY;
	size_t n = 0;
	f[n++] = (struct sock_filter)IS(r->nr, 0, rule_insns(r) - 1);
	f[n++] = (struct sock_filter)LOAD(offsetof(struct seccomp_data, args) +
					  r->arg * sizeof(uint64_t));
	f[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, (uint32_t)r->mask);
	for (size_t i = 0; i < r->n_values; i++)
		f[n++] = (struct sock_filter)IS(r->values[i], r->n_values - i, 0);
	f[n++] = only ? error : (struct sock_filter)GO(left + 1);
	f[n++] = only ? (struct sock_filter)GO(left) : error;
	return n;
}

void confine_front_write(struct sock_filter *f)
{
	size_t n = HEAD_INSNS, all = confine_front_insns();
	f[0] = (struct sock_filter)LOAD(offsetof(struct seccomp_data, arch));
	f[1] = (struct sock_filter)IS(AUDIT_ARCH_X86_64, 1, 0);
	f[2] = (struct sock_filter)GO(all - 3);
	f[3] = (struct sock_filter)LOAD(offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < confine_n_rules; i++) {
		size_t end = n + rule_insns(&confine_rules[i]);
		n += write_rule(&confine_rules[i], all - end, f + n);
	}
}
