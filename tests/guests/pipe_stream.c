/* A stream through three processes; no byte is lost, doubled or swapped. */
#include "guest.h"

#include <sys/wait.h>

static void __attribute__((noreturn)) produce(int fd)
{
	uint64_t block[64], n = 0;
	while (!guest_go()) {
		for (int i = 0; i < 64; i++)
			block[i] = n++;
		for (size_t done = 0; done < sizeof(block);) {
			size_t some = sizeof(block) - done < 100 ? sizeof(block) - done : 100;
			done += (size_t)guest_sys(write(fd, (char *)block + done, some));
		}
	}
	_exit(0);
}

static void __attribute__((noreturn)) forward(int from, int to)
{
	char buffer[777];
	ssize_t n;
	while ((n = guest_sys(read(from, buffer, sizeof(buffer)))) > 0)
		for (ssize_t done = 0; done < n;)
			done += guest_sys(write(to, buffer + done, (size_t)(n - done)));
	_exit(0);
}

int main(int argc, char **argv)
{
	int a[2], b[2], status;
	guest_start(argc, argv);
	guest_sys(pipe(a));
	guest_sys(pipe(b));
	if (fork() == 0) {
		close(a[0]);
		close(b[0]);
		close(b[1]);
		produce(a[1]);
	}
	if (fork() == 0) {
		close(a[1]);
		close(b[0]);
		forward(a[0], b[1]);
	}
	close(a[0]);
	close(a[1]);
	close(b[1]);
	guest_ready();
	uint64_t want = 0, value;
	for (;; want++) {
		size_t done = 0;
		while (done < sizeof(value)) {
			ssize_t n =
				guest_sys(read(b[0], (char *)&value + done, sizeof(value) - done));
			if (n == 0)
				break;
			done += (size_t)n;
		}
		if (done == 0)
			break;
		guest_eq(done, sizeof(value));
		guest_eq(value, want);
		if (want % 4096 == 0)
			guest_sleep_ms(1);
	}
	guest_check(want > 0 && want % 64 == 0);
	for (int i = 0; i < 2; i++) {
		guest_check(wait(&status) > 0);
		guest_eq(status, 0);
	}
	return 0;
}
