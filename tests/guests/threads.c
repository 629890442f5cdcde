/* Eight threads with masks, thread-local data, names and stacks of their own. */
#include "guest.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { THREADS = 8 };

static _Thread_local uint64_t mine;
static volatile bool stop;
static volatile unsigned up;

static void *run(void *arg)
{
	unsigned i = (unsigned)(uintptr_t)arg;
	char name[16], now[16];
	sigset_t set, have;
	pid_t tid = (pid_t)syscall(SYS_gettid);
	snprintf(name, sizeof(name), "worker-%u", i);
	prctl(PR_SET_NAME, name);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + (int)i);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	pthread_t self = pthread_self();
	mine = i;
	__atomic_add_fetch(&up, 1, __ATOMIC_SEQ_CST);
	uint64_t n = 0;
	for (; !stop; n++) {
		mine += THREADS;
		if (n % 4 == i % 4)
			usleep(1000);
	}
	guest_check(mine == i + n * THREADS);
	guest_check(pthread_equal(self, pthread_self()));
	guest_eq(syscall(SYS_gettid), tid);
	pthread_sigmask(SIG_SETMASK, NULL, &have);
	for (int s = 1; s < 65; s++)
		if (s != 32 && s != 33)
			guest_eq(sigismember(&have, s), sigismember(&set, s));
	prctl(PR_GET_NAME, now);
	guest_check(strcmp(name, now) == 0);
	return (void *)(uintptr_t)(i * 3 + 1);
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	guest_start(argc, argv);
	for (unsigned i = 0; i < THREADS; i++)
		guest_eq(pthread_create(&threads[i], NULL, run, (void *)(uintptr_t)i), 0);
	while (up < THREADS)
		usleep(1000);
	guest_ready();
	guest_wait_go();
	stop = true;
	for (unsigned i = 0; i < THREADS; i++) {
		void *result;
		guest_eq(pthread_join(threads[i], &result), 0);
		guest_eq((uintptr_t)result, i * 3 + 1);
	}
	return 0;
}
