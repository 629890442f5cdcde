/*
 * pidns.h - guests for the tests of task/: a PID 1 that reaps, and below it
 * processes that tell what they see on a board of shared memory.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/harness.h"

enum { BOARD_WORDS = 512 };

/* What guests tell the test. */
struct board {
	volatile uint64_t count[BOARD_WORDS];	/* progress */
	volatile uint64_t wrong;	/* things a guest must not see */
	volatile int64_t wrong_what;
	volatile int pid[BOARD_WORDS];
	volatile int go;		/* test -> guests */
};

static inline struct board *board_new(void)
{
	void *p = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	t_assert(p != MAP_FAILED);
	return p;
}

static inline void board_wrong(struct board *b, int64_t what)
{
	__atomic_add_fetch(&b->wrong, 1, __ATOMIC_SEQ_CST);
	b->wrong_what = what;
}

/* A new PID namespace; its PID 1 runs start(b), then reaps for ever. */
static inline pid_t pidns_start(void (*start)(struct board *), struct board *b)
{
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
	if (pid < 0 && errno == EPERM && geteuid() != 0)
		t_skip("an ordinary user needs a user namespace first: see the rootless twin");
	t_assert(pid >= 0);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	start(b);
	for (;;)
		if (waitpid(-1, NULL, __WALL) < 0)
			pause();
}

static inline void pidns_end(pid_t pid1)
{
	kill(pid1, SIGKILL);
	t_eq(t_wait(pid1), 128 + SIGKILL);
}

/* Run body in a child of PID 1 (or of another guest). */
static inline pid_t guest(void (*body)(struct board *), struct board *b)
{
	pid_t pid = fork();
	if (pid == 0) {
		body(b);
		_exit(0);
	}
	return pid;
}

/* Wait until the word is at least value; fails the test after 10 s. */
static inline void board_await(const volatile uint64_t *word, uint64_t value)
{
	for (int i = 0; i < 10000; i++) {
		if (*word >= value)
			return;
		t_sleep_ms(1);
	}
	t_fail("a guest makes no progress: %llu of %llu",
	       (unsigned long long)*word, (unsigned long long)value);
}

static inline void board_await_more(const volatile uint64_t *word, uint64_t n)
{
	board_await(word, *word + n);
}

static inline char proc_state(pid_t pid)
{
	char path[64], text[512];
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return '-';
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	const char *s = strrchr(text, ')');
	return s ? s[2] : '-';
}

static inline void await_state(pid_t pid, char want)
{
	for (int i = 0; i < 20000; i++) {
		if (proc_state(pid) == want)
			return;
		t_sleep_ms(1);
	}
	t_fail("process %d is in state %c, not %c", pid, proc_state(pid), want);
}

/* The first process that PID 1 of a namespace forked, from outside. */
static inline pid_t first_child(pid_t pid1)
{
	char path[64];
	int pid = 0;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid1, pid1);
	FILE *f = fopen(path, "re");
	t_assert(f);
	t_eq(fscanf(f, "%d", &pid), 1);
	fclose(f);
	return pid;
}

static inline void write_text(const char *path, const char *text)
{
	int fd = (int)t_sys(open(path, O_WRONLY | O_CLOEXEC));
	t_sys(write(fd, text, strlen(text)));
	close(fd);
}

/* Go on as an ordinary user who is root in a user namespace of its own. */
static inline void become_rootless(void)
{
	char denied[8] = "";
	int fd = open("/proc/self/setgroups", O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && read(fd, denied, 4) == 4 && !strcmp(denied, "deny"))
		t_skip("already in a user namespace: the other test covers it");
	if (fd >= 0)
		close(fd);
	uid_t uid = getuid() ? getuid() : 65534;
	t_become(uid, uid);
	/* dropping ids made us undumpable, and the maps root's */
	prctl(PR_SET_DUMPABLE, 1);
	if (unshare(CLONE_NEWUSER))
		t_skip("user namespaces: %s", strerror(errno));
	char map[64];
	snprintf(map, sizeof(map), "0 %d 1", uid);
	write_text("/proc/self/setgroups", "deny");
	write_text("/proc/self/uid_map", map);
	write_text("/proc/self/gid_map", map);
}

/* TEST(name) as we are, and TEST(name_rootless) as an ordinary user. */
#define TEST_BOTH(fn, ...)                \
	static void fn##_body(void);      \
	TEST(fn, __VA_ARGS__)             \
	{                                 \
		fn##_body();              \
	}                                 \
	TEST(fn##_rootless, __VA_ARGS__)  \
	{                                 \
		become_rootless();        \
		fn##_body();              \
	}                                 \
	static void fn##_body(void)
