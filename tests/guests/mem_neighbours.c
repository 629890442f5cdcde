/*
 * Neighbouring mappings that change all the time, each in its way: one is
 * written, one is written while it may be, one goes and another comes to its
 * place. Every round finds what the last one left.
 */
#include <sys/mman.h>

#include "guest.h"

enum { PAGE = 4096, PAGES = 8, AREAS = 4, WRITTEN = 0, SHUT = 1, REPLACED = 2, LAST = 3 };

static char *area[AREAS];

static uint32_t value(int a, int page, uint32_t n)
{
	return n * 2654435761u + (uint32_t)(a * PAGES + page);
}

static uint32_t *word(int a, int page)
{
	return (uint32_t *)(area[a] + page * PAGE + 64 * a);
}

static void fill(int a, uint32_t n)
{
	for (int page = 0; page < PAGES; page++)
		*word(a, page) = value(a, page, n);
}

static void change(uint32_t n)
{
	fill(WRITTEN, n);
	guest_sys(mprotect(area[SHUT], PAGES * PAGE, PROT_READ | PROT_WRITE));
	fill(SHUT, n);
	guest_sys(mprotect(area[SHUT], PAGES * PAGE, PROT_READ));
	/* not every time: it is armed and not, when a checkpoint looks */
	if (n % 7 == 0) {
		guest_sys(munmap(area[REPLACED], PAGES * PAGE));
		char *p = mmap(area[REPLACED], PAGES * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		guest_check(p == area[REPLACED]);
	}
	fill(REPLACED, n);
	fill(LAST, n);
}

static void same(uint32_t n)
{
	for (int a = 0; a < AREAS; a++)
		for (int page = 0; page < PAGES; page++)
			if (*word(a, page) != value(a, page, n))
				guest_bad("area %d, page %d: %#x in round %u", a, page,
					  *word(a, page), n);
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	char *p = mmap(NULL, AREAS * PAGES * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	guest_check(p != MAP_FAILED);
	for (int a = 0; a < AREAS; a++)
		area[a] = p + a * PAGES * PAGE;
	guest_sys(mprotect(area[REPLACED], PAGES * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
	uint32_t n = 1;
	change(n);
	guest_ready();
	while (access(guest_go_path, F_OK)) {
		same(n);
		change(++n);
		usleep(500);
	}
	same(n);
	return 0;
}
