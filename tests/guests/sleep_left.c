/*
 * A sleep goes on for the time that was left: it never ends early on the
 * clock of its process, nor starts again from the beginning.
 */
#include "guest.h"

#include <poll.h>
#include <sys/wait.h>

enum { SLEEP_MS = 1500 };

static void sleep_once(const char *kind)
{
	struct timespec ts = {SLEEP_MS / 1000, SLEEP_MS % 1000 * 1000000}, until;
	if (strcmp(kind, "poll") == 0) {
		guest_eq(poll(NULL, 0, SLEEP_MS), 0);
	} else if (strcmp(kind, "absolute") == 0) {
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += 1;
		guest_eq(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL), 0);
	} else {
		guest_eq(clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL), 0);
	}
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	const char *kind = argc > 2 ? argv[2] : "nanosleep";
	guest_ready();
	unsigned ms = strcmp(kind, "absolute") ? SLEEP_MS : 1000;
	/* several in a row: at least one is interrupted in its middle */
	do {
		uint64_t start = guest_now_ns();
		sleep_once(kind);
		uint64_t took = (guest_now_ns() - start) / 1000000;
		if (took + 1 < ms)
			guest_bad("slept %d ms of %u", (int)took, ms);
		/* what stood still before a rollback may be added, once */
		if (took > 60000)
			guest_bad("slept %d ms instead of %u", (int)took, ms);
	} while (!guest_go());
	return 0;
}
