/* files.h - descriptors: what the kinds of files share with each other. */
#pragma once

#include <time.h>

#include "parts/part.h"

/* Highest descriptor number in the image, at least 2. */
int files_max_fd(const struct tree_image *im);

/* The overlay mount with this id, NULL: it is none. */
const struct part_mount *files_find_mount(const struct look *l, uint64_t mnt_id);

/* Before all else: list the descriptors of all processes. */
must_check int files_look_begin(struct look *l, struct err *e);

/*
 * After all processes were looked at: what descriptions refer to others for.
 */
must_check int files_look_end(struct look *l, struct err *e);

/*
 * A descriptor of ours, which it takes over, out of the queue of image.files
 * [queue]: index of its description, a new one where no process has it. Only
 * in look_end of a kind. -errno with e set.
 */
must_check int files_look_own(struct look *l, int queue, int fd, struct err *e);

/*
 * After all else that needs the received descriptors: what the kinds do in
 * the process; close them, then take the POSIX locks.
 */
void files_load_end(struct load *l);

/* The keeper's end of a command's stream, made by files_open(). */
struct files_outer {
	uint64_t command;
	int stream;
	int fd;
};

/* A timer that runs from the moment in which the gate opens. */
struct files_timer {
	int fd;
	int flags;		/* TFD_TIMER_* */
	uint64_t ticks;
	struct itimerspec value;
};

/* Arm them all; that cannot fail. They are released, too. */
void files_arm_timers(struct vec *timers);
void files_timers_deinit(struct vec *timers);

struct files_open {
	const struct tree_image *image;
	int root_fd;		/* the sandbox's root, mounts and all */
	const struct vec *wanted; /* bool, one per image.files; NULL: all */
	int pid1_pidfd;		/* has made the sockets: sockets.h */
	unsigned int born;	/* ... at descriptors from here on */
	int pidns_fd;		/* borrowed: of PID 1 */
	int netns_fd;		/* borrowed: to make sockets in */
	struct vec fds;		/* int, one per image.files; -1: none */
	struct vec ends;	/* int, one per image.files: the closed other end of a
				 * connection, while that is filled; -1: none */
	struct vec outers;	/* struct files_outer */
	struct vec timers;	/* struct files_timer */
	struct vec inotifys;	/* int: what they are told before all is ready counts
				 * for nothing; inotify_quiet() */
	struct vec ttys;	/* struct tty_ends, one per image.ttys (tty.c) */
};

/*
 * Open every description of the image anew inside a root. On success fds,
 * outers and timers are filled and owned by the caller: files_open_deinit().
 */
must_check int files_open_all(struct files_open *o, struct err *e);
void files_open_deinit(struct files_open *o);
