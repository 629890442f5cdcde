/* A periodic timer goes on ticking; a one-shot timer fires once, not before. */
#include "guest.h"

#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

static volatile sig_atomic_t ticks;

static void tick(int sig)
{
	ticks++;
}

/* A child with a long one-shot timer: the time that was left is kept. */
static void __attribute__((noreturn)) one_shot(void)
{
	struct itimerval t = {.it_value = {.tv_sec = 600}}, now;
	guest_sys(setitimer(ITIMER_REAL, &t, NULL));
	guest_wait_go();
	guest_eq(ticks, 0);
	guest_sys(getitimer(ITIMER_REAL, &now));
	guest_check(now.it_value.tv_sec > 300 && now.it_value.tv_sec < 600);
	guest_eq(now.it_interval.tv_sec, 0);
	_exit(0);
}

int main(int argc, char **argv)
{
	struct itimerval t = {{0, 10000}, {0, 10000}}, now;
	struct sigaction sa = {.sa_handler = tick}; /* no SA_RESTART */
	int status;
	guest_start(argc, argv);
	guest_sys(sigaction(SIGALRM, &sa, NULL));
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0)
		one_shot();
	guest_sys(setitimer(ITIMER_REAL, &t, NULL));
	while (ticks < 3)
		pause();
	guest_ready();
	guest_wait_go();
	guest_sys(getitimer(ITIMER_REAL, &now));
	guest_eq(now.it_interval.tv_usec, 10000);
	int before = ticks;
	uint64_t start = guest_now_ns();
	while (ticks < before + 10)
		pause();
	uint64_t ms = (guest_now_ns() - start) / 1000000;
	if (ms < 70 || ms > 5000)
		guest_bad("ten ticks took %d ms", (int)ms);
	guest_eq(waitpid(pid, &status, 0) < 0 && errno != EINTR, 0);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	guest_eq(status, 0);
	return 0;
}
