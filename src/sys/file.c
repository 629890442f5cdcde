#include "sys/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "sys/fault.h"

enum {
	COPY_CHUNK = 1 << 20,   /* one copy_file_range or read */
	COPY_BUFFER = 64 << 10, /* where the kernel cannot copy by itself */
};

static int result(long r)
{
	return r < 0 ? -errno : (int)r;
}

int sys_openat(int dir_fd, const char *path, int flags, mode_t mode)
{
	int r = sys_fault("openat");
	return r ? r : result(openat(dir_fd, path, flags | O_CLOEXEC, mode));
}

int sys_open_beneath(int dir_fd, const char *path, int flags, mode_t mode)
{
	int r = sys_fault("openat2");
	if (r)
		return r;
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC | O_NOFOLLOW),
		.mode = mode,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	return result(syscall(SYS_openat2, dir_fd, path, &how, sizeof(how)));
}

int sys_mkdirat(int dir_fd, const char *path, mode_t mode)
{
	int r = sys_fault("mkdirat");
	return r ? r : result(mkdirat(dir_fd, path, mode));
}

int sys_unlinkat(int dir_fd, const char *path, int flags)
{
	int r = sys_fault("unlinkat");
	return r ? r : result(unlinkat(dir_fd, path, flags));
}

int sys_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	int r = sys_fault("linkat");
	return r ? r : result(linkat(from_fd, from, to_fd, to, flags));
}

int sys_symlinkat(const char *text, int dir_fd, const char *path)
{
	int r = sys_fault("symlinkat");
	return r ? r : result(symlinkat(text, dir_fd, path));
}

int sys_readlinkat(int dir_fd, const char *path, char **text)
{
	int r = sys_fault("readlinkat");
	if (r)
		return r;
	scoped_free char *got = malloc(PATH_MAX + 1);
	if (!got)
		return -ENOMEM;
	ssize_t n = readlinkat(dir_fd, path, got, PATH_MAX);
	if (n < 0)
		return -errno;
	got[n] = '\0';
	*text = take_ptr(got);
	return 0;
}

int sys_mknodat(int dir_fd, const char *path, mode_t mode, dev_t dev)
{
	int r = sys_fault("mknodat");
	return r ? r : result(mknodat(dir_fd, path, mode, dev));
}

int sys_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned int flags)
{
	int r = sys_fault("renameat2");
	return r ? r : result(renameat2(from_fd, from, to_fd, to, flags));
}

int sys_fstatat(int dir_fd, const char *path, struct stat *st, int flags)
{
	int r = sys_fault("fstatat");
	return r ? r : result(fstatat(dir_fd, path, st, flags));
}

int sys_fstat(int fd, struct stat *st)
{
	int r = sys_fault("fstat");
	return r ? r : result(fstat(fd, st));
}

int sys_fchownat(int dir_fd, const char *path, uid_t uid, gid_t gid, int flags)
{
	int r = sys_fault("fchownat");
	return r ? r : result(fchownat(dir_fd, path, uid, gid, flags));
}

int sys_fchmod(int fd, mode_t mode)
{
	int r = sys_fault("fchmod");
	return r ? r : result(fchmod(fd, mode));
}

int sys_fchmodat(int dir_fd, const char *path, mode_t mode)
{
	int r = sys_fault("fchmodat");
	return r ? r : result(fchmodat(dir_fd, path, mode, 0));
}

int sys_utimensat(int dir_fd, const char *path, const struct timespec times[2], int flags)
{
	int r = sys_fault("utimensat");
	return r ? r : result(utimensat(dir_fd, path, times, flags));
}

int sys_ficlone(int to_fd, int from_fd)
{
	int r = sys_fault("ficlone");
	return r ? r : result(ioctl(to_fd, FICLONE, from_fd));
}

/* copy_file_range() says so where it cannot: other file system, old kernel. */
static bool copy_unsupported(int r)
{
	return r == -EXDEV || r == -EINVAL || r == -EOPNOTSUPP || r == -ENOSYS;
}

