/*
 * kind.h - the kinds of open file descriptions, one file each; kinds.c is the
 * list. files.c finds the descriptions of a frozen tree and asks the kinds in
 * order; open.c makes all of an image again.
 */
#pragma once

#include "parts/files.h"

/* A description as it was seen, by one descriptor of one process. */
struct kind_look {
	struct look *l;
	const struct image_proc *p;
	const struct frozen_proc *fp;
	const struct procfs_fd *fd;
	const char *link;	/* what /proc/PID/fd/N reads as */
	const struct procfs_fdinfo *info; /* its texts last until /proc is read again */
	int file;		/* index of its image_file */
	bool is_gone;		/* no name leads to it: named.h */
};

struct file_kind {
	enum image_file_kind kind;
	/*
	 * Is it of this kind? Of f, flags, pos, mode and mount are there. The
	 * first row that says yes has it.
	 */
	bool (*is)(const struct kind_look *at, const struct image_file *f);
	/* Save it, or refuse: look_refuse(), kind_refuse(). NULL: nothing more. */
	int (*look)(const struct kind_look *at, struct image_file *f, struct err *e);
	/*
	 * Make it again as descriptor o->fds[file]; those of other files that
	 * come with it may be filled, too. Not called for a file that has its
	 * descriptor already. 0 or -errno.
	 */
	int (*open)(struct files_open *o, int file);
	/*
	 * All processes and descriptions have been looked at: find those that
	 * this one refers to, or refuse: kind_refuse_file().
	 */
	int (*look_end)(struct look *l, int file, struct err *e);
	/*
	 * Append what a process must do itself with its descriptor fd: its
	 * numbers are in place, the slots of all descriptions are there still,
	 * too. first: no process before has the description, nor any
	 * descriptor before in this one.
	 */
	void (*load)(struct load *l, const struct image_fd *fd, bool first);
	/* Release what look() put into f; f->own needs no more than free(). */
	void (*free)(struct image_file *f);
};

extern const struct file_kind kind_pipe, kind_eventfd, kind_path, kind_fifo, kind_unlinked,
	kind_node, kind_socket, kind_epoll, kind_timerfd, kind_signalfd,
	kind_pidfd, kind_tty, kind_memfd, kind_inotify;

extern const struct file_kind *const kind_table[];
extern const size_t kind_count;

/* The row of a kind. */
const struct file_kind *kind_of(enum image_file_kind kind);

/* Refuse a description: "<what> cannot be saved yet (<link>)". */
int kind_refuse(const struct kind_look *at, const char *what, struct err *e);

/* The same at the end, with a reason: names the process that was seen first. */
int kind_refuse_file(const struct look *l, int file, const char *why, struct err *e);

/* Open a path of the sandbox, never leaving it: a descriptor or -errno. */
must_check int kind_open_in_root(const struct files_open *o, const char *path, int flags);

/* The same for a file of the image, with its flags and position. */
must_check int kind_open_path(const struct files_open *o, const struct image_file *f);

/* Shall this file be made again? */
static inline bool kind_is_wanted(const struct files_open *o, int file)
{
	return !o->wanted || *(bool *)vec_at(o->wanted, (size_t)file);
}

static inline int *kind_fd(struct files_open *o, int file)
{
	return vec_at(&o->fds, (size_t)file);
}
