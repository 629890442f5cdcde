/*
 * facts.h - what the tests of kernel facts share: clocks, numbers of calls
 * that libc's headers lack, user namespaces. Nothing of the product is used
 * here: these tests say what the kernel does, whoever asks.
 */
#pragma once

#include <linux/types.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "harness/harness.h"

enum { PAGE = 4096, ORDINARY_UID = 65534 };

/* Monotonic time in microseconds. */
double fact_now_us(void);

/* A line of /proc/meminfo ("SUnreclaim"), in MiB. */
long fact_meminfo_mb(const char *key);

/* Median, and any other quantile, of n values; sorts them. */
double fact_quantile(double *values, size_t n, double q);

/*
 * Become an ordinary user (when root) that is root in a user namespace of
 * its own with one id mapped. Skips the test where the host forbids that.
 */
void fact_enter_userns(void);

/* clone3(); without CLONE_VM it returns twice, as fork() does. */
struct fact_clone {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_bytes, tls, set_tid,
		n_set_tid, cgroup;
};
pid_t fact_clone3(struct fact_clone *c);

/* clone3() with CLONE_VM: the child runs fn(arg) on its own stack, then exits. */
pid_t fact_clone3_vm(struct fact_clone *c, void (*fn)(void *), void *arg);

/* Wait until *word has the value want; the time limit of the test ends it. */
void fact_wait_word(const uint32_t *word, uint32_t want);
void fact_set_word(uint32_t *word, uint32_t value);
