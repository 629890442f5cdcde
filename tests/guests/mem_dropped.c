/*
 * Pages of a private mapping of a file that are written and dropped, in turn:
 * a dropped one shows the file again, whenever it was written before.
 */
#include "guest.h"

#include <fcntl.h>
#include <sys/mman.h>

enum { PAGE = 4096, PAGES = 8, LEN = PAGES * PAGE, ROUND_MS = 15 };

static char bytes[LEN], *at;
static bool written[PAGES];
static uint64_t rounds;

static void check(void)
{
	for (size_t i = 0; i < PAGES; i++)
		guest_check(written[i] ? guest_filled(at + i * PAGE, PAGE, i + 100) :
					 !memcmp(at + i * PAGE, bytes + i * PAGE, PAGE));
}

/* What is written in one round is dropped some rounds later, untouched. */
static void turn(size_t i)
{
	if (written[i])
		guest_sys(madvise(at + i * PAGE, PAGE, MADV_DONTNEED));
	else
		guest_fill(at + i * PAGE, PAGE, i + 100);
	written[i] = !written[i];
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	int fd = (int)guest_sys(open("mapped", O_CREAT | O_RDWR | O_TRUNC, 0644));
	guest_fill(bytes, LEN, 1);
	guest_eq(write(fd, bytes, LEN), LEN);
	at = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	guest_check(at != MAP_FAILED);
	for (size_t i = 0; i < PAGES; i++)
		turn(i);
	guest_ready();
	while (!guest_go()) {
		turn(rounds++ % PAGES);
		check();
		guest_sleep_ms(ROUND_MS);
	}
	check();
	return 0;
}
