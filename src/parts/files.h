/* files.h - descriptors: what the kinds of files share with each other. */
#pragma once

#include "parts/part.h"

/* Highest descriptor number in the image, at least 2. */
int files_max_fd(const struct tree_image *im);

/*
 * After all processes were looked at: what descriptions refer to others for.
 */
must_check int files_look_end(struct look *l, struct err *e);

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

struct files_open {
	const struct tree_image *image;
	int root_fd;		/* the sandbox's root, mounts and all */
	const struct vec *wanted; /* bool, one per image.files; NULL: all */
	struct vec fds;		/* int, one per image.files; -1: none */
	struct vec outers;	/* struct files_outer */
};

/*
 * Open every description of the image anew inside a root. On success fds and
 * outers are filled and owned by the caller: files_open_deinit().
 */
must_check int files_open_all(struct files_open *o, struct err *e);
void files_open_deinit(struct files_open *o);
