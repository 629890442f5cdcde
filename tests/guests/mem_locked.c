/*
 * Memory that must not leave memory: mlock, mlock2, mlockall. Second argument:
 * ranges, all, future, future-on-fault. Says what /proc/self/smaps says.
 */
#include "guest.h"

#include <sys/mman.h>
#include <sys/resource.h>

enum { PAGE = 4096, LEN = 16 * PAGE };

enum lock { FREE, LOCKED, ON_FAULT };

static enum lock lock_of(const void *at)
{
	char line[4096];
	bool here = false, locked = false, on_fault = false;
	FILE *smaps = fopen("/proc/self/smaps", "re");
	guest_check(smaps);
	while (fgets(line, sizeof(line), smaps)) {
		unsigned long from, to;
		if (sscanf(line, "%lx-%lx", &from, &to) == 2)
			here = from <= (unsigned long)at && (unsigned long)at < to;
		if (!here || strncmp(line, "VmFlags:", 8) != 0)
			continue;
		locked = strstr(line, " lo") != NULL;
		on_fault = strstr(line, " lf") != NULL;
	}
	fclose(smaps);
	return !locked ? FREE : on_fault ? ON_FAULT : LOCKED;
}

static char *map(int flags)
{
	char *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
	guest_check(p != MAP_FAILED);
	return p;
}

static void ranges(void)
{
	char *private = map(MAP_PRIVATE), *shared = map(MAP_SHARED);
	guest_fill(private, LEN, 1);
	guest_fill(shared, LEN, 2);
	guest_sys(mlock(private + PAGE, 2 * PAGE));
	guest_sys(mlock2(private + 8 * PAGE, PAGE, 1 /* MLOCK_ONFAULT */));
	guest_sys(mlock(shared, LEN));
	/* what is locked stays so when no more may be */
	struct rlimit limit = {PAGE, PAGE}, have;
	guest_sys(setrlimit(RLIMIT_MEMLOCK, &limit));
	guest_ready();
	guest_wait_go();
	guest_eq(lock_of(private), FREE);
	guest_eq(lock_of(private + PAGE), LOCKED);
	guest_eq(lock_of(private + 2 * PAGE), LOCKED);
	guest_eq(lock_of(private + 3 * PAGE), FREE);
	guest_eq(lock_of(private + 8 * PAGE), ON_FAULT);
	guest_eq(lock_of(private + 9 * PAGE), FREE);
	guest_eq(lock_of(shared), LOCKED);
	guest_eq(lock_of(map(MAP_PRIVATE)), FREE);
	guest_sys(getrlimit(RLIMIT_MEMLOCK, &have));
	guest_eq(have.rlim_cur, PAGE);
	guest_eq(have.rlim_max, PAGE);
	guest_check(guest_filled(private, LEN, 1) && guest_filled(shared, LEN, 2));
}

static void everything(int flags, enum lock now, enum lock later)
{
	char *before = map(MAP_PRIVATE);
	guest_fill(before, LEN, 3);
	guest_sys(mlockall(flags));
	guest_ready();
	guest_wait_go();
	guest_eq(lock_of(before), now);
	guest_eq(lock_of(lock_of), now);
	guest_eq(lock_of(map(MAP_PRIVATE)), later);
	guest_check(guest_filled(before, LEN, 3));
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	const char *kind = argc > 2 ? argv[2] : "ranges";
	if (!strcmp(kind, "ranges"))
		ranges();
	else if (!strcmp(kind, "all"))
		everything(MCL_CURRENT | MCL_FUTURE, LOCKED, LOCKED);
	else if (!strcmp(kind, "future"))
		everything(MCL_FUTURE, FREE, LOCKED);
	else
		everything(MCL_FUTURE | MCL_ONFAULT, FREE, ON_FAULT);
	return 0;
}
