/* tty_queue.h - what is queued in a terminal, both directions. */
#pragma once

#include "parts/image.h"

/*
 * Descriptors of ours: slave with O_RDWR and O_NONBLOCK. Of neither the
 * caller's process has its controlling terminal.
 */
struct tty_ends {
	int master, slave;
};

/*
 * Copy what is queued into t, whose settings are there, and whether the output
 * is stopped; the output not where the keeper has the master (t->command).
 * Whatever fails, the terminal is as it was afterwards, as far as the kernel
 * lets it: each call of the way back is tried several times.
 */
must_check int tty_peek(const struct tty_ends *ends, struct image_tty *t);

/*
 * Give the terminal t's settings, queues and stop; both queues are empty, the
 * master's description does not block and is not in packet mode.
 */
must_check int tty_give(const struct tty_ends *ends, const struct image_tty *t);

/* sys_tty_set() and sys_tty_set_exclusive(), insisting: for what must be put back. */
must_check int tty_set(int fd, unsigned long request, int value);
must_check int tty_set_exclusive(int fd, bool exclusive);
