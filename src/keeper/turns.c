#include "keeper/turns.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "sys/fault.h"
#include "sys/fd.h"

int turns_open(struct err *e)
{
	int fd = sys_memfd("mulligan-turns", 0);
	return fd < 0 ? err_set(e, -fd, "make the family's lock: %s", strerror(-fd)) : fd;
}

static int turn_lock(int turns_fd, pid_t pid, short type)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = pid,
		.l_len = 1,
	};
	int r;
	do
		r = fcntl(turns_fd, F_SETLKW, &lock);
	while (r && errno == EINTR);
	return r ? -errno : 0;
}

int turn_take(int turns_fd, pid_t template_pid, struct err *e)
{
	int r = sys_fault("fcntl(F_SETLKW)");
	if (!r)
		r = turn_lock(turns_fd, template_pid, F_WRLCK);
	return r ? err_set(e, -r, "wait for the template: %s", strerror(-r)) : 0;
}

void turn_give(int turns_fd, pid_t template_pid)
{
	/* unlocking what we hold cannot fail */
	(void)!turn_lock(turns_fd, template_pid, F_UNLCK);
}
