/*
 * What prctl() set: names, signals at the parent's death, timer slack, flags;
 * and the core-dump filter.
 */
#include "guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* A thread has a signal of its own, and may not read the time stamp counter. */
static void *second(void *unused)
{
	int value;
	(void)unused;
	guest_sys(prctl(PR_SET_PDEATHSIG, SIGUSR1));
	guest_sys(prctl(PR_SET_TSC, PR_TSC_SIGSEGV));
	while (!guest_go()) /* libc's clock functions would read it */
		syscall(SYS_nanosleep, &(struct timespec){0, 5000000}, NULL);
	guest_sys(prctl(PR_GET_PDEATHSIG, &value));
	guest_eq(value, SIGUSR1);
	guest_sys(prctl(PR_GET_TSC, &value));
	guest_eq(value, PR_TSC_SIGSEGV);
	return NULL;
}

static void __attribute__((noreturn)) child_main(void)
{
	int value = 0;
	pthread_t thread;
	guest_sys(prctl(PR_SET_PDEATHSIG, SIGUSR2));
	guest_eq(pthread_create(&thread, NULL, second, NULL), 0);
	guest_wait_go();
	guest_sys(prctl(PR_GET_PDEATHSIG, &value));
	guest_eq(value, SIGUSR2);
	guest_sys(prctl(PR_GET_TSC, &value));
	guest_eq(value, PR_TSC_ENABLE);
	guest_eq(pthread_join(thread, NULL), 0);
	_exit(0);
}

/* Which memory a core file would hold: a file of /proc. */
static void core_filter(const char *set, char *have)
{
	int fd = (int)guest_sys(open("/proc/self/coredump_filter", O_RDWR));
	if (set)
		guest_eq(write(fd, set, strlen(set)), strlen(set));
	else
		guest_sys(read(fd, have, 9));
	close(fd);
}

int main(int argc, char **argv)
{
	char name[16], filter[16] = "";
	int value, status;
	guest_start(argc, argv);
	guest_sys(prctl(PR_SET_NAME, "strange) name"));
	guest_sys(prctl(PR_SET_TIMERSLACK, 123456));
	guest_sys(prctl(PR_SET_CHILD_SUBREAPER, 1));
	guest_sys(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	guest_sys(prctl(PR_SET_DUMPABLE, 1));
	/* since 6.18: but not where it was advised */
	int thp = prctl(PR_SET_THP_DISABLE, 1, 2, 0, 0) ? 0 : 3;
	if (!thp)
		thp = prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) ? 0 : 1;
	core_filter("0x6b", NULL);
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
	guest_eq(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), thp);
	core_filter(NULL, filter);
	guest_eq(strtoul(filter, NULL, 16), 0x6b);
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
	return 0;
}
