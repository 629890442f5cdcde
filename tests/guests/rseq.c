/* Restartable sequences: the kernel keeps telling each thread its processor. */
#include "guest.h"

#include <pthread.h>
#include <sched.h>
#include <sys/rseq.h>
#include <sys/syscall.h>

static volatile bool stop;

static struct rseq *area(void)
{
	return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

/* The processor in the area is the one we run on. */
static void check_cpu(void)
{
	for (int i = 0; i < 1000; i++) {
		unsigned before, told, after;
		guest_sys(syscall(SYS_getcpu, &before, NULL, NULL));
		told = __atomic_load_n(&area()->cpu_id, __ATOMIC_RELAXED);
		guest_sys(syscall(SYS_getcpu, &after, NULL, NULL));
		if (before == after && told == before)
			return;
	}
	guest_bad("rseq says processor %d", (int)area()->cpu_id);
}

/* Registered is registered: a second time is refused as busy. */
static void check_registered(void)
{
	guest_eq(syscall(SYS_rseq, area(), 32, 0, RSEQ_SIG), -1);
	guest_eq(errno, EBUSY);
}

static void *run(void *arg)
{
	while (!stop) {
		check_cpu();
		guest_sleep_ms(1);
	}
	check_registered();
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	guest_start(argc, argv);
	if (__rseq_size == 0) {
		guest_ready();
		guest_wait_go();
		return 0; /* this libc registers none */
	}
	guest_eq(pthread_create(&thread, NULL, run, NULL), 0);
	check_registered();
	guest_ready();
	guest_wait_go();
	check_cpu();
	check_registered();
	stop = true;
	guest_eq(pthread_join(thread, NULL), 0);
	return 0;
}
