#include "parts/ipc.h"

#include <errno.h>

#include "sys/errand.h"

int ipc_ask(int pid1_pidfd, int (*run)(void *ctx), void *ctx)
{
	struct sys_errand as = SYS_ERRAND_INIT;
	as.pidns_fd = pid1_pidfd;
	int r = -EEXIST;
	for (as.pid = IPC_LOW_PIDS - 1; r == -EEXIST && as.pid >= IPC_FIRST_PID; as.pid--)
		r = sys_errand(&as, run, ctx);
	return r;
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
