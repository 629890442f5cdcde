/* merge_internal.h - what merge.c and merge_look.c share. */
#pragma once

#include <sys/stat.h>

#include "base/vec.h"
#include "sandbox/merge.h"

/* A directory of one layer. */
struct merge_spot {
	size_t layer;
	char *path;	/* "." is the root */
	bool whiteouts; /* files in it may be whiteouts by attribute */
};

/* A directory of the new layer, and what it is made of. */
struct merge_dir {
	char *path;
	struct vec spots; /* struct merge_spot, newest first */
	char *below;      /* the directory below the run that it goes on in, NULL: none */
	bool opaque;      /* has to say so */
	bool redirect;    /* has to say that below is not at its own path */
};

enum merge_kind {
	MERGE_NONE,
	MERGE_GONE, /* a whiteout */
	MERGE_FILE, /* anything but a directory */
	MERGE_DIR,
};

struct merge_found {
	enum merge_kind kind;
	struct stat st;   /* of the newest */
	struct vec spots; /* as above; of a file one */
	char *below;      /* as above */
};

/* What `name` in that directory is. Freed with merge_found_deinit(). */
must_check int merge_find(const struct merge *m, const struct merge_dir *dir, const char *name,
			  struct merge_found *out);
void merge_found_deinit(struct merge_found *f);

/* The root, made of the roots of all layers. */
must_check int merge_find_root(const struct merge *m, struct merge_dir *root);
void merge_dir_deinit(struct merge_dir *d);

/* "dir/name", or "name" in "."; malloced, NULL: no memory. */
char *merge_join(const char *dir, const char *name);
