/*
 * sysvipc.h - System V objects: svipc(7). All calls are about the IPC
 * namespace of the caller.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/vec.h"

/*
 * Enter the IPC namespace of a process; *home_fd leads back. Leave it: whoever
 * stays there keeps its objects alive when its own processes have ended.
 */
must_check int sys_ipc_enter(int pidfd, int *home_fd);
void sys_ipc_leave(int *home_fd);

struct sys_ipc_counts {
	int segments, semaphore_sets, queues;
};

must_check int sys_ipc_count(struct sys_ipc_counts *out);

/* A segment of shared memory. */
struct sys_shm {
	int32_t key, id;
	uint32_t mode;		/* permissions */
	bool is_removed;	/* goes with its last attachment */
	bool is_locked;		/* SHM_LOCK */
	uint64_t bytes;
	pid_t creator;		/* as who asks sees it; 0: out of its sight */
	uint64_t attached;	/* mappings */
	uint32_t uid, gid, cuid, cgid;
};

/* Copy the kernel's table, as the caller's PID namespace sees it. */
must_check int sys_shm_table(int to_fd);

/* Read such a copy from its start: a vec of struct sys_shm. */
must_check int sys_shm_table_read(int fd, struct vec *out);

/*
 * Ask for the id of the next segment that is made in this namespace (3.19). Needs
 * CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN over it.
 */
must_check int sys_shm_want_id(int32_t id);

/* shmget(2) of a segment that is not there yet. Its id or -errno. */
must_check int sys_shm_make(int32_t key, uint64_t bytes, uint32_t mode);
must_check int sys_shm_set_owner(const struct sys_shm *shm);

/* shmat(2), read-only, anywhere; shmdt(2). */
must_check int sys_shm_attach(int32_t id, void **at);
void sys_shm_detach(void *at);
