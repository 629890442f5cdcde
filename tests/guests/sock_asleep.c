/* Asleep in a call on a socket, one a run; a child ends the sleep after the go. */
#include "guest.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>

static int pair[2], server;
static struct sockaddr_storage name;
static socklen_t name_len = sizeof(name);

static void check_byte(int fd)
{
	char c = 0;
	guest_eq(recv(fd, &c, 1, 0), 1);
	guest_eq(c, 'w');
	guest_check(guest_go());
}

static void sleep_recv(void)
{
	check_byte(pair[0]);
}

/* Twice as long as anybody tests. */
static void sleep_recv_timeout(void)
{
	struct timeval t = {600, 0};
	guest_sys(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)));
	check_byte(pair[0]);
}

static void sleep_recvmsg(void)
{
	char c = 0;
	struct iovec iov = {&c, 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	guest_eq(recvmsg(pair[0], &m, 0), 1);
	guest_eq(c, 'w');
	guest_check(guest_go());
}

static void sleep_accept(void)
{
	int fd = (int)guest_sys(accept(server, NULL, NULL));
	check_byte(fd);
}

static void sleep_poll(void)
{
	struct pollfd p = {.fd = server, .events = POLLIN};
	guest_eq(poll(&p, 1, -1), 1);
	sleep_accept();
}

static void sleep_epoll(void)
{
	int epoll = (int)guest_sys(epoll_create1(0));
	struct epoll_event e = {.events = EPOLLIN};
	guest_sys(epoll_ctl(epoll, EPOLL_CTL_ADD, server, &e));
	guest_eq(epoll_wait(epoll, &e, 1, -1), 1);
	sleep_accept();
}

/* There is no room; the child reads. */
static void sleep_send(void)
{
	guest_eq(send(pair[0], "x", 1, 0), 1);
	guest_check(guest_go());
}

static void wake_byte(void)
{
	guest_eq(send(pair[1], "w", 1, 0), 1);
}

static void wake_connect(void)
{
	int fd = (int)guest_sys(socket(name.ss_family, SOCK_STREAM, 0));
	guest_sys(connect(fd, (struct sockaddr *)&name, name_len));
	guest_eq(send(fd, "w", 1, 0), 1);
}

static void wake_drain(void)
{
	static char bytes[1 << 16];
	while (recv(pair[1], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

static void make_tcp_pair(void)
{
	pair[0] = (int)guest_sys(socket(AF_INET, SOCK_STREAM, 0));
	guest_sys(connect(pair[0], (struct sockaddr *)&name, name_len));
	pair[1] = (int)guest_sys(accept(server, NULL, NULL));
}

static void make_unix(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "listener"};
	close(server);
	server = (int)guest_sys(socket(AF_UNIX, SOCK_STREAM, 0));
	guest_sys(bind(server, (struct sockaddr *)&un, sizeof(un)));
	guest_sys(listen(server, 3));
	name_len = sizeof(name);
	guest_sys(getsockname(server, (struct sockaddr *)&name, &name_len));
}

static void make_full(void)
{
	static char bytes[4096];
	while (send(pair[0], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	/* to the last byte */
	while (send(pair[0], bytes, 1, MSG_DONTWAIT) > 0)
		;
}

static const struct {
	const char *name;
	void (*make)(void);
	void (*sleep)(void);
	void (*wake)(void);
} kinds[] = {
	{"recv", NULL, sleep_recv, wake_byte},
	{"recv-timeout", NULL, sleep_recv_timeout, wake_byte},
	{"recvmsg", NULL, sleep_recvmsg, wake_byte},
	{"recv-tcp", make_tcp_pair, sleep_recv, wake_byte},
	{"accept", NULL, sleep_accept, wake_connect},
	{"accept-unix", make_unix, sleep_accept, wake_connect},
	{"poll-unix", make_unix, sleep_poll, wake_connect},
	{"epoll-unix", make_unix, sleep_epoll, wake_connect},
	{"send", make_full, sleep_send, wake_drain},
};

int main(int argc, char **argv)
{
	unsigned k = 0;
	int status;
	guest_start(argc, argv);
	const char *kind = argc > 2 ? argv[2] : "recv";
	while (k < sizeof(kinds) / sizeof(*kinds) && strcmp(kinds[k].name, kind) != 0)
		k++;
	if (k == sizeof(kinds) / sizeof(*kinds))
		guest_bad("no kind '%s'", kind);
	server = (int)guest_sys(socket(AF_INET, SOCK_STREAM, 0));
	guest_sys(listen(server, 3));
	guest_sys(getsockname(server, (struct sockaddr *)&name, &name_len));
	guest_sys(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	if (kinds[k].make)
		kinds[k].make();
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) {
		guest_wait_go();
		guest_sleep_ms(30);
		kinds[k].wake();
		_exit(0);
	}
	guest_ready();
	kinds[k].sleep();
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
	return 0;
}
