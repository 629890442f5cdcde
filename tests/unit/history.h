/*
 * history.h - stacks of layers with a past, and what they look like from above.
 *
 * A round puts a new layer on top of a stack and lets random changes happen
 * through an overlay: all that can be done to a tree, with few names, so that
 * files become directories, directories move, and what is gone comes back.
 */
#pragma once

#include <stdint.h>

#include "fsbox.h"

enum { HISTORY_LAYERS = 64, HISTORY_TEXT = 1 << 20 };

struct history {
	const struct fsbox *box;
	uint64_t random;
	struct layer *layer[HISTORY_LAYERS]; /* oldest first */
	size_t n;
	unsigned long serial;
	unsigned int done[32]; /* changes by kind that were made, not refused */
};

void history_init(struct history *h, const struct fsbox *b, uint64_t seed);
void history_deinit(struct history *h);

/* A new layer on top and an overlay to change it through; then end it. */
int history_open(struct history *h);
void history_close(int fd);

/* One round of n random changes. */
void history_round(struct history *h, unsigned int n);

/* Merged view of `n` layers, oldest first, over the base; a descriptor. */
int history_view(const struct fsbox *b, struct layer *const *layer, size_t n);

/*
 * All that can be seen in a view: malloced text, a line a file: path, type,
 * mode, owner, times, size, blocks of data, contents, attributes, which names
 * are of one file.
 */
char *history_look(const struct fsbox *b, int view_fd);
