/*
 * confine.h - what no process of a sandbox may do: the capability bounding
 * set, no_new_privs and the default seccomp filter; and the operations by
 * which a restored process becomes as confined as it was.
 */
#pragma once

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "puppet/prog.h"

/* The default filter, exported once. */
struct confine;

must_check int confine_new(struct confine **out, struct err *e);
void confine_free(struct confine *c);

/* The filter's BPF program; borrowed. */
const struct sock_filter *confine_filter(const struct confine *c, size_t *n);

/* Capabilities that stay in the bounding set of everything inside. */
uint64_t confine_bounding(void);

/*
 * Append what mulligan-init needs to confine itself (init/confine_abi.h).
 * nproc: RLIMIT_NPROC for the commands; nofile: their soft RLIMIT_NOFILE. 0:
 * leave it.
 */
must_check int confine_init_blob(const struct confine *c, uint64_t nproc, uint64_t nofile,
				 struct buf *out);

/* Credentials of one thread as /proc/<pid>/status and prctl tell them. */
struct confinement {
	uid_t ruid, euid, suid, fsuid;
	gid_t rgid, egid, sgid, fsgid;
	const gid_t *groups; /* borrowed */
	size_t n_groups;
	uint64_t cap_inh, cap_prm, cap_eff, cap_bnd, cap_amb;
	uint32_t securebits;
	bool no_new_privs;
	bool keep_groups; /* setgroups is denied in this user
			   * namespace: leave them */
	int dumpable;     /* PR_GET_DUMPABLE, set again at the end
			   * since a change of ids resets it; -1:
			   * leave it */
};

/*
 * Append PR_CAPBSET_DROP for each capability in `have` and not in `want`.
 * Cheapest once in PID 1, before it forks the tree: the bounding set is
 * inherited and takes no capability from a running process.
 */
void confine_emit_bounding(struct prog *p, uint64_t have, uint64_t want);

/*
 * Append what gives the running THREAD these credentials. It has all
 * capabilities in its user namespace, uid 0, and the bounding set
 * have_bounding. Credentials belong to threads: what still needs privilege
 * (clone3 with set_tid, PR_SET_MM, limits) comes before, and every thread
 * runs this for itself, unless it is made after it.
 */
void confine_emit(struct prog *p, const struct confinement *c, uint64_t have_bounding);

/*
 * Append the default filter for ALL threads of the running process: the last
 * operation of the last thread, when the others sit at the gate, since it
 * forbids most of what a restore does. One filter that all threads share, as
 * they did: a guest's own filter with TSYNC needs a common ancestor.
 * no_new_privs must be set (confine_emit() did, if the process had it).
 */
void confine_emit_seccomp(struct prog *p, const struct confine *c);

/*
 * Calls that the puppet makes inside live guests, under the filter. arg[]
 * are typical arguments. A test holds them against the filter.
 */
struct confine_call {
	const char *name;
	int nr;
	uint64_t arg[6];
};
extern const struct confine_call confine_puppet_calls[];
extern const size_t confine_n_puppet_calls;
