/*
 * confine_abi.h - how the keeper tells mulligan-init to confine itself, so
 * that every command it starts inherits it. Shared with init, freestanding.
 *
 * One run of bytes: struct confine_abi, then n_insns BPF instructions of 8
 * bytes (struct sock_filter). Little-endian, same machine.
 *
 * Init applies it once, before it starts the first command, in this order:
 *	1. setrlimit(RLIMIT_NPROC, nproc) if nproc is not 0, and
 *	   RLIMIT_NOFILE, the soft one alone, if nofile is not 0
 *	2. PR_CAPBSET_DROP for every capability 0..63 that is not in `bounding`
 *	   (EINVAL: the kernel has no such capability, done)
 *	3. capset: permitted = effective = bounding, inheritable = 0
 *	4. PR_SET_NO_NEW_PRIVS if CONFINE_F_NO_NEW_PRIVS
 *	5. seccomp(SECCOMP_SET_MODE_FILTER, 0, the program) if n_insns is not 0
 * and stays non-dumpable, so that nothing inside may trace or read it.
 */
#pragma once

#include <stdint.h>

enum {
	CONFINE_MAGIC = 0x4d434f4e, /* "MCON" */
	CONFINE_VERSION = 2,
	CONFINE_F_NO_NEW_PRIVS = 1,
	CONFINE_INSNS_MAX = 4096, /* BPF_MAXINSNS */
};

struct confine_abi {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;    /* CONFINE_F_* */
	uint32_t n_insns;  /* instructions that follow; 0: no filter */
	uint64_t bounding; /* capabilities that stay */
	uint64_t nproc;    /* RLIMIT_NPROC, hard and soft; 0: leave it */
	uint64_t nofile;   /* RLIMIT_NOFILE, soft; 0: leave it */
};
_Static_assert(sizeof(struct confine_abi) == 40, "ABI");
