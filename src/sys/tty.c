#include "sys/tty.h"

#include <asm/ioctls.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>

#include "sys/fault.h"
#include "sys/inroot.h"

enum {
	PTMX_MAJOR = 5, /* Documentation/admin-guide/devices.txt */
	PTMX_MINOR = 2,
};

/* A new master of the sandbox's own devpts; a ptmx may lie elsewhere too. */
static int tty_open_ptmx(int root_fd)
{
	scoped_fd int fd =
		sys_inroot_device(root_fd, "dev/pts/ptmx", PTMX_MAJOR, PTMX_MINOR, O_RDWR);
	if (fd < 0)
		return fd;
	struct statfs fs;
	if (fstatfs(fd, &fs))
		return -errno;
	return fs.f_type == DEVPTS_SUPER_MAGIC ? take_fd(&fd) : -ENODEV;
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
	struct winsize size = {.ws_row = rows, .ws_col = cols};
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
