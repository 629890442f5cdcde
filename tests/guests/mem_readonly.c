/*
 * Shared mappings by a descriptor that cannot write, of files without a name:
 * they cannot be made writable, whatever becomes of the process.
 */
#include "guest.h"

#include <fcntl.h>
#include <sys/mman.h>

enum { PAGE = 4096, LEN = 4 * PAGE };

static char path[64];

static int make(const char *kind)
{
	if (strstr(kind, "memfd"))
		return (int)guest_sys(memfd_create("readonly", 0));
	snprintf(path, sizeof(path), "%s/readonly.%d", strstr(kind, "shm") ? "/dev/shm" : ".",
		 (int)getpid());
	return (int)guest_sys(open(path, O_RDWR | O_CREAT | O_EXCL, 0600));
}

static int again_readonly(int fd)
{
	char link[64];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return (int)guest_sys(open(link, O_RDONLY));
}

static char *map(int fd, int prot)
{
	char *at = mmap(NULL, LEN, prot, MAP_SHARED, fd, 0);
	guest_check(at != MAP_FAILED);
	return at;
}

static void check_readonly(char *at)
{
	guest_check(mprotect(at, PAGE, PROT_READ | PROT_WRITE) < 0 && errno == EACCES);
	guest_check(guest_filled(at + PAGE, LEN - PAGE, 17));
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	const char *kind = argc > 2 ? argv[2] : "memfd";
	int rw = make(kind), ro = again_readonly(rw);
	if (*path)
		guest_sys(unlink(path));
	guest_sys(ftruncate(rw, LEN));
	char *writable = map(rw, PROT_READ | PROT_WRITE), *readonly = map(ro, PROT_READ);
	char *closed = map(rw, PROT_READ);
	guest_fill(writable + PAGE, LEN - PAGE, 17);
	bool has_writable = !strstr(kind, "alone");
	if (!has_writable) {
		guest_sys(munmap(writable, LEN));
		guest_sys(munmap(closed, LEN));
	}
	if (strstr(kind, "closed") || !has_writable)
		close(rw);
	if (strstr(kind, "closed"))
		close(ro);
	guest_ready();
	uint64_t n = 0;
	do {
		check_readonly(readonly);
		if (has_writable) {
			*(volatile uint64_t *)writable = ++n;
			guest_eq(*(volatile uint64_t *)readonly, n);
			guest_eq(*(volatile uint64_t *)closed, n);
		}
		guest_sleep_ms(1);
	} while (!guest_go());
	check_readonly(readonly);
	if (has_writable) {
		guest_sys(mprotect(closed, LEN, PROT_READ | PROT_WRITE));
		*(volatile uint64_t *)closed = 4711;
		guest_eq(*(volatile uint64_t *)readonly, 4711);
	}
	return 0;
}
