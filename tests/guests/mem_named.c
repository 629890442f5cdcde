/*
 * Shared memory that is a file, two processes counting in it in turn: a memfd,
 * a file of /dev/shm, both with and without a descriptor and a name.
 */
#include "turns.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { PAGE = 4096, LEN = 32 * PAGE };

static char path[64];

static int make(const char *kind)
{
	int fd;
	if (!strncmp(kind, "memfd", 5)) {
		fd = (int)guest_sys(memfd_create("counted", MFD_ALLOW_SEALING));
	} else {
		fd = (int)guest_sys(open(path, O_RDWR | O_CREAT | O_EXCL, 0640));
		guest_sys(fchmod(fd, 0640));
	}
	guest_sys(ftruncate(fd, LEN));
	return fd;
}

/* What a file can show besides its memory. */
static void check_file(const char *kind, int fd)
{
	struct stat st;
	if (strstr(kind, "named")) {
		int again = (int)guest_sys(open(path, O_RDWR));
		uint64_t turn = 0;
		guest_eq(pread(again, &turn, sizeof(turn), 0), sizeof(turn));
		guest_check(turn > 0);
		guest_sys(fstat(again, &st));
		guest_eq(st.st_mode & 07777, 0640);
		guest_sys(close(again));
	} else {
		guest_check(access(path, F_OK) < 0 && errno == ENOENT);
	}
	if (fd < 0)
		return;
	guest_sys(fstat(fd, &st));
	guest_eq(st.st_size, LEN);
	guest_eq(st.st_nlink, strstr(kind, "named") ? 1 : 0);
	guest_eq(lseek(fd, 0, SEEK_CUR), 77);
	uint64_t word = 0;
	guest_eq(pread(fd, &word, sizeof(word), 0), sizeof(word));
	guest_check(word > 0);
	if (!strncmp(kind, "memfd", 5)) {
		guest_eq(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW);
		guest_check(ftruncate(fd, LEN * 2) < 0 && errno == EPERM);
	} else {
		guest_sys(ftruncate(fd, LEN * 2));
		guest_sys(ftruncate(fd, LEN));
	}
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	const char *kind = argc > 2 ? argv[2] : "memfd";
	snprintf(path, sizeof(path), "/dev/shm/counted-%d", getpid());
	bool closed = strstr(kind, "closed") != NULL;
	int fd = make(kind);
	char *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	guest_check(p != MAP_FAILED);
	/* a second, smaller view that cannot be written */
	char *view = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, PAGE);
	guest_check(view != MAP_FAILED);
	struct turns *s = (struct turns *)p;
	guest_fill(p + PAGE, 8 * PAGE, 1);
	if (!strncmp(kind, "memfd", 5))
		guest_sys(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
	else if (!strstr(kind, "named"))
		guest_sys(unlink(path));
	guest_sys(lseek(fd, 77, SEEK_SET));
	if (closed)
		close(fd);
	pid_t pid = fork();
	if (pid == 0) {
		turns_take_all(s);
		_exit(guest_filled(view, PAGE, 1) ? 0 : 1);
	}
	turns_lead(s, pid);
	guest_check(guest_filled(p + PAGE, 8 * PAGE, 1));
	guest_check(guest_zeros(p + 9 * PAGE, LEN - 9 * PAGE));
	guest_check(guest_filled(view, PAGE, 1));
	/* the views are of one object */
	p[PAGE + 5] ^= 1;
	guest_check(view[5] == p[PAGE + 5]);
	check_file(kind, closed ? -1 : fd);
	unlink(path);
	return 0;
}
