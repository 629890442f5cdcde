/*
 * stage.h - multi-step kernel work as a table.
 *
 * A transaction is a const array of stages. They run in order, each timed;
 * when one fails, the finished ones are undone backwards, so that the
 * transaction happened whole or not at all. One stage may be the point of no
 * return: a failure after it sets err->broken, nothing is undone, and its
 * owner may only be inspected and destroyed.
 *
 * Checkpoint, rollback, fork and create are such tables, and the times are
 * what `--timings` and the benchmark print.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/err.h"

struct stage {
	const char *name;
	/* 0 or -errno with *e set */
	int (*run)(void *ctx, struct err *e);
	/* takes back a run that succeeded; NULL: there is nothing to undo */
	void (*undo)(void *ctx);
	/* failures of the stages after this one cannot be undone */
	bool no_return;
};

enum { STAGE_MAX = 24 };	/* longest table so far has 14 */

struct stage_times {
	size_t n;
	uint64_t total_ns;
	struct {
		const char *name;
		uint64_t ns;
	} stage[STAGE_MAX];
};

/*
 * Run the n stages of a table. times may be NULL; it is written in both
 * outcomes. The cause of a failure is prefixed with the stage's name.
 */
must_check int stage_run(const struct stage *table, size_t n, void *ctx,
			 struct stage_times *times, struct err *e);

/*
 * Tests: end this process by SIGKILL as soon as a stage of that name has
 * succeeded, in whatever table; NULL: never. Borrowed. A program may also be
 * started with MULLIGAN_KILL_AT=name.
 */
void stage_kill_at(const char *name);

/* ... end that process first: in a child that works for it. */
void stage_kill_first(pid_t pid);

/*
 * Tests: stop this process by SIGSTOP there, until somebody lets it go on; so
 * that a test can look at what is half done. MULLIGAN_STOP_AT=name.
 */
void stage_stop_at(const char *name);
