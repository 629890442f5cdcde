/* signalfd: masks, what is pending, a shared one, a reader that sleeps. */
#include "guest.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

static int new_signalfd(int a, int b, int flags)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, a);
	sigaddset(&set, b);
	return (int)guest_sys(signalfd(-1, &set, flags));
}

static int take(int fd)
{
	struct signalfd_siginfo info;
	ssize_t n = read(fd, &info, sizeof(info));
	if (n < 0) {
		guest_eq(errno, EAGAIN);
		return 0;
	}
	guest_eq(n, sizeof(info));
	if (info.ssi_signo == (uint32_t)SIGRTMIN)
		guest_eq(info.ssi_int, 42);
	return (int)info.ssi_signo;
}

int main(int argc, char **argv)
{
	sigset_t all;
	int status;
	guest_start(argc, argv);
	sigfillset(&all);
	guest_sys(sigprocmask(SIG_SETMASK, &all, NULL));
	int one = new_signalfd(SIGUSR1, SIGRTMIN, SFD_NONBLOCK);
	int two = new_signalfd(SIGUSR2, SIGRTMAX, SFD_NONBLOCK | SFD_CLOEXEC);
	int calm = new_signalfd(SIGTERM, SIGHUP, 0);
	guest_sys(raise(SIGUSR1));
	guest_sys(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 42}));
	guest_sys(raise(SIGRTMAX));
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) {
		/* what is pending is the parent's; it sleeps for its own */
		guest_eq(take(one), 0);
		guest_eq(take(calm), SIGTERM);
		guest_check(guest_go());
		_exit(0);
	}
	guest_sleep_ms(20);
	guest_ready();
	guest_wait_go();
	struct pollfd p = {.fd = calm, .events = POLLIN};
	guest_eq(poll(&p, 1, 0), 0);
	guest_eq(take(one), SIGUSR1);
	guest_eq(take(one), SIGRTMIN);
	guest_eq(take(one), 0);
	guest_eq(take(two), SIGRTMAX);
	guest_eq(take(two), 0);
	guest_eq(fcntl(two, F_GETFD), FD_CLOEXEC);
	guest_sys(kill(pid, SIGTERM));
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
	/* the mask may be changed for both */
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	guest_eq(signalfd(one, &set, 0), one);
	guest_eq(take(one), SIGCHLD);
	return 0;
}
