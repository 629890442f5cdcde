/*
 * stops.h - processes that a signal has stopped, and what their parents know.
 *
 * A stopped process stops inside the puppet, just before it would return to
 * its own code, and before any other process of the tree runs: the gate opens
 * level by level (engine/gate.h). Level 1 are the stopped processes that have
 * no stopped children, level 2 the stopped parents of these, and so on;
 * whoever is not stopped comes last.
 *
 * Each stop is news for the parent: a signal and something to wait for. What
 * it knew at the checkpoint is taken away again, after all children have
 * stopped and before the parent does or runs.
 */
#pragma once

#include <signal.h>

#include "base/cleanup.h"
#include "parts/image.h"
#include "puppet/prog.h"

/* Children of one process whose stop is not told again; more are. */
enum { STOPS_TOLD_MAX = 32 };

/* All of the tree has been looked at: who stops when. */
void stops_look_end(struct tree_image *im);

/*
 * Ask process `parent` which stops of its children it has not waited for.
 * NULL: the arena is full, and says so.
 */
siginfo_t *stops_ask(struct prog *p, const struct tree_image *im, int parent);
void stops_heard(struct tree_image *im, int parent, const siginfo_t *info);

/* The value of the gate that the threads of process i wait for. */
uint32_t stops_level(const struct image_proc *p);

/* After the gate: forget what is no news, then stop, if that is how it was. */
void stops_load_after(struct prog *after, const struct tree_image *im, int i);
