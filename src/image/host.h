/*
 * host.h - make a skeleton root of this machine.
 *
 * What a program needs to find, and nothing that is somebody's: the top-level
 * directories and merged-usr links, /etc without secrets, the package
 * databases' small files. /usr and /opt are not in it: they are volumes.
 */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

enum {
	HOST_FILE_BYTES_MAX = 8 << 20,   /* larger ones are left out */
	HOST_TOTAL_BYTES_MAX = 64 << 20, /* then copying stops with an error */
};

/*
 * A number that changes when a skeleton made now would differ from an
 * earlier one: /etc's names, sizes and times, the package database, the boot.
 * So nothing needs to be synced when one is made: after a crash it is made
 * anew, and what a checkpoint stands on was synced with the checkpoint.
 */
must_check int host_digest(uint64_t *digest, struct err *e);

/*
 * Fill the empty directory skin_fd with directories as `source` has them, down
 * to where packages are put: see image_skin().
 */
must_check int host_fill_skin(int skin_fd, const char *source, struct err *e);

/* Fill the empty directory root_fd. */
must_check int host_fill(int root_fd, struct err *e);
