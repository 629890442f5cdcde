/*
 * State that cannot be saved yet, one kind a run. It must be refused before
 * anything is touched; the program itself only sees that all goes on.
 */
#include "guest.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/timerfd.h>
#include <sys/epoll.h>

static int fd;

/* Queued with the credentials of its sender. */
static void make_passcred(void)
{
	int fds[2], on = 1;
	guest_sys(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	guest_sys(setsockopt(fds[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
	guest_eq(write(fds[1], "x", 1), 1);
	fd = fds[0];
}

static void make_timerfd(void)
{
	struct itimerspec t = {.it_value.tv_nsec = 1};
	fd = (int)guest_sys(timerfd_create(CLOCK_MONOTONIC, 0));
	guest_sys(timerfd_settime(fd, 0, &t, NULL));
}

static void make_signalfd(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	guest_sys(sigprocmask(SIG_BLOCK, &set, NULL));
	fd = (int)guest_sys(signalfd(-1, &set, 0));
	guest_sys(raise(SIGUSR1));
}

static void make_inotify(void)
{
	fd = (int)guest_sys(inotify_init1(0));
	guest_sys(inotify_add_watch(fd, ".", IN_CREATE));
	close((int)guest_sys(open("watched", O_CREAT | O_WRONLY, 0644)));
}

static void make_epoll(void)
{
	struct epoll_event e = {.events = EPOLLOUT};
	int fds[2];
	guest_sys(pipe(fds));
	fd = (int)guest_sys(epoll_create1(0));
	guest_sys(epoll_ctl(fd, EPOLL_CTL_ADD, fds[1], &e));
}

static void make_pidfd(void)
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	fd = (int)guest_sys(syscall(SYS_pidfd_open, pid, 0));
}

static void make_memfd_huge(void)
{
	fd = (int)guest_sys(memfd_create("guest", MFD_HUGETLB));
}

/* Its other end is queued, and has sent something. */
static void make_tcp(void)
{
	struct sockaddr_storage at;
	socklen_t len = sizeof(at);
	int client = (int)guest_sys(socket(AF_INET, SOCK_STREAM, 0));
	fd = (int)guest_sys(socket(AF_INET, SOCK_STREAM, 0));
	guest_sys(listen(fd, 5));
	guest_sys(getsockname(fd, (struct sockaddr *)&at, &len));
	guest_sys(connect(client, (struct sockaddr *)&at, len));
	guest_eq(write(client, "x", 1), 1);
}

/* The same, through a file: as it goes on, it is another listener's. */
static void make_unix(void)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "listener"};
	int client = (int)guest_sys(socket(AF_UNIX, SOCK_STREAM, 0));
	fd = (int)guest_sys(socket(AF_UNIX, SOCK_STREAM, 0));
	guest_sys(bind(fd, (struct sockaddr *)&at, sizeof(at)));
	guest_sys(listen(fd, 5));
	guest_sys(connect(client, (struct sockaddr *)&at, sizeof(at)));
	guest_eq(write(client, "x", 1), 1);
}

static const struct {
	const char *name;
	void (*make)(void);
	bool readable; /* poll() says so at once */
} kinds[] = {
	{"passcred", make_passcred, true}, {"timerfd", make_timerfd, true},
	{"signalfd", make_signalfd, true},     {"inotify", make_inotify, true},
	{"epoll", make_epoll, true},           {"pidfd", make_pidfd, true},
	{"memfd-huge", make_memfd_huge, true}, {"tcp-waiting", make_tcp, true},
	{"unix-waiting", make_unix, true},
};

int main(int argc, char **argv)
{
	unsigned k = 0;
	guest_start(argc, argv);
	const char *kind = argc > 2 ? argv[2] : "passcred";
	while (k < sizeof(kinds) / sizeof(*kinds) && strcmp(kinds[k].name, kind) != 0)
		k++;
	if (k == sizeof(kinds) / sizeof(*kinds))
		guest_bad("no kind '%s'", kind);
	kinds[k].make();
	guest_ready();
	guest_wait_go();
	struct pollfd p = {.fd = fd, .events = POLLIN};
	guest_eq(poll(&p, 1, kinds[k].readable ? 1000 : 0), kinds[k].readable);
	return 0;
}
