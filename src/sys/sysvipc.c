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
	/* of SEM_INFO and MSG_INFO these four are the numbers of objects */
	*out = (struct sys_ipc_counts){ shm.used_ids, sem.semusz, sem.semaem, msg.msgpool,
					msg.msgmap };
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

/* A copy of a table, at its first line; fclose() it. */
static int open_copy(int fd, FILE **out)
{
	int64_t start = sys_lseek(fd, 0, SEEK_SET);
	int copy = start < 0 ? (int)start : sys_dup(fd);
	if (copy < 0)
		return copy;
	*out = fdopen(copy, "r");
	if (!*out)
		cleanup_fd(&copy);
	return *out ? 0 : -ENOMEM;
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
	FILE *f;
	int r = open_copy(fd, &f);
	if (r)
		return r;
	char line[512];
	for (bool first = true; r == 0 && fgets(line, sizeof(line), f); first = false) {
		if (first)
			continue;
		struct sys_shm *s = vec_add(out);
		r = s ? read_line(line, s) : -ENOMEM;
	}
	fclose(f);
	return r;
}

int sys_ipc_want_id(const char *kind, int32_t id)
{
	char path[64], text[16];
	snprintf(path, sizeof(path), "/proc/sys/kernel/%s_next_id", kind);
	snprintf(text, sizeof(text), "%" PRId32, id);
	return sys_write_small(AT_FDCWD, path, text);
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

union sem_argument {
	int value;
	struct semid_ds *ds;
};

static int write_all(int fd, const void *bytes, size_t len)
{
	ssize_t n = sys_write(fd, bytes, len);
	return n < 0 ? (int)n : (size_t)n == len ? 0 : -EIO;
}

static int write_set(int to_fd, const struct sys_sem_set *set)
{
	int r = write_all(to_fd, set, sizeof(*set));
	for (uint32_t i = 0; r == 0 && i < set->n; i++) {
		union sem_argument none = { 0 };
		struct sys_sem sem = { semctl(set->id, (int)i, GETVAL, none),
				       semctl(set->id, (int)i, GETPID, none) };
		r = sem.value < 0 || sem.pid < 0 ? -errno : write_all(to_fd, &sem, sizeof(sem));
	}
	return r;
}

/* key semid perms nsems uid gid cuid cgid otime ctime */
static int copy_set(const char *line, int to_fd)
{
	struct sys_sem_set set = { 0 };
	uint64_t used;
	int n = sscanf(line,
		       "%" SCNd32 " %" SCNd32 " %" SCNo32 " %" SCNu32 " %" SCNu32 " %" SCNu32
		       " %" SCNu32 " %" SCNu32 " %" SCNu64,
		       &set.key, &set.id, &set.mode, &set.n, &set.uid, &set.gid, &set.cuid,
		       &set.cgid, &used);
	if (n != 9)
		return -EPROTO;
	set.mode &= PERMISSIONS;
	set.was_used = used;
	return write_set(to_fd, &set);
}

int sys_sem_table(int to_fd)
{
	scoped_fd int from = sys_openat(AT_FDCWD, "/proc/sysvipc/sem", O_RDONLY, 0);
	FILE *f;
	int r = from < 0 ? from : open_copy(from, &f);
	if (r)
		return r;
	char line[512];
	for (bool first = true; r == 0 && fgets(line, sizeof(line), f); first = false)
		r = first ? 0 : copy_set(line, to_fd);
	fclose(f);
	return r;
}

static int read_set(FILE *f, const struct sys_sem_set *head, struct vec *out)
{
	struct sys_sem_set *set = vec_add(out);
	if (!set)
		return -ENOMEM;
	*set = *head;
	set->sems = calloc(set->n ? set->n : 1, sizeof(*set->sems));
	if (!set->sems)
		return -ENOMEM;
	return fread(set->sems, sizeof(*set->sems), set->n, f) == set->n ? 0 : -EPROTO;
}

int sys_sem_table_read(int fd, struct vec *out)
{
	FILE *f;
	int r = open_copy(fd, &f);
	if (r)
		return r;
	struct sys_sem_set head;
	while (r == 0 && fread(&head, sizeof(head), 1, f) == 1)
		r = read_set(f, &head, out);
	fclose(f);
	return r;
}

int sys_sem_make(const struct sys_sem_set *set)
{
	int r = sys_fault("semget");
	if (r)
		return r;
	r = semget(set->key, (int)set->n, IPC_CREAT | IPC_EXCL | (int)set->mode);
	return r < 0 ? -errno : r;
}

int sys_sem_set_owner(const struct sys_sem_set *set)
{
	struct semid_ds ds = { 0 };
	int r = sys_fault("semctl");
	if (r)
		return r;
	ds.sem_perm.uid = set->uid;
	ds.sem_perm.gid = set->gid;
	ds.sem_perm.mode = (unsigned short)set->mode;
	union sem_argument arg = { .ds = &ds };
	return semctl(set->id, 0, IPC_SET, arg) < 0 ? -errno : 0;
}

int sys_sem_set_value(int32_t id, uint32_t i, int32_t value)
{
	union sem_argument arg = { .value = value };
	int r = sys_fault("semctl");
	if (r)
		return r;
	return semctl(id, (int)i, SETVAL, arg) < 0 ? -errno : 0;
}

int sys_sem_use(int32_t id, uint32_t i)
{
	struct sembuf await = { (unsigned short)i, 0, IPC_NOWAIT };
	int r = sys_fault("semop");
	if (r)
		return r;
	return semop(id, &await, 1) < 0 ? -errno : 0;
}
