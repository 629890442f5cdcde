#include "sys/sysvipc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "sys/fault.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/mount.h"
#include "sys/sandboxing.h"

#ifndef SHM_DEST
#define SHM_DEST 01000
#endif
#ifndef SHM_LOCKED
#define SHM_LOCKED 02000
#endif

enum { PERMISSIONS = 0777 };

int sys_ipc_enter(int pidfd, int *home_fd)
{
	scoped_fd int home = sys_openat(AT_FDCWD, "/proc/self/ns/ipc", O_RDONLY, 0);
	if (home < 0)
		return home;
	int r = sys_setns(pidfd, CLONE_NEWIPC);
	if (r == 0)
		*home_fd = take_fd(&home);
	return r;
}

/* By the call itself: going back does not fail where entering did not. */
void sys_ipc_leave(int *home_fd)
{
	if (*home_fd >= 0)
		(void)!setns(*home_fd, CLONE_NEWIPC);
	cleanup_fd(home_fd);
}

int sys_ipc_count(struct sys_ipc_counts *out)
{
	struct shm_info shm;
	struct seminfo sem;
	struct msginfo msg;
	union {
		struct seminfo *info;
		long none;
	} arg = { .info = &sem };
	int r = sys_fault("shmctl");
	if (r)
		return r;
	if (shmctl(0, SHM_INFO, (struct shmid_ds *)&shm) < 0 || semctl(0, 0, SEM_INFO, arg) < 0 ||
	    msgctl(0, MSG_INFO, (struct msqid_ds *)&msg) < 0)
		return -errno;
	/* of SEM_INFO and MSG_INFO these two are the numbers of objects */
	*out = (struct sys_ipc_counts){ shm.used_ids, sem.semusz, msg.msgpool };
	return 0;
}

int sys_shm_table(int to_fd)
{
	scoped_fd int from = sys_openat(AT_FDCWD, "/proc/sysvipc/shm", O_RDONLY, 0);
	if (from < 0)
		return from;
	char text[4096];
	for (;;) {
		ssize_t n = sys_read(from, text, sizeof(text));
		if (n <= 0)
			return (int)n;
		ssize_t written = sys_write(to_fd, text, (size_t)n);
		if (written != n)
			return written < 0 ? (int)written : -EIO;
	}
}

/* key shmid perms size cpid lpid nattch uid gid cuid cgid ... */
static int read_line(const char *line, struct sys_shm *s)
{
	uint32_t mode;
	int n = sscanf(line,
		       "%" SCNd32 " %" SCNd32 " %" SCNo32 " %" SCNu64 " %d %*d %" SCNu64
		       " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32,
		       &s->key, &s->id, &mode, &s->bytes, &s->creator, &s->attached, &s->uid,
		       &s->gid, &s->cuid, &s->cgid);
	if (n != 10)
		return -EPROTO;
	s->mode = mode & PERMISSIONS;
	s->is_removed = mode & SHM_DEST;
	s->is_locked = mode & SHM_LOCKED;
	return 0;
}

int sys_shm_table_read(int fd, struct vec *out)
{
	int64_t start = sys_lseek(fd, 0, SEEK_SET);
	int copy = start < 0 ? (int)start : sys_dup(fd);
	if (copy < 0)
		return copy;
	FILE *f = fdopen(copy, "r");
	if (!f) {
		cleanup_fd(&copy);
		return -ENOMEM;
	}
	char line[512];
	int r = 0;
	for (bool first = true; r == 0 && fgets(line, sizeof(line), f); first = false) {
		if (first)
			continue;
		struct sys_shm *s = vec_add(out);
		r = s ? read_line(line, s) : -ENOMEM;
	}
	fclose(f);
	return r;
}

int sys_shm_want_id(int32_t id)
{
	char text[16];
	snprintf(text, sizeof(text), "%" PRId32, id);
	return sys_write_small(AT_FDCWD, "/proc/sys/kernel/shm_next_id", text);
}

int sys_shm_make(int32_t key, uint64_t bytes, uint32_t mode)
{
	int r = sys_fault("shmget");
	if (r)
		return r;
	r = shmget(key, bytes, IPC_CREAT | IPC_EXCL | SHM_NORESERVE | (int)mode);
	return r < 0 ? -errno : r;
}

int sys_shm_set_owner(const struct sys_shm *shm)
{
	struct shmid_ds ds = { 0 };
	int r = sys_fault("shmctl");
	if (r)
		return r;
	ds.shm_perm.uid = shm->uid;
	ds.shm_perm.gid = shm->gid;
	ds.shm_perm.mode = (unsigned short)shm->mode;
	return shmctl(shm->id, IPC_SET, &ds) < 0 ? -errno : 0;
}

int sys_shm_attach(int32_t id, void **at)
{
	int r = sys_fault("shmat");
	if (r)
		return r;
	void *p = shmat(id, NULL, SHM_RDONLY);
	if (p == (void *)-1)
		return -errno;
	*at = p;
	return 0;
}

void sys_shm_detach(void *at)
{
	(void)!shmdt(at);
}
