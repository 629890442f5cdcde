/*
 * tar.h - files as a stream: POSIX tar (ustar with pax records), both ways.
 *
 * Neither side trusts the other's names, nor the files it finds: packing
 * never follows a symbolic link and opens nothing but regular files and
 * directories; unpacking resolves every name below one directory without
 * links, "..", or other mounts. Both run piecewise, so that a keeper stays
 * responsive and memory is bounded. Owners are not carried: what is unpacked
 * belongs to whoever unpacks; set-id bits are dropped.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"

struct tar_counts {
	uint64_t files;		/* of every kind */
	uint64_t bytes;		/* of contents */
	uint64_t skipped;	/* sockets, devices, other mounts */
};

struct tar_pack;

/* Pack what path_fd (O_PATH) stands for as `name`, with all below it. */
must_check int tar_pack_new(int path_fd, const char *name, struct tar_pack **out, struct err *e);
void tar_pack_free(struct tar_pack *p);

/* Append at least `want` bytes to out if there are as many: 1 more, 0 done. */
must_check int tar_pack_some(struct tar_pack *p, struct buf *out, size_t want, struct err *e);
const struct tar_counts *tar_pack_counts(const struct tar_pack *p);

struct tar_unpack;

/*
 * Unpack below dir_fd. rename (may be NULL) is what the first component of
 * every name is replaced by.
 */
must_check int tar_unpack_new(int dir_fd, const char *rename, struct tar_unpack **out,
			      struct err *e);
void tar_unpack_free(struct tar_unpack *u);

must_check int tar_unpack_feed(struct tar_unpack *u, const void *bytes, size_t len,
			       struct err *e);

/* The stream has ended: -EBADMSG if it was cut short. Sets modes of directories. */
must_check int tar_unpack_end(struct tar_unpack *u, struct err *e);
const struct tar_counts *tar_unpack_counts(const struct tar_unpack *u);
