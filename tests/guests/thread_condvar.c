/* Threads that sleep on a condition and a barrier until told to go on. */
#include "guest.h"

#include <pthread.h>

enum { THREADS = 5 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static bool open_now;
static unsigned asleep, woken;

static void *run(void *arg)
{
	pthread_mutex_lock(&lock);
	asleep++;
	while (!open_now)
		guest_eq(pthread_cond_wait(&cond, &lock), 0);
	woken++;
	pthread_mutex_unlock(&lock);
	pthread_barrier_wait(&barrier);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	guest_start(argc, argv);
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		guest_eq(pthread_create(&threads[i], NULL, run, NULL), 0);
	for (unsigned n = 0; n < THREADS;) {
		usleep(1000);
		pthread_mutex_lock(&lock);
		n = asleep;
		pthread_mutex_unlock(&lock);
	}
	guest_ready();
	guest_wait_go();
	pthread_mutex_lock(&lock);
	guest_eq(woken, 0);
	open_now = true;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&lock);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < THREADS; i++)
		guest_eq(pthread_join(threads[i], NULL), 0);
	guest_eq(woken, THREADS);
	return 0;
}
