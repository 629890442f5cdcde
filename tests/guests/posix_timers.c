/* Timers of timer_create: numbers, what was left, whom they tell. */
#include "guest.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { S = 1000000000, MS = 1000000 };

static volatile int called;
static volatile sig_atomic_t counts[65];
static volatile sig_atomic_t last_value;
static volatile pid_t last_tid;

static void on_signal(int sig, siginfo_t *info, void *context)
{
	counts[sig]++;
	if (sig == SIGUSR1)
		last_value = info->si_value.sival_int;
	if (sig == SIGUSR2)
		last_tid = (pid_t)syscall(SYS_gettid);
}

static int make(int clock, int notify, int sig, int value, pid_t tid)
{
	struct sigevent e = {.sigev_signo = sig, .sigev_notify = notify};
	int id = -1;
	e.sigev_value.sival_int = value;
	memcpy((char *)&e + 16, &tid, sizeof(tid));
	guest_sys(syscall(SYS_timer_create, clock, &e, &id));
	return id;
}

static uint64_t ns_of(struct timespec t)
{
	return (uint64_t)t.tv_sec * S + (uint64_t)t.tv_nsec;
}

static void set(int id, uint64_t value_ns, uint64_t interval_ns)
{
	struct itimerspec t = {
		.it_value = {(time_t)(value_ns / S), (long)(value_ns % S)},
		.it_interval = {(time_t)(interval_ns / S), (long)(interval_ns % S)},
	};
	guest_sys(syscall(SYS_timer_settime, id, 0, &t, NULL));
}

static uint64_t left_ns(int id, uint64_t *interval_ns)
{
	struct itimerspec t;
	guest_sys(syscall(SYS_timer_gettime, id, &t));
	if (interval_ns)
		*interval_ns = ns_of(t.it_interval);
	return ns_of(t.it_value);
}

static void on_thread(union sigval value)
{
	guest_eq(value.sival_int, 77);
	called++;
}

static volatile pid_t second_tid;
static volatile bool over;

static void *second(void *arg)
{
	second_tid = (pid_t)syscall(SYS_gettid);
	while (!over)
		guest_sleep_ms(2);
	return NULL;
}

static void await(volatile sig_atomic_t *count, int want)
{
	uint64_t end = guest_now_ns() + 10ull * S;
	while (*count < want && guest_now_ns() < end)
		guest_sleep_ms(1);
	guest_check(*count >= want);
}

int main(int argc, char **argv)
{
	pthread_t thread;
	timer_t by_libc;
	uint64_t interval;
	sigset_t blocked;
	guest_start(argc, argv);
	struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
	guest_sys(sigaction(SIGUSR1, &sa, NULL));
	guest_sys(sigaction(SIGUSR2, &sa, NULL));
	guest_sys(sigaction(SIGALRM, &sa, NULL));
	guest_sys(sigaction(SIGRTMIN + 5, &sa, NULL));
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGRTMIN + 5);
	guest_sys(sigprocmask(SIG_BLOCK, &blocked, NULL));
	guest_eq(pthread_create(&thread, NULL, second, NULL), 0);
	while (!second_tid)
		guest_sleep_ms(1);
	int far = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 41, 0);
	int gone = make(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0);
	int boot = make(CLOCK_BOOTTIME, SIGEV_NONE, 0, 0, 0);
	guest_sys(syscall(SYS_timer_delete, gone));
	int tick = make(CLOCK_REALTIME, SIGEV_SIGNAL, SIGALRM, 0, 0);
	int aimed = make(CLOCK_MONOTONIC, SIGEV_THREAD_ID, SIGUSR2, 9, second_tid);
	int cpu = make(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, SIGUSR1, 5, 0);
	int held = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 5, 6, 0);
	struct sigevent e = {.sigev_notify = SIGEV_THREAD,
			     .sigev_notify_function = on_thread,
			     .sigev_value.sival_int = 77};
	guest_sys(timer_create(CLOCK_MONOTONIC, &e, &by_libc));
	set(far, 3600ull * S, 60ull * S);
	set(boot, 1000ull * S, 0);
	set(tick, 3 * MS, 3 * MS);
	set(cpu, 5000ull * S, 0);
	set(held, 1 * MS, 0);
	struct itimerspec often = {{0, 5 * MS}, {0, 5 * MS}};
	guest_sys(timer_settime(by_libc, 0, &often, NULL));
	guest_sleep_ms(30);
	guest_ready();
	guest_wait_go();
	uint64_t left = left_ns(far, &interval);
	guest_check(left > 3400ull * S && left < 3600ull * S);
	guest_eq(interval, 60ull * S);
	left = left_ns(boot, &interval);
	guest_check(left > 800ull * S && left < 1000ull * S);
	guest_eq(interval, 0);
	left = left_ns(cpu, NULL);
	guest_check(left > 4900ull * S && left <= 5000ull * S);
	guest_eq(left_ns(held, NULL), 0);
	int ticks = counts[SIGALRM], calls = called;
	await(&counts[SIGALRM], ticks + 3);
	uint64_t end = guest_now_ns() + 10ull * S;
	while (called < calls + 2 && guest_now_ns() < end)
		guest_sleep_ms(1);
	guest_check(called >= calls + 2);
	guest_eq(syscall(SYS_timer_gettime, gone, &often), -1);
	guest_eq(errno, EINVAL);
	set(far, 1 * MS, 0);
	await(&counts[SIGUSR1], 1);
	guest_eq(last_value, 41);
	set(aimed, 1 * MS, 0);
	await(&counts[SIGUSR2], 1);
	guest_eq(last_tid, second_tid);
	guest_eq(counts[SIGRTMIN + 5], 0);
	siginfo_t info;
	struct timespec now = {0};
	guest_eq(sigtimedwait(&blocked, &info, &now), SIGRTMIN + 5);
	guest_eq(info.si_code, SI_TIMER);
	guest_eq(info.si_value.sival_int, 6);
	guest_eq(sigtimedwait(&blocked, &info, &now), -1);
	set(held, 1 * MS, 0);
	guest_sleep_ms(10);
	guest_eq(sigtimedwait(&blocked, &info, &now), SIGRTMIN + 5);
	guest_check(make(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0) > held);
	over = true;
	guest_eq(pthread_join(thread, NULL), 0);
	return 0;
}
