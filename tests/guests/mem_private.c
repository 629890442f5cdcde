/* Private memory in all its protections; dropped pages read as zeros. */
#include "guest.h"

#include <sys/mman.h>

enum { PAGE = 4096, PAGES = 64, LEN = PAGES * PAGE };

static char *map(int prot)
{
	char *p = mmap(NULL, LEN, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	guest_check(p != MAP_FAILED);
	return p;
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	char *plain = map(PROT_READ | PROT_WRITE);
	char *readonly = map(PROT_READ | PROT_WRITE);
	char *none = map(PROT_READ | PROT_WRITE);
	char *dropped = map(PROT_READ | PROT_WRITE);
	char *moved = map(PROT_READ | PROT_WRITE);
	guest_fill(plain, LEN, 1);
	guest_fill(readonly, LEN, 2);
	guest_fill(none, LEN, 3);
	guest_fill(dropped, LEN, 4);
	guest_fill(moved, LEN, 5);
	guest_sys(mprotect(readonly, LEN, PROT_READ));
	guest_sys(mprotect(none, LEN, PROT_NONE));
	guest_sys(madvise(dropped + LEN / 2, LEN / 2, MADV_DONTNEED));
	moved = mremap(moved, LEN, 4 * LEN, MREMAP_MAYMOVE);
	guest_check(moved != MAP_FAILED);
	guest_ready();

	/* part of it goes on changing */
	uint64_t seed = 100;
	while (!guest_go()) {
		guest_fill(plain + LEN / 2, LEN / 2, ++seed);
		guest_sys(madvise(dropped, PAGE, MADV_DONTNEED));
		guest_check(guest_zeros(dropped, PAGE));
		guest_fill(dropped, PAGE, 4);
		guest_sleep_ms(3);
	}
	guest_check(guest_filled(plain, LEN / 2, 1));
	guest_check(seed == 100 || guest_filled(plain + LEN / 2, LEN / 2, seed));
	guest_check(guest_filled(readonly, LEN, 2));
	guest_sys(mprotect(none, LEN, PROT_READ));
	guest_check(guest_filled(none, LEN, 3));
	guest_check(guest_filled(dropped, LEN / 2, 4));
	guest_check(guest_zeros(dropped + LEN / 2, LEN / 2));
	guest_check(guest_filled(moved, LEN, 5));
	guest_check(guest_zeros(moved + LEN, 3 * LEN));
	guest_sys(madvise(plain, LEN, MADV_DONTNEED));
	guest_check(guest_zeros(plain, LEN));
	return 0;
}
