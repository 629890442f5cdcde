/* procfs_internal.h - what the procfs_*.c share. */
#pragma once

#include "sys/procfs.h"

enum { PROCFS_PATH_BYTES = 96 };

/* "<pid>/[task/<tid>/]name" */
void procfs_path(char *path, size_t cap, pid_t pid, pid_t tid,
		 const char *name);

/* ENOENT below /proc/<pid> means that the task is gone: ESRCH. */
int procfs_gone(int r);

/* procfs_read() for files that come in one read; empty is ESRCH. */
must_check int procfs_read_record(struct procfs *p, pid_t pid, pid_t tid,
				  const char *name);

/* Parse a number after blanks and move behind it; base 8, 10 or 16. */
uint64_t procfs_number(const char **s, int base);

/* Append the entries (int) of a directory whose names are numbers. */
must_check int procfs_dir_numbers(int dir_fd, struct vec *out);
