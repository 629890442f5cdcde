/*
 * Pairs of unix sockets without names, of each type: what is queued in them,
 * shared by a child, half closed, their other end gone, with options.
 */
#include "guest.h"
#include "peer.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { QUEUED = 100000 };

static char bytes[QUEUED], now[QUEUED];

static void send_all(int fd, size_t len)
{
	for (size_t done = 0; done < len;)
		done += (size_t)guest_sys(send(fd, bytes + done, len - done, 0));
}

static void expect_bytes(int fd, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = recv(fd, now + done, len - done, 0);
		if (n <= 0)
			guest_bad("recv: %zd, errno %d, after %zu", n, errno, done);
		done += (size_t)n;
	}
	guest_check(memcmp(now, bytes, len) == 0);
}

static void expect_message(int fd, const char *text)
{
	char got[64];
	guest_eq(recv(fd, got, sizeof(got), MSG_DONTWAIT), strlen(text));
	guest_check(memcmp(got, text, strlen(text)) == 0);
}

static void expect_empty(int fd)
{
	char c;
	guest_eq(recv(fd, &c, 1, MSG_DONTWAIT), -1);
	guest_eq(errno, EAGAIN);
}

/* Options that not every kernel has: -1 there. */
static const struct {
	int name, value;
} passes[] = {
	{SO_PASSSEC, 1},
	{76, 1},	/* SO_PASSPIDFD, 6.5 */
	{83, 0},	/* SO_PASSRIGHTS, 6.16 */
};
enum { PASSES = sizeof(passes) / sizeof(*passes) };

static int may_know(int fd, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);
	return getsockopt(fd, SOL_SOCKET, name, &value, &len) ? -1 : value;
}

