/* Limits, niceness and scheduling as the program set them. */
#include "guest.h"

#include <sched.h>
#include <sys/resource.h>

static const struct {
	int resource;
	rlim_t soft, hard;
} limits[] = {
	{RLIMIT_CORE, 0, 4096},           {RLIMIT_NOFILE, 111, 222},
	{RLIMIT_STACK, 4 << 20, 8 << 20}, {RLIMIT_FSIZE, 1 << 28, 1 << 29},
	{RLIMIT_MEMLOCK, 8192, 16384},
};

enum { N_LIMITS = sizeof(limits) / sizeof(*limits) };

int main(int argc, char **argv)
{
	struct sched_param param = {0};
	guest_start(argc, argv);
	for (int i = 0; i < N_LIMITS; i++) {
		struct rlimit l = {limits[i].soft, limits[i].hard};
		guest_sys(setrlimit((__rlimit_resource_t)limits[i].resource, &l));
	}
	guest_sys(setpriority(PRIO_PROCESS, 0, 7));
	guest_sys(sched_setscheduler(0, SCHED_BATCH, &param));
	guest_ready();
	guest_wait_go();
	for (int i = 0; i < N_LIMITS; i++) {
		struct rlimit l;
		guest_sys(getrlimit((__rlimit_resource_t)limits[i].resource, &l));
		guest_eq(l.rlim_cur, limits[i].soft);
		guest_eq(l.rlim_max, limits[i].hard);
	}
	guest_eq(getpriority(PRIO_PROCESS, 0), 7);
	guest_eq(sched_getscheduler(0), SCHED_BATCH);
	return 0;
}
