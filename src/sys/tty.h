/*
 * tty.h - pseudo-terminals: pairs of a sandbox's devpts, size, raw mode.
 */
#pragma once

#include <stdint.h>
#include <termios.h>

#include "base/cleanup.h"

struct sys_tty {
	int master_fd;
	int slave_fd;
	unsigned int number; /* N of /dev/pts/N */
};

/*
 * Open a new pair of the devpts instance that is mounted at dev/pts below
 * root_fd. The way there is the guest's to bend: it is resolved inside
 * root_fd, must end in a devpts, and its ptmx must be one (-ENODEV). Both ends
 * are close-on-exec, neither becomes a controlling terminal, the master does
 * not block. 0 or -errno.
 */
must_check int sys_tty_open(int root_fd, struct sys_tty *out);

/* Window size in characters; the foreground group gets SIGWINCH. */
must_check int sys_tty_set_size(int fd, uint16_t rows, uint16_t cols);
must_check int sys_tty_get_size(int fd, uint16_t *rows, uint16_t *cols);

/* Make a client's terminal raw, keeping what it was in *was. -ENOTTY. */
must_check int sys_tty_raw(int fd, struct termios *was);
void sys_tty_restore(int fd, const struct termios *was);