int main(int argc, char **argv)
{
	int stream[2], packet[2], dgram[2], half[2], gone[2], reset[2], lonely, set[2], status;
	int on = 1, small = 20000, off = 0;
	struct timeval wait = {3, 240000};
	struct linger linger = {1, 7};
	guest_start(argc, argv);
	guest_fill(bytes, QUEUED / 8 * 8, 3);
	guest_sys(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream));
	guest_sys(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packet));
	guest_sys(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, dgram));
	guest_sys(socketpair(AF_UNIX, SOCK_STREAM, 0, half));
	guest_sys(socketpair(AF_UNIX, SOCK_STREAM, 0, gone));
	guest_sys(socketpair(AF_UNIX, SOCK_STREAM, 0, reset));
	guest_sys(socketpair(AF_UNIX, SOCK_STREAM, 0, set));
	lonely = (int)guest_sys(socket(AF_UNIX, SOCK_DGRAM, 0));
	send_all(stream[0], QUEUED);
	send_all(stream[1], 5);
	guest_eq(send(packet[0], "one", 3, 0), 3);
	guest_eq(send(packet[0], "three", 5, 0), 5);
	guest_eq(send(dgram[1], "first", 5, 0), 5);
	guest_eq(send(dgram[1], "second", 6, 0), 6);
	guest_eq(send(dgram[0], "back", 4, 0), 4);
	send_all(half[0], 10);
	guest_sys(shutdown(half[0], SHUT_WR));
	send_all(gone[1], 1000);
	guest_sys(close(gone[1]));
	send_all(reset[0], 10);
	send_all(reset[1], 10);
	guest_sys(close(reset[1]));
	guest_sys(setsockopt(set[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)));
	guest_sys(setsockopt(set[0], SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)));
	guest_sys(setsockopt(set[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
	guest_sys(setsockopt(set[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
	guest_sys(setsockopt(set[1], SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off)));
	int passed[PASSES];
	for (int i = 0; i < PASSES; i++) {
		int known = may_know(set[1], passes[i].name);
		if (known >= 0)
			guest_sys(setsockopt(set[1], SOL_SOCKET, passes[i].name, &passes[i].value,
					     sizeof(int)));
		passed[i] = known < 0 ? -1 : passes[i].value;
	}
	int sndbuf = option(set[0], SO_SNDBUF), plain = option(lonely, SO_SNDBUF);
	int copy = dup(stream[1]);
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) { /* the child holds the only other end */
		close(stream[1]);
		close(copy);
		guest_wait_go();
		guest_sleep_ms(20);
		_exit(send(stream[0], "tail", 4, 0) != 4);
	}
	close(stream[0]);
	guest_ready();
	guest_wait_go();

	expect_bytes(copy, QUEUED / 2);
	guest_eq(recv(stream[1], now, QUEUED - QUEUED / 2, MSG_WAITALL), QUEUED - QUEUED / 2);
	guest_check(memcmp(now, bytes + QUEUED / 2, QUEUED - QUEUED / 2) == 0);
	guest_eq(recv(copy, now, 4, MSG_WAITALL), 4);
	guest_check(memcmp(now, "tail", 4) == 0);
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
	/* it ended with five bytes unread */
	guest_eq(recv(copy, now, 1, 0), -1);
	guest_eq(errno, ECONNRESET);
	guest_eq(recv(copy, now, 1, 0), 0);

	expect_message(packet[1], "one");
	expect_message(packet[1], "three");
	expect_empty(packet[1]);
	guest_eq(send(packet[1], "x", 1, 0), 1);
	expect_message(packet[0], "x");
	expect_message(dgram[0], "first");
	expect_message(dgram[0], "second");
	expect_empty(dgram[0]);
	expect_message(dgram[1], "back");
	guest_eq(fcntl(dgram[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);

	expect_bytes(half[1], 10);
	guest_eq(recv(half[1], now, 1, 0), 0);
	guest_eq(send(half[0], "x", 1, MSG_NOSIGNAL), -1);
	guest_eq(errno, EPIPE);
	guest_eq(send(half[1], "y", 1, 0), 1);
	expect_message(half[0], "y");

	expect_bytes(gone[0], 1000);
	guest_eq(recv(gone[0], now, 1, 0), 0);
	guest_eq(send(gone[0], "x", 1, MSG_NOSIGNAL), -1);
	guest_eq(errno, EPIPE);
	struct pollfd p = {.fd = reset[0], .events = POLLIN};
	guest_eq(poll(&p, 1, 0), 1);
	guest_check(p.revents & POLLERR);
	expect_bytes(reset[0], 10);
	guest_eq(recv(reset[0], now, 1, 0), -1);
	guest_eq(errno, ECONNRESET);
	guest_eq(recv(reset[0], now, 1, 0), 0);

	guest_eq(option(set[0], SO_SNDBUF), sndbuf);
	guest_eq(option(lonely, SO_SNDBUF), plain);
	guest_eq(option(set[1], SO_PASSCRED), 1);
	for (int i = 0; i < PASSES; i++)
		guest_eq(may_know(set[1], passes[i].name), passed[i]);
	guest_eq(option(set[1], SO_PEEK_OFF), 0);
	guest_eq(option(set[0], SO_PEEK_OFF), -1);
	struct timeval left;
	socklen_t len = sizeof(left);
	guest_sys(getsockopt(set[0], SOL_SOCKET, SO_RCVTIMEO, &left, &len));
	guest_check(left.tv_sec == wait.tv_sec && left.tv_usec == wait.tv_usec);
	struct linger l;
	len = sizeof(l);
	guest_sys(getsockopt(set[0], SOL_SOCKET, SO_LINGER, &l, &len));
	guest_check(l.l_onoff == 1 && l.l_linger == 7);
	guest_eq(fcntl(stream[1], F_GETFD), FD_CLOEXEC);
	guest_eq(fcntl(copy, F_GETFD), 0);
	check_creds(set[0], getpid());
	check_creds(gone[0], getpid());
	guest_eq(sendto(lonely, "x", 1, 0, NULL, 0), -1);
	guest_eq(errno, ENOTCONN);
	return 0;
}
