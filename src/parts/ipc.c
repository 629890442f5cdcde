#include "parts/ipc.h"

#include <errno.h>

#include "sys/errand.h"
#include "sys/fd.h"

struct table {
	int fd;
	int (*write)(int fd);
};

static int run_write(void *ctx)
{
	const struct table *t = ctx;
	return t->write(t->fd);
}

int ipc_table(int pid1_pidfd, int (*write)(int fd))
{
	scoped_fd int fd = sys_memfd("mulligan-table", 0);
	struct table t = { fd, write };
	struct sys_errand as = SYS_ERRAND_INIT;
	as.pidns_fd = pid1_pidfd;
	int r = fd < 0 ? fd : -EEXIST;
	for (as.pid = IPC_LOW_PIDS - 1; r == -EEXIST && as.pid >= IPC_FIRST_PID; as.pid--)
		r = sys_errand(&as, run_write, &t);
	return r ? r : take_fd(&fd);
}

int ipc_act(int pid1_pidfd, pid_t pid, uint32_t uid, uint32_t gid, int (*run)(void *ctx), void *ctx)
{
	struct sys_errand as = SYS_ERRAND_INIT;
	as.pidns_fd = pid1_pidfd;
	as.pid = pid >= IPC_FIRST_PID ? pid : IPC_LOW_PIDS - 1;
	as.uid = uid;
	as.gid = gid;
	return sys_errand(&as, run, ctx);
}
