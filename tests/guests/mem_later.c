/*
 * A private mapping of a file that the program goes on writing to: a file of
 * /dev/shm, a memfd, a file that has lost its name. Whatever it shows must
 * have been written already, as far as the program knows.
 */
#include "guest.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { PAGE = 4096, PAGES = 16 };

/* Words at the start of the file's pages. */
enum { COUNTED, CONSTANT = 1, WRITTEN = 2, DROPPED = 3 };

static uint64_t counted;
static char path[64];

static int make(const char *kind)
{
	if (!strcmp(kind, "memfd"))
		return (int)guest_sys(memfd_create("later", 0));
	snprintf(path, sizeof(path), "%s/later.%d", strcmp(kind, "shm") ? "." : "/dev/shm",
		 (int)getpid());
	int fd = (int)guest_sys(open(path, O_RDWR | O_CREAT | O_EXCL, 0600));
	if (strcmp(kind, "shm"))
		guest_sys(unlink(path));
	return fd;
}

static volatile uint64_t *page(char *map, int n)
{
	return (volatile uint64_t *)(map + n * PAGE);
}

/* Is there something behind an address? Else an access is SIGBUS. */
static bool is_there(const void *at)
{
	int ends[2];
	guest_sys(pipe(ends));
	bool there = write(ends[1], at, 1) == 1;
	guest_check(there || errno == EFAULT);
	close(ends[0]);
	close(ends[1]);
	return there;
}

static void check(char *map, uint64_t *seen)
{
	uint64_t now = *page(map, COUNTED);
	if (now > counted)
		guest_bad("it shows %llu, but only %llu was written", (unsigned long long)now,
			  (unsigned long long)counted);
	guest_check(now >= *seen);
	*seen = now;
	guest_eq(*page(map, CONSTANT), 4711);
	guest_eq(*page(map, WRITTEN), 99);
	guest_check(is_there(map + (PAGES - 1) * PAGE));
	guest_check(!is_there(map + PAGES * PAGE));
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	int fd = make(argc > 2 ? argv[2] : "shm");
	uint64_t word = 4711, seen_first = 0, seen_second = 0;
	guest_sys(ftruncate(fd, PAGES * PAGE));
	guest_eq(pwrite(fd, &word, sizeof(word), CONSTANT * PAGE), sizeof(word));
	guest_eq(pwrite(fd, &word, sizeof(word), DROPPED * PAGE), sizeof(word));
	char *first = mmap(NULL, (PAGES + 2) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	char *second = mmap(NULL, (PAGES + 2) * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	guest_check(first != MAP_FAILED && second != MAP_FAILED);
	guest_sys(mprotect(second, PAGE, PROT_READ | PROT_WRITE));
	*page(first, WRITTEN) = 99;
	*page(first, DROPPED) = 98;
	word = 99;
	guest_eq(pwrite(fd, &word, sizeof(word), WRITTEN * PAGE), sizeof(word));
	guest_ready();
	do {
		check(first, &seen_first);
		check(second, &seen_second);
		counted++;
		guest_eq(pwrite(fd, &counted, sizeof(counted), 0), sizeof(counted));
		uint64_t there = 0;
		guest_eq(pread(fd, &there, sizeof(there), 0), sizeof(there));
		guest_eq(there, counted);
		if (counted % 64 == 0)
			guest_sleep_ms(1);
	} while (!guest_go());
	check(first, &seen_first);
	guest_eq(*page(first, DROPPED), 98);
	guest_sys(madvise(first + DROPPED * PAGE, PAGE, MADV_DONTNEED));
	guest_eq(*page(first, DROPPED), 4711);
	*page(second, COUNTED) = 1;
	guest_eq(pread(fd, &word, sizeof(word), 0), sizeof(word));
	guest_eq(word, counted);
	if (*path)
		unlink(path);	/* outside a sandbox it would stay */
	return 0;
}
