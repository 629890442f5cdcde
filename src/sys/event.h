/*
 * event.h - epoll and timers, close-on-exec.
 */
#pragma once

#include <stdint.h>

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
