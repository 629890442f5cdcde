/*
 * event.h - epoll, timers, signalfd, inotify: close-on-exec.
 */
#pragma once

#include <stdint.h>
#include <time.h>

#include "base/cleanup.h"

/* An epoll descriptor or -errno. */
must_check int sys_epoll_new(void);
must_check int sys_epoll_add(int epoll_fd, int fd, uint32_t events, uint64_t data);

/* For an entry that is there; these cannot fail. */
void sys_epoll_change(int epoll_fd, int fd, uint32_t events, uint64_t data);
void sys_epoll_remove(int epoll_fd, int fd);

/* A timer on the monotonic clock, not blocking; readable once it expired. */
must_check int sys_timer_new(void);

/* Let it expire at that time; 0: never. */
void sys_timer_set(int timer_fd, uint64_t at_ns);

/*
 * Register fd as if its number here were `number`: an epoll knows what it
 * watches by description and number. What has that number here keeps it.
 * -EBADF: RLIMIT_NOFILE does not allow it.
 */
must_check int sys_epoll_add_as(int epoll_fd, int fd, int number, uint32_t events, uint64_t data);

/* Remove what was registered so. */
must_check int sys_epoll_remove_as(int epoll_fd, int fd, int number);

/* Take up to n events without waiting and forget them: how many, -errno. */
must_check int sys_epoll_take(int epoll_fd, unsigned int n);

/* Which of these events (POLL*) are there now? POLLERR and POLLHUP always count. */
must_check int sys_poll_now(int fd, int events);

/* mask: bit 0 is signal 1. flags: SFD_NONBLOCK. */
must_check int sys_signalfd(uint64_t mask, int flags);

/* Timers of others: any clock; flags: TFD_NONBLOCK, TFD_TIMER_*. */
must_check int sys_timerfd(int clock, int flags);
must_check int sys_timerfd_get(int fd, struct itimerspec *value);
must_check int sys_timerfd_set(int fd, int flags, const struct itimerspec *value);
/* Expirations that were not read yet, at least 1. Needs CONFIG_CHECKPOINT_RESTORE. */
must_check int sys_timerfd_set_ticks(int fd, uint64_t ticks);

/* flags: IN_NONBLOCK. */
must_check int sys_inotify(int flags);
/* Watch what a descriptor (O_PATH too) stands for: the number of the watch. */
must_check int sys_inotify_add(int inotify_fd, int fd, uint32_t mask);
must_check int sys_inotify_remove(int inotify_fd, int number);
