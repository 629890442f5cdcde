/*
 * sandboxing.h - cgroups, sysctls and what the machine has. All return
 * -errno. The only place that knows how cgroups are found and spelled.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/vec.h"

/* A mounted cgroup hierarchy, as this process sees it. */
struct sys_cgroup {
	bool v2;
	char *controllers; /* v1: "memory", "cpu,cpuacct"; v2: "" */
	char *top;         /* where its root is mounted */
	char *own;         /* directory of this process below (or at) top */
};

/* All of them; *out is a vec of struct sys_cgroup, empty where there is none. */
must_check int sys_cgroups(struct vec *out);
void sys_cgroups_deinit(struct vec *v);

/* Whether a comma-separated list holds word. */
bool sys_list_has(const char *list, const char *word);

/* Read a small file below dir_fd (AT_FDCWD), NUL-terminated, last newline
 * dropped. Returns its length. */
must_check int sys_read_small(int dir_fd, const char *path, char *text, size_t text_bytes);
/* Write text by one write(2) into an existing file. */
must_check int sys_write_small(int dir_fd, const char *path, const char *text);

/* Number in a file that holds one; "max" is UINT64_MAX. */
must_check int sys_read_u64(int dir_fd, const char *path, uint64_t *value);

/* Number of the line "key value" of a file. -ENOENT: no such line. */
must_check int sys_read_key(int dir_fd, const char *path, const char *key, uint64_t *value);

/* The machine's memory. */
must_check int sys_memory_total(uint64_t *bytes);
