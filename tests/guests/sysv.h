/* sysv.h - what the guests with System V objects share. */
#pragma once

#include "guest.h"

#include <sys/ipc.h>
#include <sys/wait.h>

/* A key, i < 64, that no other run on this machine has. */
static inline int key_of(int i)
{
	return 0x40000000 | getpid() << 6 | i;
}

/* Let a child do it, which ends then. */
static inline pid_t run(void (*what)(int id), int id)
{
	pid_t pid = fork();
	if (pid == 0) {
		what(id);
		_exit(0);
	}
	guest_check(pid > 0);
	return pid;
}

static inline void await(pid_t pid)
{
	int status;
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
}
