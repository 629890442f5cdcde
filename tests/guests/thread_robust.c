/* A robust mutex whose owner ends without unlocking it; one that is contended. */
#include "guest.h"

#include <pthread.h>

static pthread_mutex_t robust, plain = PTHREAD_MUTEX_INITIALIZER;
static volatile bool locked, waiting;
static volatile unsigned turns;

static void *owner(void *arg)
{
	guest_eq(pthread_mutex_lock(&robust), 0);
	locked = true;
	guest_wait_go();
	return NULL; /* dies with the mutex held */
}

static void *waiter(void *arg)
{
	waiting = true;
	guest_eq(pthread_mutex_lock(&plain), 0);
	turns++;
	guest_eq(pthread_mutex_unlock(&plain), 0);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_mutexattr_t attr;
	pthread_t a, b;
	guest_start(argc, argv);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&robust, &attr);
	guest_eq(pthread_mutex_lock(&plain), 0);
	guest_eq(pthread_create(&a, NULL, owner, NULL), 0);
	guest_eq(pthread_create(&b, NULL, waiter, NULL), 0);
	while (!locked || !waiting)
		usleep(1000);
	guest_sleep_ms(20);
	guest_eq(pthread_mutex_trylock(&robust), EBUSY);
	guest_ready();
	guest_wait_go();
	guest_eq(turns, 0);
	guest_eq(pthread_mutex_unlock(&plain), 0);
	guest_eq(pthread_join(b, NULL), 0);
	guest_eq(turns, 1);
	guest_eq(pthread_mutex_lock(&robust), EOWNERDEAD);
	guest_eq(pthread_mutex_consistent(&robust), 0);
	guest_eq(pthread_mutex_unlock(&robust), 0);
	guest_eq(pthread_join(a, NULL), 0);
	return 0;
}
