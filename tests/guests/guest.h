/*
 * guest.h - what every guest program shares. A guest sets up some state,
 * says "ready", waits until the file named by its first argument exists and
 * then looks whether all is as it must be: exit 0, or words and exit 1. It
 * knows nothing of checkpoints: what it checks is what any program may
 * expect from its kernel.
 */
#pragma once

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *guest_go_path;

/* First thing in main(). */
static inline void guest_start(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: %s GO-FILE [KIND]\n", argv[0]);
		exit(2);
	}
	guest_go_path = argv[1];
	setvbuf(stdout, NULL, _IOLBF, 0);
}

/* The state is complete. */
static inline void guest_ready(void)
{
	puts("ready");
	fflush(stdout);
}

__attribute__((format(printf, 3, 4), noreturn)) static inline void
guest_bad_at(const char *file, int line, const char *fmt, ...)
{
	va_list ap;
	char text[512];
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	dprintf(STDOUT_FILENO, "%s:%d: %s\n", file, line, text);
	_exit(1);
}

#define guest_bad(...) guest_bad_at(__FILE__, __LINE__, __VA_ARGS__)

#define guest_check(cond)                                                                          \
	do {                                                                                       \
		if (!(cond))                                                                       \
			guest_bad("not true: %s (errno %d)", #cond, errno);                        \
	} while (0)

#define guest_eq(have, want)                                                                       \
	do {                                                                                       \
		long long h_ = (long long)(have), w_ = (long long)(want);                          \
		if (h_ != w_)                                                                      \
			guest_bad("%s is %lld, not %s (%lld)", #have, h_, #want, w_);              \
	} while (0)

/* A libc call must not fail; its result. */
#define guest_sys(call)                                                                            \
	({                                                                                         \
		long long r_ = (long long)(call);                                                  \
		if (r_ == -1)                                                                      \
			guest_bad("%s: %s", #call, strerror(errno));                               \
		r_;                                                                                \
	})

static inline bool guest_go(void)
{
	return access(guest_go_path, F_OK) == 0;
}

static inline void guest_sleep_ms(unsigned ms)
{
	struct timespec ts = {ms / 1000, (ms % 1000) * 1000000L};
	while (nanosleep(&ts, &ts) < 0)
		if (errno != EINTR)
			guest_bad("nanosleep: %s", strerror(errno));
}

static inline void guest_wait_go(void)
{
	while (!guest_go())
		guest_sleep_ms(5);
}

static inline uint64_t guest_now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* One step of a sum that depends on all earlier ones. */
static inline uint64_t guest_mix(uint64_t sum, uint64_t value)
{
	sum ^= value + 0x9e3779b97f4a7c15u + (sum << 6) + (sum >> 2);
	return sum * 0xff51afd7ed558ccdu;
}

/* Fill and check memory with bytes that depend on a seed. */
static inline void guest_fill(void *at, size_t len, uint64_t seed)
{
	uint64_t *word = at;
	for (size_t i = 0; i < len / 8; i++)
		word[i] = guest_mix(seed, i);
}

static inline bool guest_filled(const void *at, size_t len, uint64_t seed)
{
	const uint64_t *word = at;
	for (size_t i = 0; i < len / 8; i++)
		if (word[i] != guest_mix(seed, i))
			return false;
	return true;
}

static inline bool guest_zeros(const void *at, size_t len)
{
	const char *byte = at;
	for (size_t i = 0; i < len; i++)
		if (byte[i])
			return false;
	return true;
}
