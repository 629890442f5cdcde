/*
 * tty.h - pseudo-terminals: pairs of a sandbox's devpts, size, raw mode.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
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

enum {
	SYS_TTY_SLAVE_MAJOR = 136, /* Documentation/admin-guide/devices.txt */
	SYS_TTY_CURRENT_MAJOR = 5,
	SYS_TTY_CURRENT_MINOR = 0, /* /dev/tty */
	SYS_TTY_MASTER_MINOR = 2, /* /dev/ptmx */
	SYS_TTY_QUEUE = 4096,	   /* N_TTY_BUF_SIZE: bytes that a reader has waiting */
};

/*
 * The halves of sys_tty_open(): a new master, still locked; one more slave of
 * it. With O_CLOEXEC the slave's F_GETFL and fdinfo say O_CLOEXEC whatever the
 * descriptor's own flag is: TIOCGPTPEER, unlike open(2), leaves it there.
 */
must_check int sys_tty_master(int root_fd, int flags);
must_check int sys_tty_peer(int master_fd, int flags);

/* The kernel's struct termios2 (asm/termbits.h), which libc's headers hide. */
struct sys_termios {
	uint32_t iflag, oflag, cflag, lflag;
	uint8_t line;
	uint8_t cc[19];
	uint32_t ispeed, ospeed;
};

/* Of either end: the settings are the slave's. Nothing waits, nothing is lost. */
must_check int sys_tty_get_settings(int fd, struct sys_termios *out);
must_check int sys_tty_set_settings(int fd, const struct sys_termios *in);
/* Are any of them locked (TIOCGLCKTRMIOS)? 1, 0. */
must_check int sys_tty_settings_locked(int fd);

must_check int sys_tty_get_winsize(int fd, struct winsize *out);
must_check int sys_tty_set_winsize(int fd, const struct winsize *in);

/*
 * Requests of ioctl_tty(2) that tell or take an int: TIOCGPTN, TIOCGPTLCK,
 * TIOCSPTLCK, TIOCGPKT, TIOCPKT, TIOCGEXCL, TIOCGETD, TIOCGDEV, TIOCGSID,
 * TIOCGPGRP, FIONREAD. -EIO: it was hung up.
 */
must_check int sys_tty_get(int fd, unsigned long request, int *value);
must_check int sys_tty_set(int fd, unsigned long request, int value);

/* TIOCEXCL or TIOCNXCL. */
must_check int sys_tty_set_exclusive(int fd, bool exclusive);

/* Stop or start the output: TCOOFF, TCOON of tcflow(3). */
must_check int sys_tty_flow(int fd, int action);

/*
 * What poll(2) says now; bytes that are on their way are let in before, as
 * far as nothing is there yet.
 */
must_check int sys_tty_poll(int fd, int events);

/*
 * Open /dev/tty of the sandbox as a description of the terminal slave_fd,
 * which must not be a controlling one.
 */
must_check int sys_tty_open_current(int root_fd, int slave_fd, int flags);

/* Window size in characters; the foreground group gets SIGWINCH. */
must_check int sys_tty_set_size(int fd, uint16_t rows, uint16_t cols);
must_check int sys_tty_get_size(int fd, uint16_t *rows, uint16_t *cols);

/* Make a client's terminal raw, keeping what it was in *was. -ENOTTY. */
must_check int sys_tty_raw(int fd, struct termios *was);
void sys_tty_restore(int fd, const struct termios *was);
