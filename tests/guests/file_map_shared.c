/* A shared mapping of a file: what is written one way is read every other. */
#include "guest.h"

#include <fcntl.h>
#include <sys/mman.h>

enum { PAGE = 4096, LEN = 8 * PAGE };

int main(int argc, char **argv)
{
	uint64_t value, n = 0;
	guest_start(argc, argv);
	int fd = (int)guest_sys(open("shared", O_CREAT | O_RDWR | O_TRUNC, 0644));
	guest_sys(ftruncate(fd, LEN));
	volatile uint64_t *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *q = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 4 * PAGE);
	guest_check(p != MAP_FAILED && q != MAP_FAILED);
	guest_ready();
	while (!guest_go() || n < 20) {
		n++;
		p[n % (LEN / 16)] = n;
		p[0] = n;
		guest_sleep_ms(1);
	}
	guest_eq(pread(fd, &value, 8, 0), 8);
	guest_eq(value, n);
	int again = (int)guest_sys(open("shared", O_RDWR));
	guest_eq(pread(again, &value, 8, 0), 8);
	guest_eq(value, n);
	guest_eq(pwrite(again, "hello", 5, 4 * PAGE), 5);
	guest_check(memcmp((char *)p + 4 * PAGE, "hello", 5) == 0);
	guest_check(memcmp(q, "hello", 5) == 0);
	p[1] = 12345;
	guest_sys(msync((void *)p, LEN, MS_SYNC));
	guest_eq(pread(again, &value, 8, 8), 8);
	guest_eq(value, 12345);
	return 0;
}
