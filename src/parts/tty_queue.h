/* tty_queue.h - what is queued in a terminal, both directions. */
#pragma once

#include "parts/image.h"

/*
 * Descriptors of ours: slave with O_RDWR and O_NONBLOCK; the master's
 * description must not block, and not be in packet mode. Of neither the
 * caller's process has its controlling terminal.
 */
struct tty_ends {
	int master, slave;
};

/*
 * Take what is queued into t, whose settings are there, and whether the output
 * is stopped. 1: the terminal is not as it was, tty_give() makes it so again;
 * 0: nothing was there, nothing was touched; -errno: as 1.
 */
must_check int tty_take(const struct tty_ends *ends, struct image_tty *t, bool output);

/* Give the terminal t's settings, queues and stop; both queues are empty. */
must_check int tty_give(const struct tty_ends *ends, const struct image_tty *t);
