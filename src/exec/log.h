/*
 * log.h - what a stream of a command said, in bounded memory.
 *
 * Every byte has a position, counted from 0 and never reset. The first
 * head_bytes and at least the last tail_bytes are kept, what lies between is
 * forgotten; the total is exact. A file can take the whole (the spill).
 *
 *	0        head_bytes                 total - tail_bytes      total
 *	|== kept ==|...... forgotten ..........|======= kept =======|
 *
 * The bytes lie in chunks that copies of the log share. log_copy() is cheap:
 * it is how a checkpoint remembers a log. A log writes into its last chunk
 * only if nobody wrote behind its own end there, so copies never see each
 * other's later bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/vec.h"

enum {
	LOG_HEAD_BYTES = 1 << 20,
	LOG_TAIL_BYTES = 1 << 20,
};

struct log {
	struct vec parts;     /* of kept bytes, by position; internal */
	uint64_t total_bytes; /* written so far: the position of the end */
	uint64_t kept_bytes;
	uint64_t head_bytes; /* limits */
	uint64_t tail_bytes;
	int spill_fd;    /* owned; -1: none */
	int spill_error; /* errno value: the spill ends early */
	bool lost;       /* memory was out: less than the limits is kept */
};

/* spill_fd: file that takes the whole, now the log's, or -1. */
void log_init(struct log *l, uint64_t head_bytes, uint64_t tail_bytes, int spill_fd);
void log_deinit(struct log *l);

/* Add bytes. Never fails: what memory cannot hold is counted, and lost. */
void log_add(struct log *l, const void *bytes, size_t len);

/*
 * Copy up to cap kept bytes from the first kept position >= pos to out;
 * *at is where they begin (beyond pos: the bytes between are forgotten).
 * Returns their number, 0 at the end. They never cross a gap.
 */
size_t log_read(const struct log *l, uint64_t pos, void *out, size_t cap, uint64_t *at);

/* Whether bytes were forgotten, and the first position that is. */
bool log_is_truncated(const struct log *l);
uint64_t log_gap(const struct log *l);

/* dst (overwritten) becomes what src is now, without the spill. 0 or -ENOMEM. */
must_check int log_copy(struct log *dst, const struct log *src);

/* Cut the spill file to the log's end, after it was given to a copy. */
void log_cut_spill(struct log *l);
