/* Shared mappings of parts of a memfd that nobody has open any more. */
#include "guest.h"

#include <sys/mman.h>

enum { PAGE = 4096, FILE_PAGES = 9, ODD_BYTES = 100 };

static char *map_part(int fd, size_t first, size_t pages)
{
	void *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			(off_t)(first * PAGE));
	guest_check(at != MAP_FAILED);
	return at;
}

int main(int argc, char **argv)
{
	static char bytes[FILE_PAGES * PAGE + ODD_BYTES];
	guest_start(argc, argv);
	guest_fill(bytes, sizeof(bytes), 7);
	int fd = (int)guest_sys(memfd_create("part", 0));
	guest_eq(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
	char *middle = map_part(fd, 2, 2), *again = map_part(fd, 3, 1);
	guest_sys(close(fd));
	guest_ready();
	uint32_t n = 0;
	while (!guest_go()) {
		n++;
		memcpy(middle + PAGE, &n, sizeof(n));
		guest_check(!memcmp(again, &n, sizeof(n)));
		guest_sleep_ms(2);
	}
	guest_check(!memcmp(middle, bytes + 2 * PAGE, PAGE));
	guest_check(!memcmp(again, &n, sizeof(n)));
	guest_check(!memcmp(again + sizeof(n), bytes + 3 * PAGE + sizeof(n), PAGE - sizeof(n)));
	return 0;
}
