/* inotify.h - what is done with inotify beside the table of kinds. */
#pragma once

#include "parts/files.h"

struct inotify_watch {
	int number;
	uint32_t mask;		/* IN_* */
	int mount;		/* fs tree's; IMAGE_NONE: a memory file system */
	char *path;		/* from the sandbox's root */
	/* while looking */
	uint64_t dev, ino;	/* as the kernel has them: ino is not always st_ino */
	char *handle;		/* .. of the file, as fdinfo shows it */
};

struct inotify {
	struct vec watches;	/* struct inotify_watch, by number */
	int next;		/* number of the next one */
};

/* NULL: it is of another kind. */
struct inotify *inotify_of(const struct image_file *f);

/* Does it watch anything on this mount of the fs tree? */
bool inotify_is_on(const struct image_file *f, int mount);

/*
 * The descriptors are listed, nothing of the sandbox has been opened: no
 * inotify may have events. -EAGAIN, refused: one has. Later ones are ours.
 */
must_check int inotify_look_begin(struct look *l, struct err *e);

/* Find the paths of all watches of an image, or refuse. (inotify_find.c) */
must_check int inotify_find(struct look *l, struct err *e);

/* The watches that the lines of an fdinfo tell. 0 or -errno. */
must_check int inotify_parse(const char *text, struct vec *watches);
void inotify_watches_deinit(struct vec *watches);

/*
 * All descriptions are there: let those among them that were made watch
 * again. *file: the one that fails.
 */
must_check int inotify_join(struct files_open *o, int *file);

/* Forget the events of these descriptors (int), and close them. Cannot fail. */
void inotify_quiet(struct vec *fds);

/* Forget those of the live ones, which are of our making; all is frozen still. */
void inotify_quiet_live(struct look *l);

/*
 * An inotify that is nobody's any more. Closing the last descriptor of one
 * waits for a grace period, some 10 ms, unless its watches have long gone.
 */
struct inotify_left {
	int fd;
	uint64_t since_ns;
};

/* Take over fd, and remove the watches that it has of those in `in`, or NULL. */
void inotify_leave(struct vec *left, int fd, const struct inotify *in);

/* Close those that were left long ago, or all: how many there are still. */
size_t inotify_close_left(struct vec *left, bool all);
