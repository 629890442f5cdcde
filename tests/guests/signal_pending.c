/* Blocked signals that wait in the queue, with their payloads and order. */
#include "guest.h"

#include <signal.h>
#include <sys/syscall.h>

enum { QUEUED = 5 };

int main(int argc, char **argv)
{
	sigset_t set, pending;
	siginfo_t info;
	struct timespec none = {0};
	guest_start(argc, argv);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	sigaddset(&set, SIGRTMIN + 2);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGTERM);
	guest_sys(sigprocmask(SIG_BLOCK, &set, NULL));
	for (int i = 0; i < QUEUED; i++) {
		union sigval v = {.sival_int = 1000 + i};
		guest_sys(sigqueue(getpid(), SIGRTMIN + 2, v));
		v.sival_int = 2000 + i;
		guest_sys(sigqueue(getpid(), SIGRTMIN + 1, v));
	}
	guest_sys(kill(getpid(), SIGTERM));
	guest_sys(raise(SIGUSR2)); /* to the thread, not to the process */
	guest_ready();
	guest_wait_go();

	guest_sys(sigpending(&pending));
	guest_eq(sigismember(&pending, SIGTERM), 1);
	guest_eq(sigismember(&pending, SIGUSR2), 1);
	guest_eq(sigismember(&pending, SIGHUP), 0);
	sigset_t realtime;
	sigemptyset(&realtime);
	sigaddset(&realtime, SIGRTMIN + 1);
	sigaddset(&realtime, SIGRTMIN + 2);
	for (int i = 0; i < 2 * QUEUED; i++) {
		guest_sys(sigtimedwait(&realtime, &info, &none));
		guest_eq(info.si_signo, i < QUEUED ? SIGRTMIN + 1 : SIGRTMIN + 2);
		guest_eq(info.si_value.sival_int, (i < QUEUED ? 2000 : 1000) + i % QUEUED);
		guest_eq(info.si_code, SI_QUEUE);
		guest_eq(info.si_pid, getpid());
	}
	guest_eq(sigtimedwait(&realtime, &info, &none), -1);
	sigset_t one;
	sigemptyset(&one);
	sigaddset(&one, SIGUSR2);
	/* the libc function shows SI_TKILL as SI_USER */
	guest_eq(syscall(SYS_rt_sigtimedwait, &one, &info, &none, 8), SIGUSR2);
	guest_eq(info.si_code, SI_TKILL);
	guest_eq(sigtimedwait(&set, &info, &none), SIGTERM);
	guest_eq(info.si_code, SI_USER);
	return 0;
}
