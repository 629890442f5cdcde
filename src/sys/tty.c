#include "sys/tty.h"

#include <asm/ioctls.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/fault.h"
#include "sys/fd.h"
#include "sys/inroot.h"

int sys_tty_master(int root_fd, int flags)
{
	int r = sys_fault("open_ptmx");
	if (r)
		return r;
	scoped_fd int fd = sys_inroot_device(root_fd, "dev/pts/ptmx", SYS_TTY_CURRENT_MAJOR,
					     SYS_TTY_MASTER_MINOR, flags);
	if (fd < 0)
		return fd;
	struct statfs fs;
	if (fstatfs(fd, &fs))
		return -errno;
	return fs.f_type == DEVPTS_SUPER_MAGIC ? take_fd(&fd) : -ENODEV;
}

int sys_tty_peer(int master_fd, int flags)
{
	int r = sys_fault("TIOCGPTPEER");
	if (r)
		return r;
	/* 4.13; by path the slave would be the guest's to replace */
	int fd = ioctl(master_fd, TIOCGPTPEER, flags | O_NOCTTY);
	/* O_CLOEXEC would stay in the flags of the description for ever */
	return fd < 0 ? -errno : fcntl(fd, F_SETFD, FD_CLOEXEC) ? -errno : fd;
}

int sys_tty_open(int root_fd, struct sys_tty *out)
{
	int r = sys_fault("open_tty");
	if (r)
		return r;
	scoped_fd int master_fd = sys_tty_master(root_fd, O_RDWR);
	if (master_fd < 0)
		return master_fd;
	int unlock = 0;
	unsigned int number;
	if (ioctl(master_fd, TIOCSPTLCK, &unlock) || ioctl(master_fd, TIOCGPTN, &number))
		return -errno;
	int slave_fd = sys_tty_peer(master_fd, O_RDWR);
	if (slave_fd < 0)
		return slave_fd;
	*out = (struct sys_tty){
		.master_fd = take_fd(&master_fd),
		.slave_fd = slave_fd,
		.number = number,
	};
	return 0;
}

#define TTY_GET_SETTINGS _IOR('T', 0x2a, struct sys_termios) /* TCGETS2 */
#define TTY_SET_SETTINGS _IOW('T', 0x2b, struct sys_termios) /* TCSETS2 */
_Static_assert(sizeof(struct sys_termios) == 44, "struct termios2 of the kernel");

static int request(const char *name, int fd, unsigned long what, void *argument)
{
	int r = sys_fault(name);
	return r ? r : ioctl(fd, what, argument) ? -errno : 0;
}

int sys_tty_get_settings(int fd, struct sys_termios *out)
{
	return request("TCGETS2", fd, TTY_GET_SETTINGS, out);
}

int sys_tty_set_settings(int fd, const struct sys_termios *in)
{
	return request("TCSETS2", fd, TTY_SET_SETTINGS, (void *)in);
}

int sys_tty_settings_locked(int fd)
{
	uint8_t locked[sizeof(struct sys_termios)] = { 0 }; /* longer than struct termios */
	int r = request("TIOCGLCKTRMIOS", fd, TIOCGLCKTRMIOS, locked);
	for (size_t i = 0; r == 0 && i < sizeof(locked); i++)
		r = locked[i] != 0;
	return r;
}

int sys_tty_get_winsize(int fd, struct winsize *out)
{
	return request("TIOCGWINSZ", fd, TIOCGWINSZ, out);
}

int sys_tty_set_winsize(int fd, const struct winsize *in)
{
	return request("TIOCSWINSZ", fd, TIOCSWINSZ, (void *)in);
}

int sys_tty_get(int fd, unsigned long what, int *value)
{
	return request("tty_get", fd, what, value);
}

int sys_tty_set(int fd, unsigned long what, int value)
{
	return request("tty_set", fd, what, &value);
}

int sys_tty_set_exclusive(int fd, bool exclusive)
{
	return request("TIOCEXCL", fd, exclusive ? TIOCEXCL : TIOCNXCL, NULL);
}

int sys_tty_flow(int fd, int action)
{
	int r = sys_fault("TCXONC");
	return r ? r : ioctl(fd, TCXONC, action) ? -errno : 0;
}

int sys_tty_poll(int fd, int events)
{
	struct pollfd p = {.fd = fd, .events = (short)events};
	int r = sys_fault("poll");
	return r ? r : poll(&p, 1, 0) < 0 ? -errno : p.revents;
}

/* In a child: nobody is to see who has the terminal for that moment. */
static int current_in_child(int root_fd, int slave_fd, int flags, int place_fd)
{
	if (setsid() < 0 || ioctl(slave_fd, TIOCSCTTY, 0))
		return errno;
	int fd = sys_inroot_open(root_fd, "dev/tty", O_PATH);
	struct stat st;
	if (fd < 0 || fstat(fd, &st))
		return fd < 0 ? -fd : errno;
	if (!S_ISCHR(st.st_mode) ||
	    st.st_rdev != makedev(SYS_TTY_CURRENT_MAJOR, SYS_TTY_CURRENT_MINOR))
		return ENODEV;
	close(fd);
	fd = sys_inroot_open(root_fd, "dev/tty", flags);
	if (fd < 0)
		return -fd;
	int r = dup3(fd, place_fd, O_CLOEXEC) < 0 ? errno : 0;
	close(fd); /* the table is the parent's, too */
	return r;
}

int sys_tty_open_current(int root_fd, int slave_fd, int flags)
{
	scoped_fd int place_fd = fcntl(slave_fd, F_DUPFD_CLOEXEC, 3);
	if (place_fd < 0)
		return -errno;
	int pid = sys_clone(CLONE_FILES);
	if (pid == 0)
		_exit(current_in_child(root_fd, slave_fd, flags, place_fd));
	if (pid < 0)
		return pid;
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (!WIFEXITED(status))
		return -EIO;
	return WEXITSTATUS(status) ? -WEXITSTATUS(status) : take_fd(&place_fd);
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

/* It waits for the output, and a change of the size ends that with a signal. */
static int set_drained(int fd, const struct termios *term)
{
	int r;
	do {
		r = tcsetattr(fd, TCSADRAIN, term) ? -errno : 0;
	} while (r == -EINTR);
	return r;
}

int sys_tty_raw(int fd, struct termios *was)
{
	struct termios now;
	if (tcgetattr(fd, &now))
		return -errno;
	*was = now;
	cfmakeraw(&now);
	return set_drained(fd, &now);
}

void sys_tty_restore(int fd, const struct termios *was)
{
	/* a terminal that went away needs no restoring */
	(void)!set_drained(fd, was);
}
