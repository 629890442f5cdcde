/* Pipes with bytes in them, shared by duplicates and by a child. */
#include "guest.h"

#include <fcntl.h>
#include <sys/wait.h>

enum { QUEUED = 50000 };

static void read_all(int fd, char *to, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = read(fd, to + done, len - done);
		if (n <= 0)
			guest_bad("read: %zd, errno %d, after %zu", n, errno, done);
		done += (size_t)n;
	}
}

int main(int argc, char **argv)
{
	static char bytes[QUEUED + 8], now[QUEUED + 8];
	int a[2], packets[2], full[2], status;
	char c;
	guest_start(argc, argv);
	guest_fill(bytes, QUEUED, 1);
	guest_sys(pipe2(a, O_CLOEXEC));
	guest_sys(pipe2(packets, O_DIRECT));
	guest_sys(pipe2(full, O_NONBLOCK));
	guest_eq(write(a[1], bytes, QUEUED), QUEUED);
	guest_eq(write(packets[1], "first", 5), 5);
	guest_eq(write(packets[1], "second", 6), 6);
	while (write(full[1], bytes, 4096) > 0)
		;
	guest_eq(errno, EAGAIN);
	int size = fcntl(full[1], F_GETPIPE_SZ);
	int copy = dup(a[0]);
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) { /* the child holds the only other writer */
		close(a[0]);
		close(copy);
		guest_wait_go();
		guest_sleep_ms(20);
		_exit(write(a[1], "tail", 4) != 4);
	}
	close(a[1]);
	guest_ready();
	guest_wait_go();

	read_all(copy, now, QUEUED / 2);
	read_all(a[0], now + QUEUED / 2, QUEUED - QUEUED / 2 + 4);
	guest_check(memcmp(now, bytes, QUEUED) == 0);
	guest_check(memcmp(now + QUEUED, "tail", 4) == 0);
	guest_eq(read(a[0], &c, 1), 0); /* no writer is left */
	guest_eq(read(packets[0], now, sizeof(now)), 5);
	guest_eq(read(packets[0], now, sizeof(now)), 6);
	guest_check(memcmp(now, "second", 6) == 0);
	guest_eq(fcntl(full[1], F_GETPIPE_SZ), size);
	guest_eq(write(full[1], bytes, 4096), -1);
	guest_eq(errno, EAGAIN);
	guest_eq(read(full[0], now, 4096), 4096);
	guest_eq(write(full[1], bytes, 4096), 4096);
	guest_eq(fcntl(a[0], F_GETFD), FD_CLOEXEC);
	guest_eq(fcntl(copy, F_GETFD), 0);
	guest_eq(fcntl(packets[1], F_GETFL) & O_DIRECT, O_DIRECT);
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
	return 0;
}
