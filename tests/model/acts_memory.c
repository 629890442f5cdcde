/* acts_memory.c - mappings at places of their own, and words in them. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "actor.h"

enum { PAGE = 4096 };

static const uintptr_t FIRST_AREA = (uintptr_t)1 << 40;
static const uintptr_t AREA_APART = (uintptr_t)1 << 26;

static struct area {
	size_t pages;		/* 0: nothing is mapped */
} areas[AREAS];

static char *area_at(size_t i)
{
	return (char *)(FIRST_AREA + i * AREA_APART);
}

/* AREA PAGES FLAGS FD OFFSET-IN-PAGES */
static void do_map(struct act *a)
{
	size_t i = (size_t)act_number(a, 0), pages = (size_t)act_number(a, 1);
	void *at = mmap(area_at(i), pages * PAGE, PROT_READ | PROT_WRITE,
			(int)act_number(a, 2) | MAP_FIXED_NOREPLACE, (int)act_number(a, 3),
			act_number(a, 4) * PAGE);
	if (at != MAP_FAILED)
		areas[i].pages = pages;
	act_result(a, at == MAP_FAILED ? -1 : 0);
}

static void do_unmap(struct act *a)
{
	size_t i = (size_t)act_number(a, 0);
	int r = munmap(area_at(i), areas[i].pages * PAGE);
	if (!r)
		areas[i].pages = 0;
	act_result(a, r);
}

/* AREA OFFSET TIMES HEX */
static void do_store(struct act *a)
{
	size_t len;
	const char *bytes = act_data(a, 2, &len);
	memcpy(area_at((size_t)act_number(a, 0)) + act_number(a, 1), bytes, len);
	act_say(a, " 0");
}

/* AREA OFFSET LENGTH */
static void do_load(struct act *a)
{
	act_bytes(a, area_at((size_t)act_number(a, 0)) + act_number(a, 1),
		  (size_t)act_number(a, 2));
}

/* AREA PAGE COUNT PROTECTION */
static void do_protect(struct act *a)
{
	act_result(a, mprotect(area_at((size_t)act_number(a, 0)) + act_number(a, 1) * PAGE,
			       (size_t)act_number(a, 2) * PAGE, (int)act_number(a, 3)));
}

/* AREA PAGE COUNT: as if never touched */
static void do_forget(struct act *a)
{
	act_result(a, madvise(area_at((size_t)act_number(a, 0)) + act_number(a, 1) * PAGE,
			      (size_t)act_number(a, 2) * PAGE, MADV_DONTNEED));
}

/* NAME BYTES */
static void do_memfd(struct act *a)
{
	int fd = memfd_create(act_word(a, 0), 0);
	if (fd >= 0 && ftruncate(fd, act_number(a, 1)))
		abort();
	act_result(a, fd);
}

/* " aI:SUM:SUM.." of each, a sum for each page */
void say_areas(struct act *a)
{
	for (size_t i = 0; i < AREAS; i++) {
		if (areas[i].pages)
			act_say(a, " a%zu", i);
		for (size_t page = 0; page < areas[i].pages; page++)
			act_say(a, ":%08x", crc32_of(0, area_at(i) + page * PAGE, PAGE));
	}
}

const struct act_row memory_acts[] = {
	{ "map", do_map },
	{ "unmap", do_unmap },
	{ "store", do_store },
	{ "load", do_load },
	{ "protect", do_protect },
	{ "forget", do_forget },
	{ "memfd", do_memfd },
	{ 0 },
};
