/* A process with a seccomp filter of its own that kills it for one call. */
#include "guest.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

int main(int argc, char **argv)
{
	struct sock_filter rules[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigaction, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(rules) / sizeof(*rules), rules};
	int status;
	guest_start(argc, argv);
	guest_sys(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	guest_sys(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
	guest_ready();
	guest_wait_go();
	guest_eq(prctl(PR_GET_SECCOMP), 2);
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_DUMPABLE, 0);
		syscall(SYS_rt_sigaction, 1, NULL, NULL, 8);
		_exit(0); /* the filter is gone */
	}
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_check(WIFSIGNALED(status));
	return 0;
}
