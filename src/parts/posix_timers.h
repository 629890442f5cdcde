/* posix_timers.h - timers of timer_create(2), for timers.c and the tree. */
#pragma once

#include "parts/part.h"

must_check int posix_timers_look(struct look *l, int proc, struct err *e);
void posix_timers_ask(const struct image_proc *p, struct asked *a);
void posix_timers_heard(struct image_proc *p, const struct asked *a);

/* By the first thread, when all others are there and before the filter: make. */
void posix_timers_load(struct prog *p, const struct image_proc *proc);

/* By the program that runs after the gate: arm. */
void posix_timers_load_after(struct prog *after, const struct image_proc *proc);
