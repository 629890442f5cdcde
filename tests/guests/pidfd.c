/* Descriptors of processes: alive, ended, reaped; of others and of oneself. */
#include "guest.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static int open_pidfd(pid_t pid, unsigned int flags)
{
	return (int)guest_sys(syscall(SYS_pidfd_open, pid, flags));
}

static int send(int pidfd, int sig)
{
	return (int)syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0);
}

static int is_readable(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	return (int)guest_sys(poll(&p, 1, timeout_ms)) && (p.revents & POLLIN);
}

static long pid_of(int pidfd)
{
	char path[64], line[128];
	long pid = -2;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	FILE *f = fopen(path, "r");
	guest_check(f);
	while (fgets(line, sizeof(line), f))
		sscanf(line, "Pid: %ld", &pid);
	fclose(f);
	return pid;
}

static pid_t child(void (*run)(void))
{
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) {
		run();
		_exit(7);
	}
	return pid;
}

static void wait_go(void)
{
	guest_wait_go();
}

static void nothing(void)
{
}

static int up[2];

/* Its own child's pid goes to the grandparent. */
static void parent(void)
{
	pid_t pid = child(wait_go);
	guest_eq(write(up[1], &pid, sizeof(pid)), sizeof(pid));
	int status;
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 7 << 8);
}

int main(int argc, char **argv)
{
	int status;
	pid_t grandchild;
	siginfo_t info;
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = 11};
	guest_start(argc, argv);
	guest_sys(pipe(up));
	pid_t live = child(wait_go), middle = child(parent), dead = child(nothing),
	      gone = child(nothing);
	guest_eq(read(up[0], &grandchild, sizeof(grandchild)), sizeof(grandchild));
	int live_fd = open_pidfd(live, 0);
	int calm_fd = open_pidfd(live, O_NONBLOCK);
	int below_fd = open_pidfd(grandchild, 0);
	int dead_fd = open_pidfd(dead, 0);
	int gone_fd = open_pidfd(gone, 0);
	int self_fd = open_pidfd(getpid(), 0);
	int init_fd = open_pidfd(1, 0);
	int copy = (int)guest_sys(fcntl(live_fd, F_DUPFD, 100));
	int epoll = (int)guest_sys(epoll_create1(0));
	guest_sys(epoll_ctl(epoll, EPOLL_CTL_ADD, below_fd, &e));
	guest_eq(waitpid(gone, &status, 0), gone);
	guest_eq(is_readable(dead_fd, 5000), 1);
	pid_t twin = fork();
	guest_check(twin >= 0);
	if (twin == 0) {
		guest_wait_go();
		guest_eq(is_readable(live_fd, 5000), 1);
		guest_eq(syscall(SYS_kcmp, getpid(), getppid(), 0, live_fd, copy), 0);
		_exit(0);
	}
	guest_ready();
	/* asleep until the end of another */
	guest_sys(waitid(P_PIDFD, (id_t)live_fd, &info, WEXITED | WNOWAIT));
	guest_check(guest_go());
	guest_eq(info.si_pid, live);
	guest_eq(info.si_status, 7);
	guest_eq(pid_of(live_fd), live);
	guest_eq(pid_of(self_fd), getpid());
	guest_eq(pid_of(dead_fd), dead);
	guest_eq(pid_of(gone_fd), -1);
	guest_eq(pid_of(init_fd), 1);
	guest_eq(is_readable(copy, 0), 1);
	guest_eq(is_readable(self_fd, 0), 0);
	guest_eq(is_readable(init_fd, 0), 0);
	guest_eq(is_readable(gone_fd, 0), 1);
	guest_eq(fcntl(live_fd, F_GETFD), FD_CLOEXEC);
	guest_eq(fcntl(copy, F_GETFD), 0);
	guest_check(fcntl(calm_fd, F_GETFL) & O_NONBLOCK);
	guest_eq(fcntl(live_fd, F_GETFL) & O_NONBLOCK, 0);
	guest_eq(waitpid(twin, &status, 0), twin);
	guest_eq(status, 0);
	guest_eq(waitid(P_PIDFD, (id_t)dead_fd, &info, WEXITED), 0);
	guest_eq(info.si_status, 7);
	guest_eq(pid_of(dead_fd), -1);
	guest_eq(waitid(P_PIDFD, (id_t)gone_fd, &info, WEXITED), -1);
	guest_eq(errno, ECHILD);
	guest_eq(send(gone_fd, 0), -1);
	guest_eq(errno, ESRCH);
	guest_eq(send(self_fd, 0), 0);
	guest_eq(waitid(P_PIDFD, (id_t)calm_fd, &info, WEXITED), 0);
	guest_eq(waitpid(middle, &status, 0), middle);
	guest_eq(status, 7 << 8);
	guest_eq(epoll_wait(epoll, &e, 1, 5000), 1);
	guest_eq(e.data.u64, 11);
	return 0;
}
