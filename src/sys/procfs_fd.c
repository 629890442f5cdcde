/*
 * procfs_fd.c - the descriptors of a process, and other links.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "sys/fault.h"
#include "sys/procfs.h"
#include "sys/procfs_internal.h"

/* linux/stat.h of 5.8; libc may know the word but not the field's meaning */
#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000u
#endif

enum { FD_NAME_BYTES = 16 };

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

int procfs_fd_numbers(struct procfs *p, pid_t pid, struct vec *out)
{
	scoped_fd int dir_fd =
		procfs_openat(p, pid, 0, "fd", O_RDONLY | O_DIRECTORY);
	if (dir_fd < 0)
		return dir_fd;
	int n = procfs_dir_numbers(dir_fd, out);
	if (n > 0)
		qsort((int *)out->data + out->n - n, (size_t)n, sizeof(int),
		      by_number);
	return n;
}

static int stat_link(int dir_fd, const char *name, struct procfs_fd *out)
{
	int r = sys_fault("statx");
	if (r)
		return r;
	struct statx st;
	/* AT_STATX_DONT_SYNC: what a network file system remembers will do */
	if (statx(dir_fd, name, AT_STATX_DONT_SYNC,
		  STATX_BASIC_STATS | STATX_MNT_ID, &st))
		return -errno;
	out->mode = st.stx_mode;
	out->nlink = st.stx_nlink;
	out->ino = st.stx_ino;
	out->size = st.stx_size;
	out->ctime_s = st.stx_ctime.tv_sec;
	out->ctime_ns = st.stx_ctime.tv_nsec;
	out->mnt_id = st.stx_mask & STATX_MNT_ID ? st.stx_mnt_id : 0;
	out->dev = makedev(st.stx_dev_major, st.stx_dev_minor);
	out->rdev = makedev(st.stx_rdev_major, st.stx_rdev_minor);
	return 0;
}

static int read_link(int dir_fd, const char *name, char *link, size_t cap)
{
	int r = sys_fault("readlinkat");
	if (r)
		return r;
	ssize_t n = readlinkat(dir_fd, name, link, cap);
	if (n < 0)
		return -errno;
	if ((size_t)n >= cap)
		return -ENAMETOOLONG;
	link[n] = '\0';
	return (int)n;
}

static int add_fd(int dir_fd, int number, struct procfs_fds *out)
{
	char name[FD_NAME_BYTES];
	snprintf(name, sizeof(name), "%d", number);
	struct procfs_fd fd = { .fd = number };
	int r = stat_link(dir_fd, name, &fd);
	if (r)
		return r;
	char *room = buf_room(&out->links, PATH_MAX + 1);
	if (!room)
		return -ENOMEM;
	r = read_link(dir_fd, name, room, PATH_MAX + 1);
	if (r < 0)
		return r;
	fd.link = (uint32_t)out->links.len;
	buf_grew(&out->links, (size_t)r + 1);
	struct procfs_fd *slot = vec_add(&out->fds);
	if (!slot)
		return -ENOMEM;
	*slot = fd;
	return 0;
}

int procfs_fds(struct procfs *p, pid_t pid, struct procfs_fds *out)
{
	out->fds.n = 0;
	out->links.len = 0;
	out->links.failed = false;
	scoped_fd int dir_fd =
		procfs_openat(p, pid, 0, "fd", O_RDONLY | O_DIRECTORY);
	if (dir_fd < 0)
		return dir_fd;
	struct vec numbers = VEC_INIT(int);
	int r = procfs_dir_numbers(dir_fd, &numbers);
	if (r > 0)
		qsort(numbers.data, numbers.n, sizeof(int), by_number);
	for (size_t i = 0; r >= 0 && i < numbers.n; i++)
		r = add_fd(dir_fd, *(int *)vec_at(&numbers, i), out);
	vec_deinit(&numbers);
	return r < 0 ? procfs_gone(r) : (int)out->fds.n;
}

void procfs_fds_deinit(struct procfs_fds *out)
{
	vec_deinit(&out->fds);
	buf_deinit(&out->links);
}

int procfs_link(struct procfs *p, pid_t pid, const char *name,
		struct procfs_fd *out, char *link, size_t cap)
{
	char path[PROCFS_PATH_BYTES];
	procfs_path(path, sizeof(path), pid, 0, name);
	*out = (struct procfs_fd){ .fd = -1 };
	int r = stat_link(p->fd, path, out);
	if (r == 0 && link)
		r = read_link(p->fd, path, link, cap);
	return r < 0 ? procfs_gone(r) : 0;
}

int procfs_fdinfo(struct procfs *p, pid_t pid, int fd,
		  struct procfs_fdinfo *out)
{
	char name[32];
	snprintf(name, sizeof(name), "fdinfo/%d", fd);
	/* epoll and inotify list their watches: may take several reads */
	int n = procfs_read(p, pid, 0, name);
	if (n <= 0)
		return n ? n : -ESRCH;
	char *text = p->text.data;
	*out = (struct procfs_fdinfo){ .locks = "", .rest = "" };
	const char *value;
	if ((value = procfs_field(text, "pos")))
		out->pos = procfs_number(&value, 10);
	if ((value = procfs_field(text, "flags")))
		out->flags = (uint32_t)procfs_number(&value, 8);
	if ((value = procfs_field(text, "mnt_id")))
		out->mnt_id = procfs_number(&value, 10);
	if ((value = procfs_field(text, "ino")))
		out->ino = procfs_number(&value, 10);
	/* the common lines come first, the locks after them, then the kind's */
	char *line = text;
	while (!strncmp(line, "pos:", 4) || !strncmp(line, "flags:", 6) ||
	       !strncmp(line, "mnt_id:", 7) || !strncmp(line, "ino:", 4)) {
		char *end = strchr(line, '\n');
		if (!end)
			return 0;
		line = end + 1;
	}
	out->locks = line;
	while (!strncmp(line, "lock:", 5)) {
		out->n_locks++;
		char *end = strchr(line, '\n');
		line = end ? end + 1 : line + strlen(line);
	}
	out->rest = line;
	if (!out->n_locks)
		out->locks = "";
	return 0;
}
