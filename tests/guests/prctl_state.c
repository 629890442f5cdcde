/* What prctl() set: names, signals at the parent's death, timer slack, flags. */
#include "guest.h"

#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static void __attribute__((noreturn)) child_main(void)
{
	int sig = 0;
	guest_sys(prctl(PR_SET_PDEATHSIG, SIGUSR2));
	guest_wait_go();
	guest_sys(prctl(PR_GET_PDEATHSIG, &sig));
	_exit(sig != SIGUSR2);
}

int main(int argc, char **argv)
{
	char name[16];
	int value, status;
	guest_start(argc, argv);
	guest_sys(prctl(PR_SET_NAME, "strange) name"));
	guest_sys(prctl(PR_SET_TIMERSLACK, 123456));
	guest_sys(prctl(PR_SET_CHILD_SUBREAPER, 1));
	guest_sys(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	guest_sys(prctl(PR_SET_DUMPABLE, 1));
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0)
		child_main();
	guest_sleep_ms(10);
	guest_ready();
	guest_wait_go();
	guest_sys(prctl(PR_GET_NAME, name));
	guest_check(strcmp(name, "strange) name") == 0);
	guest_eq(prctl(PR_GET_TIMERSLACK), 123456);
	guest_sys(prctl(PR_GET_CHILD_SUBREAPER, &value));
	guest_eq(value, 1);
	guest_eq(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	guest_eq(prctl(PR_GET_DUMPABLE), 1);
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
	return 0;
}
