/* The heap by brk(): its contents, its end, and that it can be moved on. */
#include "guest.h"

enum { STEP = 1 << 16 };

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	guest_ready();
	char *start = sbrk(0);
	guest_check(start != (void *)-1);
	char *end = start;
	unsigned n = 0;
	while (!guest_go() || n < 4) {
		guest_check(sbrk(STEP) == end);
		guest_fill(end, STEP, n);
		end += STEP;
		if (++n % 64 == 0) { /* give half of it back */
			guest_check(sbrk(-32 * STEP) == end);
			end -= 32 * STEP;
			n -= 32;
		}
		guest_sleep_ms(2);
		guest_check(sbrk(0) == end);
	}
	for (unsigned i = 0; i < n; i++)
		guest_check(guest_filled(start + (size_t)i * STEP, STEP, i));
	guest_sys(brk(start));
	guest_check(sbrk(STEP) == start);
	guest_check(guest_zeros(start, STEP));
	return 0;
}