/* Copy [at, end) by reading and writing. */
static int copy_by_hand(int to_fd, int from_fd, off_t at, off_t end)
{
	scoped_free char *buffer = malloc(COPY_BUFFER);
	if (!buffer)
		return -ENOMEM;
	while (at < end) {
		size_t want = end - at < COPY_BUFFER ? (size_t)(end - at) : COPY_BUFFER;
		int r = sys_fault("pread");
		if (r)
			return r;
		ssize_t n = pread(from_fd, buffer, want, at);
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		for (ssize_t done = 0; done < n;) {
			r = sys_fault("pwrite");
			if (r)
				return r;
			ssize_t w = pwrite(to_fd, buffer + done, (size_t)(n - done), at + done);
			if (w < 0)
				return -errno;
			done += w;
		}
		at += n;
	}
	return 0;
}

static int copy_range(int to_fd, int from_fd, off_t at, off_t end)
{
	while (at < end) {
		int r = sys_fault("copy_file_range");
		if (r)
			return r;
		size_t want = end - at < COPY_CHUNK ? (size_t)(end - at) : COPY_CHUNK;
		off_t from = at, to = at;
		ssize_t n = copy_file_range(from_fd, &from, to_fd, &to, want, 0);
		r = n < 0 ? -errno : 0;
		if (copy_unsupported(r))
			return copy_by_hand(to_fd, from_fd, at, end);
		if (r)
			return r;
		/* 0 also where a file system does not say: read() knows. */
		if (n == 0)
			return copy_by_hand(to_fd, from_fd, at, end);
		at += n;
	}
	return 0;
}

