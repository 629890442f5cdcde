/*
 * Expedited memory barriers: a process must register before it may use them,
 * and may count on it from then on. A child that never did may not.
 */
#include "guest.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int barrier(int command)
{
	return (int)syscall(SYS_membarrier, command, 0, 0);
}

static void check_unregistered(void)
{
	errno = 0;
	guest_eq(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED), -1);
	guest_eq(errno, EPERM);
}

int main(int argc, char **argv)
{
	enum { GET_REGISTRATIONS = 1 << 9 };	/* Linux 6.3 */
	int status;
	guest_start(argc, argv);
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (!pid) {
		check_unregistered();
		guest_wait_go();
		check_unregistered();
		_exit(0);
	}
	guest_sys(barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED));
	guest_sys(barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE));
	guest_sys(barrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED));
	int before = barrier(GET_REGISTRATIONS);
	guest_ready();
	guest_wait_go();
	guest_sys(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED));
	guest_sys(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE));
	guest_sys(barrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED));
	guest_eq(barrier(GET_REGISTRATIONS), before);
	guest_eq(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ), -1);
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
	return 0;
}
