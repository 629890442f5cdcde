/*
 * proto.h - what the keeper and mulligan-init say to each other.
 *
 * A SOCK_SEQPACKET pair; init's end is its descriptor 3. One fixed-size
 * message a datagram, both ways. End of file at init's side means that the
 * keeper is gone: init exits and the kernel ends the incarnation.
 *
 *	keeper -> init					init -> keeper
 *						READY	once, when confined
 *	SPAWN + fds: block, stdin, stdout, stderr
 *						SPAWNED	after the exec, or why not
 *	SIGNAL
 *						EXITED	for whatever init reaped
 *
 * SPAWNED comes before the EXITED of its process. EXITED comes for orphans
 * and restored processes too; whoever does not know the pid ignores it. Both
 * sides are the same build, so the fields are in the machine's byte order.
 *
 * No libc in here: init is freestanding.
 */
#pragma once

#include <stdint.h>

enum {
	INIT_MAGIC = 0x54494e49, /* "INIT" */
	INIT_VERSION = 1,
	INIT_SOCKET_FD = 3,  /* of init: the control socket */
	INIT_CONFINE_FD = 4, /* of init: see confine_abi.h */
};

enum init_kind {
	INIT_SPAWN = 1,    /* id, flags, bytes of the block; 4 descriptors */
	INIT_SIGNAL = 2,   /* pid, value: signal number, flags */
	INIT_READY = 16,   /* value: 0 or -errno, step */
	INIT_SPAWNED = 17, /* id, value: 0 or -errno, pid if 0, step if not */
	INIT_EXITED = 18,  /* pid, value: wait status */
};

/* What failed. Numbers are never reused. */
enum init_step {
	INIT_STEP_NONE = 0,
	INIT_STEP_MESSAGE = 1, /* the request itself makes no sense */
	INIT_STEP_BLOCK = 2,   /* the block makes no sense, or cannot be mapped */
	INIT_STEP_CLONE = 3,
	INIT_STEP_SESSION = 4,
	INIT_STEP_STDIO = 5,
	INIT_STEP_TTY = 6,
	INIT_STEP_GROUPS = 7,
	INIT_STEP_GID = 8,
	INIT_STEP_UID = 9,
	INIT_STEP_CWD = 10,
	INIT_STEP_LOOKUP = 11,      /* argv[0] is not there, or may not be run */
	INIT_STEP_INTERPRETER = 12, /* the file is there, its interpreter is not */
	INIT_STEP_EXEC = 13,
	INIT_STEP_CONFINE_BLOB = 14,
	INIT_STEP_BOUNDING = 15,
	INIT_STEP_CAPABILITIES = 16,
	INIT_STEP_NO_NEW_PRIVS = 17,
	INIT_STEP_SECCOMP = 18,
	INIT_STEP_SIGNALS = 19,
	INIT_STEP_LIMIT = 20,
};

enum {
	/* SPAWN */
	INIT_F_TTY = 1,         /* stdin is the terminal's slave: take control */
	INIT_F_KEEP_GROUPS = 2, /* setgroups(2) is denied in this user namespace */
	/* SIGNAL */
	INIT_F_GROUP = 4, /* to the process group that pid leads */
};

struct init_msg {
	uint32_t magic;
	uint16_t version;
	uint16_t kind;
	uint64_t id;
	int32_t pid;
	int32_t value;
	uint32_t step;
	uint32_t flags;
	uint64_t block_bytes;
};
_Static_assert(sizeof(struct init_msg) == 40, "init protocol");

/*
 * The block of a SPAWN: a memfd that holds this header, n_groups group ids
 * (uint32_t), then strings, each with its NUL: the working directory, n_args
 * arguments, n_env "NAME=value". The strings end with the block.
 */
struct init_block {
	uint32_t magic;
	uint32_t uid;
	uint32_t gid;
	uint32_t n_groups;
	uint32_t n_args; /* at least 1 */
	uint32_t n_env;
	uint32_t umask;
	uint32_t pad;
};
_Static_assert(sizeof(struct init_block) == 32, "init protocol");

enum {
	INIT_ARGS_MAX = 1 << 20, /* arguments and variables; the kernel's own
				  * limit is on their bytes */
	INIT_GROUPS_MAX = 65536, /* NGROUPS_MAX */
	INIT_BLOCK_MAX = 16 << 20,
};