int sys_copy_contents(int to_fd, int from_fd)
{
	int r = sys_ficlone(to_fd, from_fd);
	if (r == 0)
		return 1;
	if (!copy_unsupported(r) && r != -ENOTTY && r != -EPERM)
		return r;
	struct stat st;
	r = sys_fstat(from_fd, &st);
	if (r)
		return r;
	r = sys_fault("ftruncate");
	if (r)
		return r;
	if (ftruncate(to_fd, st.st_size))
		return -errno;
	off_t at = 0;
	while (at < st.st_size) {
		off_t data = lseek(from_fd, at, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			return 0; /* a hole up to the end */
		if (data < 0)
			return -errno;
		off_t hole = lseek(from_fd, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		r = copy_range(to_fd, from_fd, data, hole);
		if (r)
			return r;
		at = hole;
	}
	return 0;
}

enum { XATTR_BYTES = 65536 }; /* XATTR_SIZE_MAX, XATTR_LIST_MAX */

/* Labels and the like belong to the machine's policy, not to us. */
static int xattr_result(int r, const char *name)
{
	bool refused = r == -EPERM || r == -EOPNOTSUPP;
	return refused && !strncmp(name, "security.", 9) ? 0 : r;
}

static int copy_xattr(int to_fd, int from_fd, const char *name)
{
	scoped_free char *value = malloc(2 * XATTR_BYTES);
	if (!value)
		return -ENOMEM;
	char *now = value + XATTR_BYTES;
	ssize_t n = sys_fgetxattr(from_fd, name, value, XATTR_BYTES);
	if (n == -ENODATA)
		return 0;
	if (n < 0)
		return (int)n;
	/* Setting what is there already would change the ctime. */
	ssize_t had = sys_fgetxattr(to_fd, name, now, XATTR_BYTES);
	if (had == n && !memcmp(value, now, (size_t)n))
		return 0;
	return xattr_result(sys_fsetxattr(to_fd, name, value, (size_t)n), name);
}

/* Names one after another, each with its NUL; *names is malloced. */
static ssize_t list_xattrs(int fd, char **names)
{
	int r = sys_fault("flistxattr");
	if (r)
		return r;
	ssize_t len = flistxattr(fd, NULL, 0);
	if (len < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	if (len == 0)
		return 0;
	*names = malloc((size_t)len);
	if (!*names)
		return -ENOMEM;
	len = flistxattr(fd, *names, (size_t)len);
	return len < 0 ? -errno : len;
}

static bool listed(const char *names, ssize_t len, const char *wanted)
{
	for (const char *name = names; name < names + len; name += strlen(name) + 1)
		if (!strcmp(name, wanted))
			return true;
	return false;
}

static bool skipped(const char *name, const char *prefix)
{
	return prefix && !strncmp(name, prefix, strlen(prefix));
}

int sys_copy_xattrs(int to_fd, int from_fd, const char *skip_prefix)
{
	scoped_free char *from = NULL, *to = NULL;
	ssize_t from_len = list_xattrs(from_fd, &from);
	if (from_len < 0)
		return (int)from_len;
	ssize_t to_len = list_xattrs(to_fd, &to);
	if (to_len < 0)
		return (int)to_len;
	int r = 0;
	for (char *name = from; r == 0 && name < from + from_len; name += strlen(name) + 1)
		if (!skipped(name, skip_prefix))
			r = copy_xattr(to_fd, from_fd, name);
	for (char *name = to; r == 0 && name < to + to_len; name += strlen(name) + 1) {
		if (skipped(name, skip_prefix) || listed(from, from_len, name))
			continue;
		r = sys_fault("fremovexattr");
		if (r == 0 && fremovexattr(to_fd, name))
			r = xattr_result(-errno, name);
	}
	return r;
}

int sys_fsetxattr(int fd, const char *name, const void *value, size_t len)
{
	int r = sys_fault("fsetxattr");
	return r ? r : result(fsetxattr(fd, name, value, len, 0));
}

ssize_t sys_fgetxattr(int fd, const char *name, void *value, size_t len)
{
	int r = sys_fault("fgetxattr");
	if (r)
		return r;
	ssize_t n = fgetxattr(fd, name, value, len);
	return n < 0 ? -errno : n;
}

int sys_fremovexattr(int fd, const char *name)
{
	int r = sys_fault("fremovexattr");
	return r ? r : result(fremovexattr(fd, name));
}

int sys_get_inode_flags(int fd, unsigned int *flags)
{
	int r = sys_fault("ioctl_flags");
	if (r)
		return r;
	int got = 0;
	if (ioctl(fd, FS_IOC_GETFLAGS, &got) && errno != ENOTTY && errno != EOPNOTSUPP)
		return -errno;
	*flags = (unsigned int)got;
	return 0;
}

int sys_set_inode_flags(int fd, unsigned int flags)
{
	int r = sys_fault("ioctl_flags");
	int value = (int)flags;
	return r ? r : result(ioctl(fd, FS_IOC_SETFLAGS, &value));
}

/*
 * The calls that take a descriptor refuse O_PATH, and others would have to
 * open: a device that is opened acts. A link of /proc leads to the entry
 * itself.
 */
int sys_each_xattr(int dir_fd, const char *name,
		   void (*each)(void *ctx, const char *key, const void *value, size_t len),
		   void *ctx)
{
	scoped_fd int fd = sys_openat(dir_fd, name, O_PATH | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int r = sys_fault("listxattr");
	if (r)
		return r;
	char none;
	/* mostly there are none: one call, no memory */
	ssize_t len = listxattr(path, &none, 0);
	if (len <= 0)
		return len == 0 || errno == EOPNOTSUPP ? 0 : -errno;
	scoped_free char *names = malloc((size_t)len + XATTR_BYTES);
	if (!names)
		return -ENOMEM;
	char *value = names + len;
	len = listxattr(path, names, (size_t)len);
	if (len < 0)
		return -errno;
	for (char *key = names; key < names + len; key += strlen(key) + 1) {
		ssize_t n = getxattr(path, key, value, XATTR_BYTES);
		each(ctx, key, value, n < 0 ? 0 : (size_t)n);
	}
	return 0;
}

int sys_flock(int fd, int operation)
{
	int r = sys_fault("flock");
	if (r)
		return r;
	int got;
	do
		got = flock(fd, operation);
	while (got && errno == EINTR);
	return result(got);
}

int sys_ofd_lock(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int r = sys_fault("ofd_lock");
	return r ? r : result(fcntl(fd, F_OFD_SETLK, &lock));
}

int sys_ofd_locked(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int r = sys_fault("ofd_locked");
	if (r == 0 && fcntl(fd, F_OFD_GETLK, &lock))
		r = -errno;
	return r ? r : lock.l_type != F_UNLCK;
}

int sys_fsync(int fd)
{
	int r = sys_fault("fsync");
	return r ? r : result(fsync(fd));
}

int sys_syncfs(int fd)
{
	int r = sys_fault("syncfs");
	return r ? r : result(syncfs(fd));
}

int sys_start_writeback(int fd)
{
	int r = sys_fault("sync_file_range");
	return r ? r : result(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
}

int sys_write_all(int fd, const void *bytes, size_t len)
{
	for (const char *at = bytes; len;) {
		int r = sys_fault("write");
		if (r)
			return r;
		ssize_t n = write(fd, at, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int sys_clear_protection(int fd)
{
	int r = sys_fault("ioctl_flags");
	if (r)
		return r;
	int flags;
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags))
		return -errno;
	if (!(flags & (FS_IMMUTABLE_FL | FS_APPEND_FL)))
		return 0;
	flags &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
	return result(ioctl(fd, FS_IOC_SETFLAGS, &flags));
}

int sys_spread(int fd)
{
	int flags, r = sys_fault("ioctl_flags");
	if (r)
		return r;
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags))
		return -errno;
	if (flags & FS_TOPDIR_FL)
		return 0;
	flags |= FS_TOPDIR_FL;
	return result(ioctl(fd, FS_IOC_SETFLAGS, &flags));
}

int sys_read_file(int dir_fd, const char *path, size_t max_bytes, char **text)
{
	scoped_fd int fd = sys_openat(dir_fd, path, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	size_t cap = 4096, len = 0;
	scoped_free char *bytes = malloc(cap);
	while (bytes) {
		ssize_t n = read(fd, bytes + len, cap - len - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0) {
			bytes[len] = '\0';
			*text = take_ptr(bytes);
			return 0;
		}
		len += (size_t)n;
		if (len > max_bytes)
			return -EFBIG;
		if (cap - len > 1)
			continue;
		cap *= 2;
		char *more = realloc(bytes, cap);
		if (!more)
			return -ENOMEM;
		bytes = more;
	}
	return -ENOMEM;
}

int sys_opendir_fd(int fd, DIR **dir)
{
	int r = sys_fault("opendir");
	if (r)
		return r;
	scoped_fd int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (copy < 0)
		return -errno;
	DIR *d = fdopendir(copy);
	if (!d)
		return -errno;
	copy = -1;
	*dir = d;
	return 0;
}

int sys_opendir_take(int *fd, DIR **dir)
{
	int r = sys_fault("opendir");
	if (r)
		return r;
	DIR *d = fdopendir(*fd);
	if (!d)
		return -errno;
	*fd = -1;
	*dir = d;
	return 0;
}

/* The fault is met at the end, once a directory: what was not read is lost there. */
int sys_readdir(DIR *dir, struct dirent **entry)
{
	do {
		errno = 0;
		*entry = readdir(dir);
	} while (*entry && (!strcmp((*entry)->d_name, ".") || !strcmp((*entry)->d_name, "..")));
	if (*entry)
		return 1;
	return errno ? -errno : sys_fault("getdents64");
}

int sys_open_quietly(int dir_fd, const char *path, int flags)
{
	int fd = sys_open_beneath(dir_fd, path, O_RDONLY | O_NOATIME | flags, 0);
	/* Of a file whose owner this user namespace does not know. */
	return fd == -EPERM ? sys_open_beneath(dir_fd, path, O_RDONLY | flags, 0) : fd;
}
