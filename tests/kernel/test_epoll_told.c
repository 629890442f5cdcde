/*
 * What an epoll has still to tell: poll(2) of the epoll says whether there is
 * anything and takes nothing; but what only another process can see, signals
 * in a signalfd, it drops for good.
 */
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <poll.h>
#include <unistd.h>

#include "harness/harness.h"

static int watch(int epoll_fd, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.fd = fd};
	return (int)t_sys(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev));
}

static int poll_now(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	return (int)t_sys(poll(&p, 1, 0));
}

static int take(int epoll_fd)
{
	struct epoll_event ev;
	return (int)t_sys(epoll_wait(epoll_fd, &ev, 1, 0));
}

TEST(polling_an_epoll_takes_no_edge)
{
	int fds[2], epoll_fd = (int)t_sys(epoll_create1(EPOLL_CLOEXEC));
	t_sys(pipe(fds));
	watch(epoll_fd, fds[0], EPOLLIN | EPOLLET);
	t_assert(poll_now(epoll_fd) == 0);
	t_sys(write(fds[1], "x", 1));
	for (int i = 0; i < 3; i++)
		t_assert(poll_now(epoll_fd) == 1);
	t_assert(take(epoll_fd) == 1);
	/* told: not ready, although the pipe is */
	t_assert(poll_now(epoll_fd) == 0);
	t_assert(take(epoll_fd) == 0);
	close(fds[0]);
	close(fds[1]);
	close(epoll_fd);
}

/* The child has the signal; may its parent poll the epoll in between? */
static void signalfd_child(int epoll_fd, int to_parent, int from_parent, int want)
{
	sigset_t set;
	char c = 0;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	t_sys(sigprocmask(SIG_BLOCK, &set, NULL));
	watch(epoll_fd, (int)t_sys(signalfd(-1, &set, SFD_CLOEXEC)), EPOLLIN);
	t_sys(raise(SIGUSR1));
	t_assert(write(to_parent, &c, 1) == 1);
	t_assert(read(from_parent, &c, 1) == 1);
	t_assert(take(epoll_fd) == want);
	_exit(0);
}

static void signalfd_case(int with_poll)
{
	int to[2], from[2], epoll_fd = (int)t_sys(epoll_create1(EPOLL_CLOEXEC));
	char c = 0;
	t_sys(pipe(to));
	t_sys(pipe(from));
	pid_t pid = t_fork();
	if (pid == 0)
		signalfd_child(epoll_fd, from[1], to[0], !with_poll);
	t_assert(read(from[0], &c, 1) == 1);
	if (with_poll)
		t_assert(poll_now(epoll_fd) == 0);
	t_assert(write(to[1], &c, 1) == 1);
	t_join(pid);
	for (int i = 0; i < 2; i++) {
		close(to[i]);
		close(from[i]);
	}
	close(epoll_fd);
}

TEST(polling_an_epoll_from_elsewhere_drops_a_signalfd)
{
	signalfd_case(0);
	signalfd_case(1);
}
