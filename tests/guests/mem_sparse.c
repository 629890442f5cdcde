/* 8 GB of reserved memory with a few pages in it: the rest stays empty. */
#include "guest.h"

#include <sys/mman.h>

enum { PAGE = 4096, TOUCHED = 200 };
#define LEN (8ul << 30)

static size_t place_of(unsigned i)
{
	return (size_t)(guest_mix(7, i) % (LEN / PAGE)) * PAGE;
}

static long resident_pages(void)
{
	long size, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	guest_check(f && fscanf(f, "%ld %ld", &size, &resident) == 2);
	fclose(f);
	return resident;
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	char *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	guest_check(p != MAP_FAILED);
	guest_sys(madvise(p, LEN, MADV_NOHUGEPAGE));
	for (unsigned i = 0; i < TOUCHED; i++)
		*(uint64_t *)(p + place_of(i)) = i + 1;
	guest_ready();
	guest_wait_go();
	for (unsigned i = 0; i < TOUCHED; i++)
		guest_eq(*(uint64_t *)(p + place_of(i)), i + 1);
	guest_check(resident_pages() < 10000);
	for (unsigned i = 0; i < TOUCHED; i++)
		guest_check(guest_zeros(p + place_of(i) + 8, PAGE - 8));
	guest_eq(p[LEN - 1], 0);
	return 0;
}
