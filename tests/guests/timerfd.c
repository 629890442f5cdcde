/* Timers that are descriptors: what was left, what was not read, and when. */
#include "guest.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/timerfd.h>

enum { MS = 1000000, S = 1000000000 };

static uint64_t ns_of(struct timespec t)
{
	return (uint64_t)t.tv_sec * S + (uint64_t)t.tv_nsec;
}

static struct timespec spec(uint64_t ns)
{
	return (struct timespec){(time_t)(ns / S), (long)(ns % S)};
}

static int new_timer(int clock, int flags, uint64_t value_ns, uint64_t interval_ns)
{
	struct itimerspec t = {.it_value = spec(value_ns), .it_interval = spec(interval_ns)};
	int fd = (int)guest_sys(timerfd_create(clock, TFD_NONBLOCK));
	if (value_ns)
		guest_sys(timerfd_settime(fd, flags, &t, NULL));
	return fd;
}

static uint64_t left_ns(int fd)
{
	struct itimerspec t;
	guest_sys(timerfd_gettime(fd, &t));
	return ns_of(t.it_value);
}

static uint64_t ticks(int fd)
{
	uint64_t n = 0;
	if (read(fd, &n, 8) != 8)
		guest_eq(errno, EAGAIN);
	return n;
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	struct timespec now;
	guest_sys(clock_gettime(CLOCK_REALTIME, &now));
	int far = new_timer(CLOCK_MONOTONIC, 0, 3600ull * S, 0);
	int boot = new_timer(CLOCK_BOOTTIME, 0, 7200ull * S, 60ull * S);
	int at = new_timer(CLOCK_REALTIME, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET,
			   ns_of(now) + 300ull * S, 0);
	int idle = new_timer(CLOCK_MONOTONIC, 0, 0, 0);
	int over = new_timer(CLOCK_MONOTONIC, 0, 1 * MS, 0);
	int slow = new_timer(CLOCK_MONOTONIC, 0, 2 * MS, 30ull * S);
	int fast = new_timer(CLOCK_MONOTONIC, 0, 1 * MS, 1 * MS);
	int soon = new_timer(CLOCK_MONOTONIC, 0, 400ull * MS, 0);
	int copy = (int)guest_sys(dup(far));
	guest_sleep_ms(20);
	guest_sys(fcntl(idle, F_SETFL, 0));
	guest_ready();
	guest_wait_go();
	guest_check(left_ns(far) > 3400ull * S && left_ns(far) < 3600ull * S);
	guest_check(left_ns(boot) > 7000ull * S && left_ns(boot) < 7200ull * S);
	struct timespec then;
	guest_sys(clock_gettime(CLOCK_REALTIME, &then));
	uint64_t end = ns_of(then) + left_ns(at), due = ns_of(now) + 300ull * S;
	guest_check(end > due - 20ull * MS && end < due + 20ull * MS);
	struct itimerspec t;
	guest_sys(timerfd_gettime(boot, &t));
	guest_eq(ns_of(t.it_interval), 60ull * S);
	guest_eq(left_ns(idle), 0);
	guest_eq(fcntl(idle, F_GETFL) & O_NONBLOCK, 0);
	guest_sys(fcntl(idle, F_SETFL, O_NONBLOCK));
	guest_eq(ticks(idle), 0);
	guest_eq(ticks(over), 1);
	guest_eq(ticks(over), 0);
	guest_eq(left_ns(over), 0);
	guest_eq(ticks(slow), 1);
	uint64_t slow_left = left_ns(slow);
	guest_check(slow_left > 0 && slow_left <= 30ull * S);
	guest_check(ticks(fast) >= 20);
	guest_sleep_ms(5);
	guest_check(ticks(fast) >= 2);
	struct pollfd p = {.fd = soon, .events = POLLIN};
	guest_eq(poll(&p, 1, 5000), 1);
	guest_eq(ticks(soon), 1);
	struct itimerspec none = {0};
	guest_sys(timerfd_settime(copy, 0, &none, NULL));
	guest_eq(left_ns(far), 0);
	return 0;
}
