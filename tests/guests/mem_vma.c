/* A mapping is one mapping: it can be grown, shrunk, split and moved whole. */
#include "guest.h"

#include <sys/mman.h>

enum { PAGE = 4096, LEN = 32 * PAGE };

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	char *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	guest_check(p != MAP_FAILED);
	guest_fill(p, LEN, 1);
	guest_ready();
	size_t len = LEN;
	for (int i = 0; !guest_go(); i++) {
		size_t want = LEN + (size_t)(i % 8) * PAGE;
		char *q = mremap(p, len, want, MREMAP_MAYMOVE);
		guest_check(q != MAP_FAILED);
		p = q;
		len = want;
		guest_fill(p + LEN, len - LEN, 2);
		guest_sleep_ms(2);
	}
	char *q = mremap(p, len, 4 * LEN, MREMAP_MAYMOVE);
	guest_check(q != MAP_FAILED);
	guest_check(guest_filled(q, LEN, 1));
	guest_check(guest_filled(q + LEN, len - LEN, 2));
	guest_check(guest_zeros(q + len, 4 * LEN - len));
	guest_sys(mprotect(q + PAGE, PAGE, PROT_READ));
	guest_sys(munmap(q + 3 * PAGE, PAGE));
	guest_check(guest_filled(q, LEN / 32 * 3, 1));
	char *place = mmap(NULL, 4 * LEN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	guest_check(place != MAP_FAILED);
	q = mremap(q + 4 * PAGE, LEN, LEN, MREMAP_MAYMOVE | MREMAP_FIXED, place);
	guest_check(q == place);
	return 0;
}
