#include "sys/sock.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness/harness.h"

static int pair_a, pair_b;

static void open_pair(void)
{
	int pair[2];
	t_ok(sys_sock_pair(pair));
	pair_a = pair[0];
	pair_b = pair[1];
}

static void close_pair(void)
{
	close(pair_a);
	close(pair_b);
}

TEST(messages_keep_their_boundaries)
{
	char bytes[16];
	open_pair();
	t_ok(sys_sock_send(pair_a, "one", 3, NULL, 0, 0));
	t_ok(sys_sock_send(pair_a, "three", 5, NULL, 0, 0));
	t_eq(sys_sock_recv(pair_b, bytes, sizeof(bytes), NULL, NULL, 0), 3);
	t_eq(sys_sock_recv(pair_b, bytes, sizeof(bytes), NULL, NULL, 0), 5);
	t_eq(sys_sock_recv(pair_b, bytes, sizeof(bytes), NULL, NULL, MSG_DONTWAIT), -EAGAIN);
	close(pair_a);
	t_eq(sys_sock_recv(pair_b, bytes, sizeof(bytes), NULL, NULL, 0), 0);
	t_eq(sys_sock_send(pair_b, "x", 1, NULL, 0, 0), -EPIPE);
	close(pair_b);
}

TEST(descriptors_arrive_close_on_exec)
{
	enum { N = 253 };
	int fds[N], got[N], ends[2];
	char c;
	size_t n = N;
	open_pair();
	t_sys(pipe(ends));
	for (int i = 0; i < N; i++)
		fds[i] = ends[i % 2];
	t_ok(sys_sock_send(pair_a, "x", 1, fds, N, 0));
	t_eq(sys_sock_recv(pair_b, &c, 1, got, &n, 0), 1);
	t_eq(n, N);
	for (int i = 0; i < N; i++) {
		t_eq(fcntl(got[i], F_GETFD), FD_CLOEXEC);
		if (i > 1)
			close(got[i]);
	}
	t_eq(write(got[1], "y", 1), 1);
	t_eq(read(ends[0], &c, 1), 1);
	t_eq(c, 'y');
	close(got[0]);
	close(got[1]);
	close(ends[0]);
	close(ends[1]);
	t_eq(sys_sock_send(pair_a, "x", 1, fds, N + 1, 0), -E2BIG);
	close_pair();
}

/* What did not fit is an error, and the harness finds no descriptor. */
TEST(what_does_not_fit_is_refused_and_nothing_leaks)
{
	const int fds[] = { 0, 1, 2 };
	int got[3] = { -1, -1, -1 };
	char bytes[8];
	open_pair();
	size_t n = 2;
	t_ok(sys_sock_send(pair_a, "x", 1, fds, 3, 0));
	t_eq(sys_sock_recv(pair_b, bytes, sizeof(bytes), got, &n, 0), -EMSGSIZE);
	t_ok(sys_sock_send(pair_a, "x", 1, fds, 3, 0));
	t_eq(sys_sock_recv(pair_b, bytes, sizeof(bytes), NULL, NULL, 0), -EMSGSIZE);
	n = 3;
	t_ok(sys_sock_send(pair_a, "longer than that", 16, fds, 3, 0));
	t_eq(sys_sock_recv(pair_b, bytes, sizeof(bytes), got, &n, 0), -EMSGSIZE);
	/* and the next message is whole */
	n = 3;
	t_ok(sys_sock_send(pair_a, "fits", 4, fds, 3, 0));
	t_eq(sys_sock_recv(pair_b, bytes, sizeof(bytes), got, &n, 0), 4);
	t_eq(n, 3);
	for (int i = 0; i < 3; i++)
		close(got[i]);
	close_pair();
}
