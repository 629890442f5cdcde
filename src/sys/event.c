#include "sys/event.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "sys/fault.h"

enum { NS_PER_S = 1000000000 };

int sys_epoll_new(void)
{
	int r = sys_fault("epoll_create1");
	if (r)
		return r;
	int fd = epoll_create1(EPOLL_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int sys_epoll_add(int epoll_fd, int fd, uint32_t events, uint64_t data)
{
	int r = sys_fault("epoll_ctl");
	if (r)
		return r;
	struct epoll_event ev = {.events = events, .data.u64 = data};
	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

void sys_epoll_change(int epoll_fd, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event ev = {.events = events, .data.u64 = data};
	epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &ev);
}

void sys_epoll_remove(int epoll_fd, int fd)
{
	epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

int sys_timer_new(void)
{
	int r = sys_fault("timerfd_create");
	if (r)
		return r;
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

void sys_timer_set(int timer_fd, uint64_t at_ns)
{
	struct itimerspec when = {
		.it_value = {.tv_sec = (time_t)(at_ns / NS_PER_S),
			     .tv_nsec = (long)(at_ns % NS_PER_S)},
	};
	timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}
