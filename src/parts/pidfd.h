/* pidfd.h - pidfds, which are opened when the tree has been forked. */
#pragma once

#include "parts/part.h"

/* Addresses of words that PID 1 and the tree count in. */
struct pidfd_words {
	uint64_t joined;	/* processes that are there */
	uint64_t opened;	/* 1: PID 1 has all pidfds */
	uint64_t taken;		/* processes that took theirs */
};

/* Is it not there yet when the keeper opens the files? All pidfds are not. */
bool pidfd_is_late(const struct image_file *f);

/* PID 1, when it has forked: open them, wait until they are taken. */
void pidfd_emit_open(struct prog *p, const struct tree_image *im, unsigned int file_slot,
		     const struct pidfd_words *words, uint32_t members);

/* A process, before its numbers are put in place: take those it has. */
void pidfd_load(struct load *l);
