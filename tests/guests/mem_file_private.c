/* A private mapping of a file, some of its pages written; the file unchanged. */
#include "guest.h"

#include <fcntl.h>
#include <sys/mman.h>

enum { PAGE = 4096, PAGES = 16, LEN = PAGES * PAGE };

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	static char bytes[LEN], now[LEN];
	int fd = (int)guest_sys(open("mapped", O_CREAT | O_RDWR | O_TRUNC, 0644));
	guest_fill(bytes, LEN, 1);
	guest_eq(write(fd, bytes, LEN), LEN);
	char *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	char *text = mmap(NULL, LEN, PROT_READ, MAP_PRIVATE, fd, 0);
	guest_check(p != MAP_FAILED && text != MAP_FAILED);
	guest_fill(p + 2 * PAGE, PAGE, 2);
	guest_fill(p + 9 * PAGE, PAGE, 3);
	guest_ready();
	guest_wait_go();
	guest_check(guest_filled(p + 2 * PAGE, PAGE, 2));
	guest_check(guest_filled(p + 9 * PAGE, PAGE, 3));
	guest_check(memcmp(p, bytes, 2 * PAGE) == 0);
	guest_check(memcmp(p + 10 * PAGE, bytes + 10 * PAGE, 6 * PAGE) == 0);
	guest_check(memcmp(text, bytes, LEN) == 0);
	guest_eq(pread(fd, now, LEN, 0), LEN);
	guest_check(memcmp(now, bytes, LEN) == 0);
	/* a dropped page comes back from the file, not as zeros */
	guest_sys(madvise(p, LEN, MADV_DONTNEED));
	guest_check(memcmp(p, bytes, LEN) == 0);
	return 0;
}
