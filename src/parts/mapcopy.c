#include "parts/mapcopy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "parts/unlinked.h"
#include "sys/fd.h"
#include "sys/file.h"

#ifndef HUGETLBFS_MAGIC
#define HUGETLBFS_MAGIC 0x958458f6
#endif

enum {
	FIXED = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW,
	NAME_BYTES = 250,		/* MFD_NAME_MAX_LEN and a NUL */
};

int mapcopy_is_needed(int fd, bool in_memory)
{
	struct stat st;
	struct statfs fs;
	int r = sys_fstat(fd, &st);
	if (r || !S_ISREG(st.st_mode) || (st.st_nlink && !in_memory))
		return r;
	int seals = sys_fcntl(fd, F_GET_SEALS, 0);	/* -EINVAL: it cannot be sealed */
	if (seals >= 0 && (seals & FIXED) == FIXED)
		return 0;
	if (fstatfs(fd, &fs))
		return -errno;
	return fs.f_type == HUGETLBFS_MAGIC ? -EOPNOTSUPP : 1;
}

/* "/dev/shm/NAME", "/memfd:NAME (deleted)" */
static void base_name(const char *path, char out[NAME_BYTES])
{
	static const char memfd[] = "/memfd:", deleted[] = " (deleted)";
	size_t tail = sizeof(deleted) - 1;
	const char *slash = strrchr(path, '/');
	if (!strncmp(path, memfd, sizeof(memfd) - 1))
		path += sizeof(memfd) - 1;
	else if (slash)
		path = slash + 1;
	size_t n = strlen(path);
	if (n >= tail && !strcmp(path + n - tail, deleted))
		n -= tail;
	snprintf(out, NAME_BYTES, "%.*s", (int)n, path);
}

int mapcopy_make(int fd, const char *name)
{
	char base[NAME_BYTES];
	base_name(name, base);
	scoped_fd int copy = sys_memfd(base, MFD_ALLOW_SEALING);
	if (copy < 0)
		return copy;
	int r = unlinked_copy(fd, copy);
	if (r == 0)
		r = sys_fcntl(copy, F_ADD_SEALS, FIXED | F_SEAL_SEAL);
	return r < 0 ? r : take_fd(&copy);
}

/* Where the next data of either begins; the length where there is none. */
static int64_t next_data(int a, int b, int64_t at, int64_t len)
{
	int64_t x = sys_lseek(a, at, SEEK_DATA), y = sys_lseek(b, at, SEEK_DATA);
	if ((x < 0 && x != -ENXIO) || (y < 0 && y != -ENXIO))
		return at;	/* no holes to be seen there */
	x = x < 0 ? len : x;
	y = y < 0 ? len : y;
	return x < y ? x : y;
}

int mapcopy_is_current(int fd, int copy_fd)
{
	enum { BLOCK = 32768 };
	char ours[BLOCK], theirs[BLOCK];
	struct stat a, b;
	int r = sys_fstat(fd, &a);
	if (r == 0)
		r = sys_fstat(copy_fd, &b);
	if (r || a.st_size != b.st_size)
		return r;
	for (int64_t at = 0; (at = next_data(fd, copy_fd, at, a.st_size)) < a.st_size;) {
		ssize_t n = sys_pread(fd, theirs, BLOCK, (uint64_t)at);
		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		ssize_t m = sys_pread(copy_fd, ours, (size_t)n, (uint64_t)at);
		if (m < 0)
			return (int)m;
		if (m != n || memcmp(ours, theirs, (size_t)n))
			return 0;
		at += n;
	}
	return 1;
}
