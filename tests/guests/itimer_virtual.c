/* Timers that count the processor's time of this process. */
#include "guest.h"

#include <signal.h>
#include <sys/time.h>

static volatile sig_atomic_t virtual_ticks, prof_ticks;

static void on_virtual(int sig)
{
	virtual_ticks++;
}

static void on_prof(int sig)
{
	prof_ticks++;
}

static void burn_ms(unsigned ms)
{
	uint64_t end = guest_now_ns() + ms * 1000000ull;
	while (guest_now_ns() < end)
		;
}

int main(int argc, char **argv)
{
	struct itimerval v = {{0, 20000}, {0, 20000}}, p = {{0, 0}, {500, 0}}, now;
	guest_start(argc, argv);
	signal(SIGVTALRM, on_virtual);
	signal(SIGPROF, on_prof);
	guest_sys(setitimer(ITIMER_VIRTUAL, &v, NULL));
	guest_sys(setitimer(ITIMER_PROF, &p, NULL));
	burn_ms(50);
	guest_ready();
	guest_wait_go();
	guest_sys(getitimer(ITIMER_VIRTUAL, &now));
	guest_eq(now.it_interval.tv_usec, 20000);
	guest_sys(getitimer(ITIMER_PROF, &now));
	guest_check(now.it_value.tv_sec > 300 && now.it_value.tv_sec <= 500);
	int before = virtual_ticks;
	for (int i = 0; virtual_ticks < before + 3; i++) {
		guest_check(i < 100);
		burn_ms(20);
	}
	guest_eq(prof_ticks, 0);
	return 0;
}
