/*
 * harness.h - unit tests: each one a process of its own, TAP on stdout.
 *
 *	#include "harness/harness.h"
 *
 *	TEST(vec_keeps_order_when_it_grows)
 *	{
 *		t_eq(v.n, 3);
 *	}
 *
 *	TEST(chain_of_1000, .timeout_s = 120) { ... }
 *
 * Link the file with dep_harness (tests/meson.build): it brings main().
 *
 * A test runs in a forked child that leads a process group, adopts orphans
 * and, as root, has a mount namespace of its own. It passes by returning.
 * Then it must have left no descriptor, no child and no mount behind. What
 * it printed is shown as TAP comments. A test that does not end in time is
 * killed with all its descendants.
 *
 * Every check may be used in a process that the test forked: there it
 * prints and ends that process with T_FAILED; t_join() passes it on.
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/types.h>

enum {
	T_FAILED = 1, /* exit statuses of a test's process */
	T_SKIPPED = 77,
	T_TIMEOUT_S = 20, /* default; T_SLOWER=n in the environment multiplies */
};

struct t_case {
	const char *name;
	const char *file;
	void (*run)(void);
	unsigned timeout_s; /* 0: T_TIMEOUT_S */
	bool leaves_fds;    /* do not look for leaked descriptors */
	struct t_case *next;
};

/* Append a case, in the order of the file. Called by TEST() before main(). */
void t_register(struct t_case *c);

#define TEST(fn, ...)                                                                              \
	static void fn(void);                                                                      \
	static struct t_case t_case_##fn = {                                                       \
		.name = #fn, .file = __FILE__, .run = fn, __VA_ARGS__};                            \
	__attribute__((constructor)) static void t_register_##fn(void)                             \
	{                                                                                          \
		t_register(&t_case_##fn);                                                          \
	}                                                                                          \
	static void fn(void)

/* End the test as failed, with a message. */
void t_fail_at(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), noreturn));
#define t_fail(...) t_fail_at(__FILE__, __LINE__, __VA_ARGS__)

/* End the test as skipped; say what is missing here. */
void t_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Print a line of figures or context. */
void t_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define t_assert(cond)                                                                             \
	do {                                                                                       \
		if (!(cond))                                                                       \
			t_fail("not true: %s", #cond);                                             \
	} while (0)

/* Integers, compared as long long; both are printed. */
#define t_eq(have, want)                                                                           \
	do {                                                                                       \
		long long t_have_ = (long long)(have);                                             \
		long long t_want_ = (long long)(want);                                             \
		if (t_have_ != t_want_)                                                            \
			t_fail("%s is %lld, not %s (%lld)", #have, t_have_, #want, t_want_);       \
	} while (0)

#define t_str_eq(have, want)                                                                       \
	do {                                                                                       \
		const char *t_have_ = (have), *t_want_ = (want);                                   \
		if (!t_have_ || !t_want_ || strcmp(t_have_, t_want_) != 0)                         \
			t_fail("%s is \"%s\", not \"%s\"", #have, t_have_ ? t_have_ : "(null)",    \
			       t_want_ ? t_want_ : "(null)");                                      \
	} while (0)

#define t_mem_eq(have, want, len)                                                                  \
	do {                                                                                       \
		if (memcmp((have), (want), (len)) != 0)                                            \
			t_fail("%s differs from %s", #have, #want);                                \
	} while (0)

/* A call that returns -errno must succeed; its result. */
#define t_ok(call)                                                                                 \
	({                                                                                         \
		long long t_r_ = (long long)(call);                                                \
		if (t_r_ < 0)                                                                      \
			t_fail("%s: %s", #call, strerror((int)-t_r_));                             \
		t_r_;                                                                              \
	})

/* The same for a function that fills a struct err *e; says its cause. */
#define t_ok_e(call, e)                                                                            \
	({                                                                                         \
		long long t_r_ = (long long)(call);                                                \
		if (t_r_ < 0)                                                                      \
			t_fail("%s: %s (%s)", #call, (e)->cause, strerror((int)-t_r_));            \
		t_r_;                                                                              \
	})

/* A libc-style call (-1 and errno) must succeed; its result. */
#define t_sys(call)                                                                                \
	({                                                                                         \
		long long t_r_ = (long long)(call);                                                \
		if (t_r_ == -1)                                                                    \
			t_fail("%s: %s", #call, strerror(errno));                                  \
		t_r_;                                                                              \
	})

/* fork(); the child must end by _exit(). */
pid_t t_fork(void);

/* Reap pid: its exit status, or 128 + the signal that ended it. */
int t_wait(pid_t pid);

/* Reap pid and fail unless it exited with 0. */
void t_join_at(const char *file, int line, pid_t pid);
#define t_join(pid) t_join_at(__FILE__, __LINE__, (pid))

/* A new empty directory under $TMPDIR, removed after the test. */
const char *t_tmpdir(void);

/* Let the rest of a test run as another user (root only; else: as is). */
void t_become(uid_t uid, gid_t gid);

/* Sleep, for polling loops. */
void t_sleep_ms(unsigned ms);
