#include "sys/event.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "sys/fault.h"

#ifndef TFD_IOC_SET_TICKS
#define TFD_IOC_SET_TICKS _IOW('T', 0, uint64_t)
#endif

enum {
	NS_PER_S = 1000000000,
	TAKE_MAX = 64,
	KERNEL_SIGSET_BYTES = 8,
};

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

/* The number is free here, or what has it waits under another. */
static int put_and_control(int epoll_fd, int operation, int fd, int number,
			   struct epoll_event *ev)
{
	int flags = fcntl(number, F_GETFD);
	scoped_fd int kept = flags < 0 ? -1 : fcntl(number, F_DUPFD_CLOEXEC, 0);
	if (flags >= 0 && kept < 0)
		return -errno;
	if (dup3(fd, number, O_CLOEXEC) < 0)
		return -errno;
	int r = epoll_ctl(epoll_fd, operation, number, ev) ? -errno : 0;
	if (kept < 0)
		close(number);
	else if (dup3(kept, number, flags & FD_CLOEXEC ? O_CLOEXEC : 0) < 0 && r == 0)
		r = -errno;
	return r;
}

static int control_as(int epoll_fd, int operation, int fd, int number, struct epoll_event *ev)
{
	int r = sys_fault("epoll_ctl");
	if (r)
		return r;
	if (fd == number)
		return epoll_ctl(epoll_fd, operation, fd, ev) ? -errno : 0;
	if (epoll_fd != number)
		return put_and_control(epoll_fd, operation, fd, number, ev);
	scoped_fd int epoll = fcntl(epoll_fd, F_DUPFD_CLOEXEC, 0);
	return epoll < 0 ? -errno : put_and_control(epoll, operation, fd, number, ev);
}

int sys_epoll_add_as(int epoll_fd, int fd, int number, uint32_t events, uint64_t data)
{
	struct epoll_event ev = {.events = events, .data.u64 = data};
	return control_as(epoll_fd, EPOLL_CTL_ADD, fd, number, &ev);
}

int sys_epoll_remove_as(int epoll_fd, int fd, int number)
{
	struct epoll_event unused = {0};
	return control_as(epoll_fd, EPOLL_CTL_DEL, fd, number, &unused);
}

int sys_epoll_take(int epoll_fd, unsigned int n)
{
	int r = sys_fault("epoll_wait");
	if (r)
		return r;
	struct epoll_event ev[TAKE_MAX];
	int got = 0;
	while (n) {
		int most = n < TAKE_MAX ? (int)n : TAKE_MAX;
		r = epoll_wait(epoll_fd, ev, most, 0);
		if (r < 0)
			return -errno;
		got += r;
		if (r < most)
			break;
		n -= (unsigned int)r;
	}
	return got;
}

int sys_poll_now(int fd, int events)
{
	int r = sys_fault("poll");
	if (r)
		return r;
	struct pollfd p = {.fd = fd, .events = (short)events};
	return poll(&p, 1, 0) < 0 ? -errno : (unsigned short)p.revents;
}

int sys_signalfd(uint64_t mask, int flags)
{
	int r = sys_fault("signalfd");
	if (r)
		return r;
	long fd = syscall(SYS_signalfd4, -1, &mask, KERNEL_SIGSET_BYTES, flags | SFD_CLOEXEC);
	return fd < 0 ? -errno : (int)fd;
}

int sys_timerfd(int clock, int flags)
{
	int r = sys_fault("timerfd_create");
	if (r)
		return r;
	int fd = timerfd_create(clock, flags | TFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int sys_timerfd_get(int fd, struct itimerspec *value)
{
	int r = sys_fault("timerfd_gettime");
	if (r)
		return r;
	return timerfd_gettime(fd, value) ? -errno : 0;
}

int sys_timerfd_set(int fd, int flags, const struct itimerspec *value)
{
	int r = sys_fault("timerfd_settime");
	if (r)
		return r;
	return timerfd_settime(fd, flags, value, NULL) ? -errno : 0;
}

int sys_timerfd_set_ticks(int fd, uint64_t ticks)
{
	int r = sys_fault("ioctl TFD_IOC_SET_TICKS");
	if (r)
		return r;
	return ioctl(fd, TFD_IOC_SET_TICKS, &ticks) ? -errno : 0;
}

int sys_inotify(int flags)
{
	int r = sys_fault("inotify_init1");
	if (r)
		return r;
	int fd = inotify_init1(flags | IN_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int sys_inotify_add(int inotify_fd, int fd, uint32_t mask)
{
	int r = sys_fault("inotify_add_watch");
	if (r)
		return r;
	char path[32];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int number = inotify_add_watch(inotify_fd, path, mask);
	return number < 0 ? -errno : number;
}

int sys_inotify_remove(int inotify_fd, int number)
{
	int r = sys_fault("inotify_rm_watch");
	if (r)
		return r;
	return inotify_rm_watch(inotify_fd, number) ? -errno : 0;
}
