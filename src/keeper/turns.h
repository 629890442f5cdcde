/*
 * turns.h - keepers of one family take turns at a template.
 *
 * While an incarnation is being built its PID 1 shares the memory of the
 * template it was cloned from; whatever anybody asks of that template
 * meanwhile would meet a half-written request. The template cannot know when
 * PID 1 has executed, so the keepers agree among themselves: a record lock on
 * the byte whose number is the template's pid, in a memfd that the family
 * shares by fork(). Such a lock is a process's own and ends with it.
 *
 * Who needs several takes them in ascending order.
 */
#pragma once

#include <sys/types.h>

#include "base/cleanup.h"
#include "base/err.h"

/* The family's file: inherited by forks. Descriptor or -errno. */
must_check int turns_open(struct err *e);

/* Wait for the turn at one template. Keepers hold one for some milliseconds. */
must_check int turn_take(int turns_fd, pid_t template_pid, struct err *e);
void turn_give(int turns_fd, pid_t template_pid);
