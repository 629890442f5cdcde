/* timers.h - what is armed after the gate. */
#pragma once

#include "parts/image.h"
#include "puppet/prog.h"

/* Append the timers of all kinds to the program that runs after the gate. */
void timers_load_after(struct prog *after, const struct image_proc *p);
