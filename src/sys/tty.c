#include "sys/tty.h"

#include <asm/ioctls.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "sys/fault.h"

enum {
	PTMX_MAJOR = 5,		/* Documentation/admin-guide/devices.txt */
	PTMX_MINOR = 2,
};

/* Open below root_fd, as if that were the root directory. */
static int tty_open_in(int root_fd, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC),
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
	return fd < 0 ? -errno : (int)fd;
}

/*
 * O_PATH first: opening something else that a guest put there could have an
 * effect. The node is then opened through its descriptor, so that it is the
 * one that was looked at.
 */
static int tty_open_ptmx(int root_fd)
{
	scoped_fd int path_fd = tty_open_in(root_fd, "dev/pts/ptmx", O_PATH | O_NOFOLLOW);
	if (path_fd < 0)
		return path_fd;
	struct statfs fs;
	struct stat st;
	if (fstatfs(path_fd, &fs) || fstat(path_fd, &st))
		return -errno;
	if (fs.f_type != DEVPTS_SUPER_MAGIC || !S_ISCHR(st.st_mode) ||
	    st.st_rdev != makedev(PTMX_MAJOR, PTMX_MINOR))
		return -ENODEV;
	char name[32];
	snprintf(name, sizeof(name), "/proc/self/fd/%d", path_fd);
	int fd = open(name, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int sys_tty_open(int root_fd, struct sys_tty *out)
{
	int r = sys_fault("open_tty");
	if (r)
		return r;
	scoped_fd int master_fd = tty_open_ptmx(root_fd);
	if (master_fd < 0)
		return master_fd;
	int unlock = 0;
	unsigned int number;
	if (ioctl(master_fd, TIOCSPTLCK, &unlock) || ioctl(master_fd, TIOCGPTN, &number))
		return -errno;
	/* 4.13; by path the slave would be the guest's to replace */
	int slave_fd = ioctl(master_fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave_fd < 0)
		return -errno;
	*out = (struct sys_tty){
		.master_fd = take_fd(&master_fd),
		.slave_fd = slave_fd,
		.number = number,
	};
	return 0;
}

int sys_tty_set_size(int fd, uint16_t rows, uint16_t cols)
{
	struct winsize size = { .ws_row = rows, .ws_col = cols };
	return ioctl(fd, TIOCSWINSZ, &size) ? -errno : 0;
}

int sys_tty_get_size(int fd, uint16_t *rows, uint16_t *cols)
{
	struct winsize size;
	if (ioctl(fd, TIOCGWINSZ, &size))
		return -errno;
	*rows = size.ws_row;
	*cols = size.ws_col;
	return 0;
}

int sys_tty_raw(int fd, struct termios *was)
{
	struct termios now;
	if (tcgetattr(fd, &now))
		return -errno;
	*was = now;
	cfmakeraw(&now);
	return tcsetattr(fd, TCSADRAIN, &now) ? -errno : 0;
}

void sys_tty_restore(int fd, const struct termios *was)
{
	/* a terminal that went away needs no restoring */
	(void)!tcsetattr(fd, TCSADRAIN, was);
}
