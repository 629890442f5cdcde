/*
 * Files that are held open keep their numbers, whatever holds them; what is
 * written one way is read every other; two processes meet in a mapped file.
 */
#include "guest.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { FILES = 8, PAGE = 4096 };

static const struct {
	const char *path;
	int flags;
} files[FILES] = {
	{"rw", O_RDWR},		{"ro", O_RDONLY},      {"wo", O_WRONLY},
	{"log", O_RDWR | O_APPEND}, {"sub/deep", O_RDWR}, {"sub/locked", O_RDWR},
	{"renamed", O_RDWR},	{"unlinked", O_RDWR},
};

struct meet {
	uint32_t asked, answered;
};

static ino_t by_path(const char *path)
{
	struct stat st;
	guest_sys(stat(path, &st));
	return st.st_ino;
}

static ino_t by_fd(int fd)
{
	struct stat st;
	guest_sys(fstat(fd, &st));
	return st.st_ino;
}

static long futex(uint32_t *word, int op, uint32_t value, const struct timespec *ts)
{
	return syscall(SYS_futex, word, op, value, ts, NULL, 0);
}

/* The other process: answers each question, asleep between them. */
static void answer(void)
{
	int fd = (int)guest_sys(open("meet", O_RDWR));
	struct meet *m = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	guest_check(m != MAP_FAILED);
	close(fd);
	for (uint32_t n = 0;; n++) {
		while (__atomic_load_n(&m->asked, __ATOMIC_SEQ_CST) == n)
			futex(&m->asked, FUTEX_WAIT, n, NULL);
		__atomic_store_n(&m->answered, n + 1, __ATOMIC_SEQ_CST);
		futex(&m->answered, FUTEX_WAKE, 1, NULL);
	}
}

static void ask(struct meet *m, uint32_t n)
{
	struct timespec patience = {10, 0};
	__atomic_store_n(&m->asked, n, __ATOMIC_SEQ_CST);
	futex(&m->asked, FUTEX_WAKE, 1, NULL);
	uint64_t start = guest_now_ns();
	while (__atomic_load_n(&m->answered, __ATOMIC_SEQ_CST) != n) {
		futex(&m->answered, FUTEX_WAIT, n - 1, &patience);
		if (guest_now_ns() - start > 10000000000ull)
			guest_bad("no answer to %u by the mapped file", n);
	}
}

/* All names, descriptors and numbers are what they were. */
static void check(const int *fd, int twin, const ino_t *ino)
{
	for (int i = 0; i < FILES; i++) {
		if (by_fd(fd[i]) != ino[i])
			guest_bad("number of %s (open) was %lu, is %lu", files[i].path, ino[i],
				  by_fd(fd[i]));
		if (by_path(files[i].path) != ino[i])
			guest_bad("number of %s (name) was %lu, is %lu", files[i].path, ino[i],
				  by_path(files[i].path));
	}
	guest_eq(by_fd(twin), ino[0]);
}

static void check_contents(const int *fd, int twin, const uint64_t *map, uint64_t n)
{
	uint64_t value;
	guest_eq(pread(twin, &value, 8, 0), 8);
	guest_eq(value, n);
	int again = (int)guest_sys(open("rw", O_RDONLY));
	guest_eq(pread(again, &value, 8, 0), 8);
	guest_eq(value, n);
	guest_eq(map[0], n);
	close(again);
	guest_eq(lseek(fd[3], 0, SEEK_END), (off_t)n);
	again = (int)guest_sys(open("sub/locked", O_RDWR));
	guest_eq(flock(again, LOCK_EX | LOCK_NB), -1);
	guest_eq(errno, EWOULDBLOCK);
	close(again);
}

int main(int argc, char **argv)
{
	int fd[FILES];
	ino_t ino[FILES];
	guest_start(argc, argv);
	guest_sys(mkdir("sub", 0755));
	for (int i = 0; i < FILES; i++) {
		close((int)guest_sys(open(files[i].path, O_CREAT | O_WRONLY, 0644)));
		fd[i] = (int)guest_sys(open(files[i].path, files[i].flags));
		ino[i] = by_fd(fd[i]);
	}
	int twin = (int)guest_sys(open("rw", O_RDWR));
	guest_sys(flock(fd[5], LOCK_EX));
	guest_sys(ftruncate(fd[0], PAGE));
	uint64_t *map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, twin, 0);
	int meet_fd = (int)guest_sys(open("meet", O_CREAT | O_RDWR, 0644));
	guest_sys(ftruncate(meet_fd, PAGE));
	struct meet *m = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, meet_fd, 0);
	guest_check(map != MAP_FAILED && m != MAP_FAILED);
	close(meet_fd);
	ino_t meet_ino = by_path("meet");
	pid_t child = (pid_t)guest_sys(fork());
	if (!child)
		answer();
	guest_ready();
	uint64_t n = 0;
	while (!guest_go() || n < 20) {
		n++;
		guest_eq(pwrite(fd[0], &n, 8, 0), 8);
		guest_eq(write(fd[3], "x", 1), 1);
		guest_eq(pwrite(fd[4], &n, 8, 0), 8);
		check(fd, twin, ino);
		check_contents(fd, twin, map, n);
		ask(m, (uint32_t)n);
		guest_eq(by_path("meet"), meet_ino);
		guest_sleep_ms(2);
	}
	guest_sys(rename("renamed", "sub/other"));
	guest_eq(by_path("sub/other"), ino[6]);
	guest_eq(by_fd(fd[6]), ino[6]);
	guest_sys(unlink("unlinked"));
	guest_eq(by_fd(fd[7]), ino[7]);
	guest_sys(kill(child, SIGKILL));
	guest_eq(waitpid(child, NULL, 0), child);
	return 0;
}
