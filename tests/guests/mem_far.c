/*
 * Mappings that lie terabytes apart, come and go in an order of their own and
 * grow over large round addresses: each keeps its contents, none is mistaken
 * for another.
 */
#include "guest.h"

#include <sys/mman.h>

enum { PAGE = 4096, HALF = 8 * PAGE, PLACES = 24, STEP_MS = 2 };

/* Far from where the kernel puts mappings by itself. */
#define BASE 0x600000000000ul
#define APART (8ul << 30)

struct place {
	char *low;	/* a page that stays, well below */
	char *at;	/* before the round address; grown, on both sides of it */
	size_t len;	/* 0: nothing is mapped */
	uint64_t seed;
};

static struct place places[PLACES];

static char *map(uintptr_t at, size_t len)
{
	char *p = mmap((void *)at, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	guest_check(p == (char *)at);
	return p;
}

static void check(const struct place *p)
{
	if (!p->len)
		return;
	guest_check(guest_filled(p->low, PAGE, p->seed));
	guest_check(guest_filled(p->at, p->len, p->seed + 1));
}

/* Nothing, before the address, over it, nothing. */
static void change(unsigned i, uint64_t seed)
{
	struct place *p = &places[i];
	uintptr_t round = BASE + (i + 1) * APART;
	if (!p->len) {
		p->seed = seed;
		p->low = map(round - APART / 4, PAGE);
		p->at = map(round - HALF, HALF);
		p->len = HALF;
		guest_fill(p->low, PAGE, seed);
	} else if (p->len == HALF) {
		p->len = 2 * HALF;
		guest_check(mremap(p->at, HALF, p->len, 0) == p->at);
	} else {
		guest_sys(munmap(p->low, PAGE));
		guest_sys(munmap(p->at, p->len));
		p->len = 0;
		return;
	}
	guest_fill(p->at, p->len, p->seed + 1);
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	for (unsigned i = 0; i < PLACES; i += 5)
		change(i, i);
	guest_ready();
	for (uint64_t step = 1; !guest_go(); step++) {
		change((unsigned)(guest_mix(3, step) % PLACES), step << 8);
		for (unsigned i = 0; i < PLACES; i++)
			check(&places[i]);
		guest_sleep_ms(STEP_MS);
	}
	for (unsigned i = 0; i < PLACES; i++)
		check(&places[i]);
	return 0;
}
