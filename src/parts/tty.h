/* tty.h - pseudo-terminals: what a tree has of them, and how they come back. */
#pragma once

#include "parts/files.h"
#include "parts/tty_queue.h"

/*
 * Before the processes are looked at: what is on its way to a terminal that
 * somebody's keyboard signals come from is let in, so that the signals are
 * there to be seen.
 */
must_check int tty_look_begin(struct look *l, struct err *e);

/*
 * After all processes were looked at: find the masters that commands have, and
 * the controlling terminals; save settings and queues. -EAGAIN: the foreground
 * group has just gone.
 */
must_check int tty_look_end(struct look *l, struct err *e);

/* The terminal that this process is the session leader of, or NULL. */
const struct image_tty *tty_of_leader(const struct tree_image *im, const struct image_proc *p);

/* The controlling terminal of the process's session, or NULL. */
const struct image_tty *tty_of_session(const struct tree_image *im, const struct image_proc *p);

/*
 * Restoring: make all terminals of the image, ends without anything in them;
 * when the files are open, give them what they had, and close what nobody has.
 */
must_check int tty_open_all(struct files_open *o, struct err *e);
must_check int tty_open_end(struct files_open *o, struct err *e);
void tty_open_deinit(struct files_open *o);

/* Make one description again: see kind.h. */
must_check int tty_open_file(struct files_open *o, int file);
