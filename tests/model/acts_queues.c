/* acts_queues.c - pipes, sockets, eventfds: what has two ends or counts. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "actor.h"

/* What was sent to a loopback connection may be a moment on its way. */
enum { UNDER_WAY_MS = 20000 };

static void say_pair(struct act *a, int r, const int fd[2])
{
	if (r)
		act_result(a, -1);
	else
		act_say(a, " %d %d", fd[0], fd[1]);
}

/* FLAGS */
static void do_pipe(struct act *a)
{
	int fd[2];
	say_pair(a, pipe2(fd, (int)act_number(a, 0)), fd);
}

/* TYPE */
static void do_pair(struct act *a)
{
	int fd[2];
	say_pair(a, socketpair(AF_UNIX, (int)act_number(a, 0), 0, fd), fd);
}

/* A connection over the loopback; the listening socket is closed again. */
static void do_tcp(struct act *a)
{
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	socklen_t len = sizeof(to);
	int listener = socket(AF_INET6, SOCK_STREAM, 0), fd[2];
	if (listener < 0 || bind(listener, (struct sockaddr *)&to, len) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&to, &len))
		abort();
	fd[0] = socket(AF_INET6, SOCK_STREAM, 0);
	int r = connect(fd[0], (struct sockaddr *)&to, len);
	fd[1] = accept(listener, NULL, NULL);
	close(listener);
	say_pair(a, r || fd[1] < 0, fd);
}

/* COUNT FLAGS */
static void do_eventfd(struct act *a)
{
	act_result(a, eventfd((unsigned int)act_number(a, 0), (int)act_number(a, 1)));
}

/* FD LENGTH WAIT: never blocks, but for what must come if WAIT */
static void do_read(struct act *a)
{
	static char bytes[TEXT_BYTES];
	int fd = (int)act_number(a, 0);
	size_t want = (size_t)act_number(a, 1), have = 0;
	int wait_ms = act_number(a, 2) ? UNDER_WAY_MS : 0;
	for (;;) {
		struct pollfd ready = {.fd = fd, .events = POLLIN};
		if (poll(&ready, 1, wait_ms) == 0) {
			act_say(a, " %d", -EAGAIN);
			return;
		}
		ssize_t n = read(fd, bytes + have, want - have);
		if (n < 0) {
			act_result(a, n);
			return;
		}
		have += (size_t)n;
		if (!wait_ms || !n || have == want)
			break;
	}
	act_bytes(a, bytes, have);
}

/* FD TIMES HEX */
static void do_write(struct act *a)
{
	size_t len;
	const char *bytes = act_data(a, 1, &len);
	struct pollfd ready = {.fd = (int)act_number(a, 0), .events = POLLOUT};
	if (poll(&ready, 1, 0) == 0)
		act_say(a, " %d", -EAGAIN);
	else
		act_result(a, write(ready.fd, bytes, len));
}

/* FD HOW */
static void do_shutdown(struct act *a)
{
	act_result(a, shutdown((int)act_number(a, 0), (int)act_number(a, 1)));
}

/* FD: bytes that can be read */
static void do_queued(struct act *a)
{
	int n = -1;
	int r = ioctl((int)act_number(a, 0), FIONREAD, &n);
	act_result(a, r ? -1 : n);
}

const struct act_row queue_acts[] = {
	{ "pipe", do_pipe },
	{ "pair", do_pair },
	{ "tcp", do_tcp },
	{ "eventfd", do_eventfd },
	{ "read", do_read },
	{ "write", do_write },
	{ "shutdown", do_shutdown },
	{ "queued", do_queued },
	{ 0 },
};
