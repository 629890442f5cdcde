#include "base/stage.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

/* See sys/fault.c: a seam for tests that every transaction must have. */
static const char *kill_at;

void stage_kill_at(const char *name)
{
	kill_at = name;
}

static __attribute__((constructor(1000))) void kill_from_environment(void)
{
	if (!getenv("MULLIGAN_FAULT_WHEN"))
		kill_at = getenv("MULLIGAN_KILL_AT");
}

static void stage_undo(const struct stage *table, size_t n, void *ctx)
{
	while (n--)
		if (table[n].undo)
			table[n].undo(ctx);
}

int stage_run(const struct stage *table, size_t n, void *ctx,
	      struct stage_times *times, struct err *e)
{
	assert(n <= STAGE_MAX);
	struct stage_times t = { 0 };
	bool returned = true;
	int r = 0;
	uint64_t start_ns = clock_now_ns();
	uint64_t last_ns = start_ns;
	for (size_t i = 0; i < n; i++) {
		r = table[i].run(ctx, e);
		uint64_t now_ns = clock_now_ns();
		t.stage[t.n].name = table[i].name;
		t.stage[t.n++].ns = now_ns - last_ns;
		last_ns = now_ns;
		if (r < 0) {
			err_wrap(e, "%s", table[i].name);
			if (returned)
				stage_undo(table, i, ctx);
			else if (e)
				e->broken = true;
			break;
		}
		if (__builtin_expect(kill_at && !strcmp(kill_at, table[i].name), 0))
			kill(getpid(), SIGKILL);
		if (table[i].no_return)
			returned = false;
	}
	t.total_ns = clock_now_ns() - start_ns;
	if (times)
		*times = t;
	return r < 0 ? r : 0;
}
