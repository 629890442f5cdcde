/* limits_internal.h - what the two files of limits share. */
#pragma once

#include "base/vec.h"
#include "sandbox/limits.h"

/* Roles that a hierarchy plays; in v2 one plays them all. */
enum limits_role {
	ROLE_MEMORY = 1 << 0,
	ROLE_PIDS = 1 << 1,
	ROLE_CPU = 1 << 2,
	ROLE_FREEZER = 1 << 3,
};

enum { HIERARCHIES_MAX = 4 };

/* Where sandboxes of this user have their directories. */
struct limits_place {
	unsigned int roles; /* of enum limits_role */
	char *dir;          /* ".../mulligan", which may not exist yet */
};

struct limits_means {
	enum limits_kind kind;
	struct limits_place place[HIERARCHIES_MAX];
	size_t n;
	char why[256]; /* why not better; "" */
};

/* Find the best means; nothing is created. */
must_check int limits_find(struct limits_means *out, struct err *e);
void limits_means_deinit(struct limits_means *m);

/*
 * v2: let the children of dir have the controllers of the roles that are
 * there (memory and pids are demanded). 0 or -errno.
 */
must_check int limits_enable(const char *dir, unsigned int *roles);

/* Whether each PID namespace has a pid_max of its own (Linux 6.14). */
bool limits_pid_max_is_per_namespace(void);

enum group_state { GROUP_TAKEN, GROUP_GIVEN };

struct limits_group {
	struct limits *owner;
	enum group_state state;
	char name[16];
	int fd[HIERARCHIES_MAX]; /* directories */
	uint64_t oom_before;     /* kills before it was taken */
};

struct limits {
	struct limits_means means;
	char name[SPEC_NAME_BYTES + 16];
	int dir_fd[HIERARCHIES_MAX];
	struct vec groups; /* struct limits_group * */
	unsigned int next;
	uint64_t memory_bytes;
	uint32_t pids_max, cpus_milli;
	unsigned int pid_max;
	uint64_t nproc;
	char missing[384];
};

/* Remove a group's directories; 0, or -EBUSY while processes are in it. */
must_check int limits_group_remove(struct limits *l, const char *name);
void limits_group_free(struct limits_group *g);
