#include "base/stage.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

/* See sys/fault.c: seams for tests that every transaction must have. */
static struct {
	const char *kill_at, *stop_at;
	pid_t kill_first;	/* 0: nobody */
} seam;

void stage_kill_at(const char *name)
{
	seam.kill_at = name;
}

void stage_kill_first(pid_t pid)
{
	seam.kill_first = pid;
}

void stage_stop_at(const char *name)
{
	seam.stop_at = name;
}

static __attribute__((constructor(1000))) void seam_from_environment(void)
{
	if (getenv("MULLIGAN_FAULT_WHEN"))
		return;
	seam.kill_at = getenv("MULLIGAN_KILL_AT");
	seam.stop_at = getenv("MULLIGAN_STOP_AT");
}

static void stage_seam(const char *name)
{
	if (seam.stop_at && !strcmp(seam.stop_at, name))
		raise(SIGSTOP);
	if (!seam.kill_at || strcmp(seam.kill_at, name))
		return;
	if (seam.kill_first)
		kill(seam.kill_first, SIGKILL);
	kill(getpid(), SIGKILL);
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
		if (__builtin_expect(seam.kill_at || seam.stop_at, 0))
			stage_seam(table[i].name);
		if (table[i].no_return)
			returned = false;
	}
	t.total_ns = clock_now_ns() - start_ns;
	if (times)
		*times = t;
	return r < 0 ? r : 0;
}
