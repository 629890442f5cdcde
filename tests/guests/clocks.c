/* Clocks, read through the vdso, never run backwards. */
#include "guest.h"

static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME};

static uint64_t read_ns(clockid_t clock)
{
	struct timespec ts;
	guest_sys(clock_gettime(clock, &ts));
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int main(int argc, char **argv)
{
	uint64_t last[3] = {0};
	guest_start(argc, argv);
	guest_ready();
	for (unsigned n = 0; n % 1000 || !guest_go(); n++) {
		for (int i = 0; i < 3; i++) {
			uint64_t now = read_ns(clocks[i]);
			if (now < last[i])
				guest_bad("clock %d went back by %d ns", i, (int)(last[i] - now));
			last[i] = now;
		}
		if (n % 1000 == 0)
			guest_sleep_ms(1);
	}
	return 0;
}
