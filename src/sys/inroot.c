#include "sys/inroot.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "sys/fault.h"

int sys_inroot_open(int root_fd, const char *path, int flags)
{
	int r = sys_fault("openat2");
	if (r)
		return r;
	struct open_how how = {
		.flags = (uint64_t)(unsigned int)(flags | O_CLOEXEC),
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	long fd;
	do
		fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
	/* EAGAIN: something was renamed on the way (openat2(2)) */
	while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	return fd < 0 ? -errno : (int)fd;
}

/*
 * Opening has effects on some kinds of files. So look through an O_PATH
 * descriptor first and then open that very node.
 */
static int inroot_reopen(int path_fd, int flags)
{
	char name[32];
	snprintf(name, sizeof(name), "/proc/self/fd/%d", path_fd);
	int fd = open(name, flags | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int sys_inroot_read(int root_fd, const char *path, size_t max_bytes, char **text, size_t *len)
{
	scoped_fd int path_fd = sys_inroot_open(root_fd, path, O_PATH);
	if (path_fd < 0)
		return path_fd;
	struct stat st;
	if (fstat(path_fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((uint64_t)st.st_size > max_bytes)
		return -EFBIG;
	scoped_fd int fd = inroot_reopen(path_fd, O_RDONLY);
	if (fd < 0)
		return fd;
	size_t cap = (size_t)st.st_size;
	scoped_free char *bytes = malloc(cap + 1);
	if (!bytes)
		return -ENOMEM;
	size_t done = 0;
	while (done < cap) {
		ssize_t n = read(fd, bytes + done, cap - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	bytes[done] = '\0';
	*len = done;
	*text = take_ptr(bytes);
	return 0;
}

int sys_inroot_device(int root_fd, const char *path, unsigned int major, unsigned int minor,
		      int flags)
{
	scoped_fd int path_fd = sys_inroot_open(root_fd, path, O_PATH);
	if (path_fd < 0)
		return path_fd;
	struct stat st;
	if (fstat(path_fd, &st))
		return -errno;
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(major, minor))
		return -ENODEV;
	return inroot_reopen(path_fd, flags);
}
