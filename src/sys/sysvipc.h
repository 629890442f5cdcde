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
	int segments, semaphore_sets, semaphores, queues, messages;
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
 * Ask for the id of the next object of a kind ("shm", "sem") that is made in
 * this namespace (3.19). Needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN over it.
 */
must_check int sys_ipc_want_id(const char *kind, int32_t id);

/* shmget(2) of a segment that is not there yet. Its id or -errno. */
must_check int sys_shm_make(int32_t key, uint64_t bytes, uint32_t mode);
must_check int sys_shm_set_owner(const struct sys_shm *shm);

/* shmat(2), read-only, anywhere; shmdt(2). */
must_check int sys_shm_attach(int32_t id, void **at);
void sys_shm_detach(void *at);

/* A semaphore. */
struct sys_sem {
	int32_t value;
	pid_t pid;		/* who changed it last, as who asks sees it; 0: nobody */
};

/* A set of them. */
struct sys_sem_set {
	int32_t key, id;
	uint32_t mode, uid, gid, cuid, cgid;
	bool was_used;		/* semop(2) has changed or awaited one: sem_otime */
	uint32_t n;
	struct sys_sem *sems;	/* of the heap; free() it */
};

/*
 * Write down all sets, as the caller's PID namespace sees them; read that from
 * its start: a vec of struct sys_sem_set.
 */
must_check int sys_sem_table(int to_fd);
must_check int sys_sem_table_read(int fd, struct vec *out);

/* semget(2) of a set that is not there yet: all 0. Its id or -errno. */
must_check int sys_sem_make(const struct sys_sem_set *set);
must_check int sys_sem_set_owner(const struct sys_sem_set *set);

/* SETVAL, which the kernel remembers the caller for. */
must_check int sys_sem_set_value(int32_t id, uint32_t i, int32_t value);

/* Await that semaphore i is 0, which it is: sem_otime becomes now. */
must_check int sys_sem_use(int32_t id, uint32_t i);

/* A queue of messages. */
struct sys_msg_queue {
	int32_t key, id;
	uint32_t mode, uid, gid, cuid, cgid;
	uint64_t max_bytes;
	pid_t sender, receiver;	/* the last ones, as who asks sees them; 0: none */
	uint32_t n;
	struct vec messages;	/* struct sys_msg; sys_msg_queue_deinit() */
};

struct sys_msg {
	int64_t type;
	uint32_t bytes;
	void *text;		/* of the heap, after its type, as the kernel wants it */
};

void sys_msg_queue_deinit(struct sys_msg_queue *q);

/*
 * Write down all queues with their messages, which stay, as the caller's PID
 * namespace sees them; read that from its start: a vec of struct sys_msg_queue.
 * -ENOSYS: a kernel without CONFIG_CHECKPOINT_RESTORE.
 */
must_check int sys_msg_table(int to_fd);
must_check int sys_msg_table_read(int fd, struct vec *out);

/* msgget(2) of a queue that is not there yet. Its id or -errno. */
must_check int sys_msg_make(const struct sys_msg_queue *q);

/* Owner, mode and most bytes. */
must_check int sys_msg_set_owner(const struct sys_msg_queue *q);

/* Send, or receive the first; neither waits. */
must_check int sys_msg_send(int32_t id, const struct sys_msg *m);
must_check int sys_msg_drop_first(int32_t id);
