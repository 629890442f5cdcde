/* Dead children that nobody has asked about yet keep what they had to say. */
#include "guest.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static pid_t end_by(int code, int sig)
{
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_DUMPABLE, 0); /* no core file */
		if (sig)
			raise(sig);
		_exit(code);
	}
	siginfo_t info;
	guest_sys(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
	return pid;
}

int main(int argc, char **argv)
{
	int status;
	siginfo_t info = {0};
	guest_start(argc, argv);
	pid_t exited = end_by(37, 0), killed = end_by(0, SIGKILL), termed = end_by(0, SIGTERM);
	pid_t zero = end_by(0, 0);
	guest_ready();
	guest_wait_go();
	guest_sys(waitid(P_PID, (id_t)exited, &info, WEXITED | WNOWAIT));
	guest_eq(info.si_code, CLD_EXITED);
	guest_eq(info.si_status, 37);
	guest_eq(waitpid(exited, &status, 0), exited);
	guest_check(WIFEXITED(status) && WEXITSTATUS(status) == 37);
	guest_eq(waitpid(killed, &status, 0), killed);
	guest_check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	guest_eq(waitpid(termed, &status, 0), termed);
	guest_check(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	guest_eq(waitpid(zero, &status, 0), zero);
	guest_eq(status, 0);
	guest_eq(wait(&status), -1);
	guest_eq(errno, ECHILD);
	return 0;
}
