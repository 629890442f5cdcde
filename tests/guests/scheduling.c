/*
 * Three threads, each scheduled in its own way: policy, nice value, CPUs, I/O
 * priority, timer slack. The first one has the highest nice value: none of
 * the others can have its own from it without a privilege.
 */
#include "guest.h"

#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

struct setting {
	int policy, nice, ioprio, slack, cpus;
};

enum { IOPRIO_BEST_EFFORT = 2 << 13, IOPRIO_IDLE = 3 << 13, FIRST_CPU = 1, ALL_CPUS = 0 };

static const struct setting settings[] = {
	{SCHED_BATCH, 9, IOPRIO_IDLE, 12345, FIRST_CPU},
	{SCHED_OTHER, 0, 0, 50000, ALL_CPUS},
	{SCHED_IDLE, 5, IOPRIO_BEST_EFFORT | 6, 77777, FIRST_CPU},
};

enum { N = sizeof(settings) / sizeof(*settings) };

static pthread_barrier_t barrier;
static cpu_set_t all, first;

static void set(const struct setting *s)
{
	struct sched_param param = {0};
	if (s->policy != SCHED_OTHER)
		guest_sys(sched_setscheduler(0, s->policy, &param));
	if (s->nice)
		guest_sys(setpriority(PRIO_PROCESS, 0, s->nice));
	if (s->ioprio)
		guest_sys(syscall(SYS_ioprio_set, 1, 0, s->ioprio));
	guest_sys(prctl(PR_SET_TIMERSLACK, s->slack));
	if (s->cpus)
		guest_sys(sched_setaffinity(0, sizeof(first), &first));
}

static void check(const struct setting *s)
{
	cpu_set_t have;
	CPU_ZERO(&have);
	guest_eq(sched_getscheduler(0), s->policy);
	guest_eq(getpriority(PRIO_PROCESS, 0), s->nice);
	guest_eq(syscall(SYS_ioprio_get, 1, 0), s->ioprio);
	guest_eq(prctl(PR_GET_TIMERSLACK), s->slack);
	guest_sys(sched_getaffinity(0, sizeof(have), &have));
	guest_check(CPU_EQUAL(&have, s->cpus ? &first : &all));
}

static void *run(void *arg)
{
	const struct setting *s = arg;
	set(s);
	pthread_barrier_wait(&barrier);
	guest_wait_go();
	check(s);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[N];
	guest_start(argc, argv);
	CPU_ZERO(&all);
	CPU_ZERO(&first);
	guest_sys(sched_getaffinity(0, sizeof(all), &all));
	for (int cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&first); cpu++)
		if (CPU_ISSET(cpu, &all))
			CPU_SET(cpu, &first);
	guest_eq(pthread_barrier_init(&barrier, NULL, N), 0);
	for (int i = 1; i < N; i++)
		guest_eq(pthread_create(&threads[i], NULL, run, (void *)&settings[i]), 0);
	set(&settings[0]);
	pthread_barrier_wait(&barrier);
	guest_ready();
	guest_wait_go();
	check(&settings[0]);
	for (int i = 1; i < N; i++)
		guest_eq(pthread_join(threads[i], NULL), 0);
	return 0;
}
