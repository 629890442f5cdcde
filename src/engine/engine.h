/*
 * engine.h - what checkpoints and incarnations of one keeper have in common.
 *
 * An engine is made once, after the keeper has its namespaces, and survives
 * fork(): the keeper of a fork goes on with a copy.
 */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "image/image.h"
#include "sandbox/confine.h"
#include "sandbox/limits.h"
#include "sandbox/mounts.h"
#include "sandbox/spares.h"
#include "sandbox/spec.h"
#include "store/store.h"
#include "task/freeze.h"
#include "task/remote.h"

struct engine {
	struct store *store;
	struct fs_spares spares;
	struct spec spec;		/* own copy, host volumes included */
	char *root;			/* base directory of "/" */
	struct mounts *mounts;
	struct confine *confine;
	struct limits *limits;
	struct freezer *freezer;
	struct remote_puppet puppet;
	struct vec left;		/* struct inotify_left */
	int init_image_fd;		/* memfd: mulligan-init */
	int confine_fd;			/* memfd: what it confines itself by */
	int next_template_fd;		/* see parts/mapfile.h */
	uint64_t generation;		/* of incarnations, in this keeper */
	bool keep_groups;		/* setgroups is denied here */
	uint64_t bounding;		/* capabilities that a new PID 1 has */
	uint64_t nofile;		/* soft RLIMIT_NOFILE of commands */
};

/* First descriptor number of mapped files in templates. */
enum { ENGINE_TEMPLATE_FDS = 256 };

/*
 * Make an engine for spec (copied), whose root and volumes have been found
 * (image.h) and checked. scratch: an empty directory of the keeper's own.
 */
must_check int engine_init(struct engine *en, struct store *store, const struct spec *spec,
			   const char *root, const char *scratch, struct err *e);
void engine_deinit(struct engine *en);
