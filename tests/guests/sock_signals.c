/*
 * Sockets that say by a signal that they are ready: to their process, to its
 * parent, by SIGIO or another one; and one with an addressee that is not told.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "guest.h"

enum { OWN, PARENTS, SILENT, SOCKETS };

static int ends[SOCKETS][2];
static const int wanted[SOCKETS] = { 0, SIGUSR1, SIGUSR2 };

static void set(int fd, int signal, bool tells)
{
	guest_sys(fcntl(fd, F_SETOWN, getpid()));
	if (signal)
		guest_sys(fcntl(fd, F_SETSIG, signal));
	guest_sys(fcntl(fd, F_SETFL, O_NONBLOCK | (tells ? O_ASYNC : 0)));
}

static void same(int fd, int signal, bool tells, pid_t owner)
{
	guest_eq(fcntl(fd, F_GETOWN), owner);
	guest_eq(fcntl(fd, F_GETSIG), signal);
	guest_eq(fcntl(fd, F_GETFL) & (O_ASYNC | O_NONBLOCK), O_NONBLOCK | (tells ? O_ASYNC : 0));
}

/* The child has one end of each, and the parent's own end of one, too. */
static void child(void)
{
	char c;
	guest_wait_go();
	same(ends[PARENTS][0], SIGUSR1, true, getppid());
	for (int i = 0; i < SOCKETS; i++)
		guest_eq(write(ends[i][1], "x", 1), 1);
	guest_eq(read(ends[OWN][1], &c, 1), 1);
	_exit(0);
}

static int next_signal(const sigset_t *set, siginfo_t *info)
{
	const struct timespec wait = { 10, 0 };
	return sigtimedwait(set, info, &wait);
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	sigset_t all;
	siginfo_t info;
	sigemptyset(&all);
	sigaddset(&all, SIGIO);
	sigaddset(&all, SIGUSR1);
	sigaddset(&all, SIGUSR2);
	guest_sys(sigprocmask(SIG_BLOCK, &all, NULL));
	for (int i = 0; i < SOCKETS; i++) {
		guest_sys(socketpair(AF_UNIX, SOCK_STREAM, 0, ends[i]));
		set(ends[i][0], wanted[i], i != SILENT);
	}
	pid_t pid = guest_sys(fork());
	if (pid == 0)
		child();
	guest_ready();
	guest_wait_go();
	for (int i = 0; i < SOCKETS; i++)
		same(ends[i][0], wanted[i], i != SILENT, getpid());
	bool told = false, io = false;
	while (!told || !io) {
		int sig = next_signal(&all, &info);
		io |= sig == SIGIO;
		if (sig == SIGUSR1) {
			guest_eq(info.si_code, POLL_IN);
			guest_eq(info.si_fd, ends[PARENTS][0]);
			told = true;
		}
		guest_check(sig == SIGIO || sig == SIGUSR1);
	}
	guest_eq(write(ends[OWN][0], "y", 1), 1);
	int status;
	guest_sys(waitpid(pid, &status, 0));
	guest_eq(status, 0);
	char c;
	guest_eq(read(ends[SILENT][0], &c, 1), 1);
	guest_sys(sigpending(&all));
	guest_check(!sigismember(&all, SIGUSR2));
	return 0;
}
