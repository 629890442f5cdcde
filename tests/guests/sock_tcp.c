/*
 * TCP over the loopback, v4 or v6: a listening socket, connections that were
 * accepted with bytes both ways, half closed, closed, waiting to be accepted.
 */
#include "guest.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { MUCH = 4 << 20 };

static char bytes[MUCH], now[MUCH];
static int family;

struct name {
	struct sockaddr_storage at;
	socklen_t len;
};

static struct name name_of(int fd, int peer)
{
	struct name n = {.len = sizeof(n.at)};
	if (peer)
		guest_sys(getpeername(fd, (struct sockaddr *)&n.at, &n.len));
	else
		guest_sys(getsockname(fd, (struct sockaddr *)&n.at, &n.len));
	return n;
}

static int same_name(struct name a, struct name b)
{
	return a.len == b.len && memcmp(&a.at, &b.at, a.len) == 0;
}

static int listener(int backlog)
{
	int fd = (int)guest_sys(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any};
	if (family == AF_INET)
		guest_sys(bind(fd, (struct sockaddr *)&v4, sizeof(v4)));
	else
		guest_sys(bind(fd, (struct sockaddr *)&v6, sizeof(v6)));
	guest_sys(listen(fd, backlog));
	return fd;
}

static int client(int to)
{
	struct name n = name_of(to, 0);
	if (family == AF_INET6)
		((struct sockaddr_in6 *)&n.at)->sin6_addr = in6addr_loopback;
	int fd = (int)guest_sys(socket(family, SOCK_STREAM, 0));
	guest_sys(connect(fd, (struct sockaddr *)&n.at, n.len));
	return fd;
}

static void pair(int listen_fd, int ends[2])
{
	ends[0] = client(listen_fd);
	ends[1] = (int)guest_sys(accept(listen_fd, NULL, NULL));
}

static void expect(int fd, const char *what, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = recv(fd, now + done, len - done, 0);
		if (n <= 0)
			guest_bad("recv: %zd, errno %d, after %zu", n, errno, done);
		done += (size_t)n;
	}
	guest_check(memcmp(now, what, len) == 0);
}

static void expect_end(int fd)
{
	guest_eq(recv(fd, now, 1, 0), 0);
}

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);
	guest_sys(getsockopt(fd, level, name, &value, &len));
	return value;
}

int main(int argc, char **argv)
{
	int talk[2], half[2], gone[2], full[2], waiting, on = 1, idle = 77, status;
	size_t stuffed = 0;
	guest_start(argc, argv);
	family = argc > 2 && !strcmp(argv[2], "v6") ? AF_INET6 : AF_INET;
	guest_fill(bytes, MUCH, 9);
	int server = listener(7), bound = listener(1);
	int fresh = (int)guest_sys(socket(family, SOCK_STREAM, 0));
	pair(server, talk);
	pair(server, half);
	pair(server, gone);
	pair(server, full);
	guest_sys(setsockopt(talk[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
	guest_sys(setsockopt(talk[1], SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)));
	guest_sys(setsockopt(talk[1], IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle)));
	guest_eq(send(talk[0], bytes, 3000, 0), 3000);
	guest_eq(send(talk[0], bytes + 3000, 20, 0), 20);
	guest_eq(send(talk[1], "answer", 6, 0), 6);
	guest_eq(send(half[0], "request", 7, 0), 7);
	guest_sys(shutdown(half[0], SHUT_WR));
	guest_eq(send(gone[1], "farewell", 8, 0), 8);
	guest_sys(close(gone[1]));
	/* only root can put back as much as the kernel takes */
	size_t most = argc > 2 && !strcmp(argv[2], "full") ? MUCH - 30000 : 60000;
	while (stuffed < most) {
		ssize_t n = send(full[0], bytes + stuffed, 30000, MSG_DONTWAIT);
		if (n < 0)
			break;
		stuffed += (size_t)n;
	}
	waiting = client(server);
	guest_eq(fcntl(talk[1], F_SETFL, O_NONBLOCK), 0);
	struct name server_name = name_of(server, 0), talk_name = name_of(talk[0], 0),
		    waiting_name = name_of(waiting, 0);
	guest_check(same_name(talk_name, name_of(talk[1], 1)));
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) { /* the child sleeps until it is accepted and answered */
		char c;
		close(waiting);
		int fd = client(bound);
		_exit(recv(fd, &c, 1, 0) != 1 || c != '!');
	}
	int late = (int)guest_sys(accept(bound, NULL, NULL));
	guest_ready();
	guest_wait_go();

	guest_check(same_name(server_name, name_of(server, 0)));
	guest_check(same_name(talk_name, name_of(talk[0], 0)));
	guest_check(same_name(talk_name, name_of(talk[1], 1)));
	guest_check(same_name(name_of(talk[0], 1), name_of(talk[1], 0)));
	guest_eq(fcntl(talk[1], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	guest_eq(fcntl(server, F_GETFD), FD_CLOEXEC);
	guest_eq(option(talk[0], IPPROTO_TCP, TCP_NODELAY), 1);
	guest_eq(option(talk[1], IPPROTO_TCP, TCP_NODELAY), 0);
	guest_eq(option(talk[1], SOL_SOCKET, SO_KEEPALIVE), 1);
	guest_eq(option(talk[1], IPPROTO_TCP, TCP_KEEPIDLE), 77);
	guest_eq(option(server, SOL_SOCKET, SO_REUSEADDR), 0);
	guest_eq(option(talk[1], SOL_SOCKET, SO_REUSEADDR), 0);
	expect(talk[1], bytes, 3020);
	expect(talk[0], "answer", 6);
	guest_eq(send(talk[0], "more", 4, 0), 4);
	struct pollfd p = {.fd = talk[1], .events = POLLIN};
	guest_eq(poll(&p, 1, 2000), 1);
	expect(talk[1], "more", 4);

	expect(half[1], "request", 7);
	expect_end(half[1]);
	guest_eq(send(half[1], "reply", 5, 0), 5);
	expect(half[0], "reply", 5);
	guest_eq(send(half[0], "x", 1, MSG_NOSIGNAL), -1);
	guest_eq(errno, EPIPE);
	expect(gone[0], "farewell", 8);
	expect_end(gone[0]);

	guest_sys(shutdown(full[0], SHUT_WR));
	expect(full[1], bytes, stuffed);
	expect_end(full[1]);

	struct name peer = {.len = sizeof(peer.at)};
	int accepted = (int)guest_sys(accept(server, (struct sockaddr *)&peer.at, &peer.len));
	guest_check(same_name(peer, waiting_name));
	guest_eq(send(waiting, "hello", 5, 0), 5);
	expect(accepted, "hello", 5);
	guest_eq(send(late, "!", 1, 0), 1);
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
	int again[2];
	pair(server, again);
	guest_eq(send(again[0], "again", 5, 0), 5);
	expect(again[1], "again", 5);
	guest_eq(recv(fresh, now, 1, MSG_DONTWAIT), -1);
	guest_eq(errno, ENOTCONN);
	return 0;
}
