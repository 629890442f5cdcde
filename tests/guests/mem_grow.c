/*
 * Private mappings that reach behind the end of a file which is open: what is
 * written to the file is seen in them, and where it grows they have memory.
 */
#include "guest.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { PAGE = 4096, PAGES = 4 };

static char *map(int fd, int prot)
{
	char *at = mmap(NULL, PAGES * PAGE, prot, MAP_PRIVATE, fd, 0);
	guest_check(at != MAP_FAILED);
	return at;
}

static void put(int fd, int page, uint64_t word)
{
	guest_eq(pwrite(fd, &word, sizeof(word), page * PAGE), sizeof(word));
}

static void expect(const char *at, int page, uint64_t word)
{
	guest_eq(*(const volatile uint64_t *)(at + page * PAGE), word);
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	char path[64];
	int status;
	snprintf(path, sizeof(path), "grow.%d", (int)getpid());
	int fd = (int)guest_sys(open(path, O_RDWR | O_CREAT | O_EXCL, 0600));
	guest_sys(ftruncate(fd, PAGE));
	put(fd, 0, 17);
	char *only_read = map(fd, PROT_READ), *writable = map(fd, PROT_READ | PROT_WRITE);
	char *second = map(fd, PROT_READ);
	pid_t child = (pid_t)guest_sys(fork());
	if (child)
		guest_ready();
	guest_wait_go();
	if (child == 0) {
		while (*(volatile uint64_t *)second != 18)
			guest_sleep_ms(1);
		expect(second, PAGES - 1, 4711);
		_exit(0);
	}
	expect(only_read, 0, 17);
	expect(writable, 0, 17);
	guest_sys(ftruncate(fd, PAGES * PAGE));
	put(fd, PAGES - 1, 4711);
	put(fd, 0, 18);
	expect(only_read, PAGES - 1, 4711);
	expect(writable, PAGES - 1, 4711);
	expect(only_read, 0, 18);
	expect(writable, 0, 18);
	*(volatile uint64_t *)writable = 19;
	uint64_t word = 0;
	guest_eq(pread(fd, &word, sizeof(word), 0), sizeof(word));
	guest_eq(word, 18);
	guest_eq(waitpid(child, &status, 0), child);
	guest_eq(status, 0);
	guest_sys(unlink(path));
	return 0;
}
