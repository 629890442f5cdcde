/*
 * checkpoint.h - take a checkpoint of a running incarnation.
 */
#pragma once

#include "base/stage.h"
#include "engine/incarnation.h"
#include "parts/part.h"

/* What the keeper takes part in while everything is frozen. */
struct checkpoint_hooks {
	void *ctx;
	/*
	 * The tree is frozen, and not looked at yet: drain the commands'
	 * streams. `outers` of checkpoint_take() is read after that. May be
	 * NULL.
	 */
	int (*stopped)(void *ctx, struct err *e);
	/*
	 * The tree is frozen: drain the commands' streams and save the handles.
	 * Nothing has been changed yet; an error ends the checkpoint.
	 */
	int (*frozen)(void *ctx, struct err *e);
};

struct checkpoint_stats {
	struct stage_times times;
	uint64_t frozen_ns;
	size_t processes, threads;
	uint64_t dirty_pages, copied_bytes;
	size_t files_carried;
	bool files_cut;			/* false: nothing had been written */
};

/*
 * The checkpoint that has no processes and the base's files alone: create
 * begins with it. Its template is the first of the family.
 */
must_check int checkpoint_first(struct checkpoint **out, struct err *e);

/*
 * Checkpoint a RUNNING incarnation, which goes on. outers: the keeper's ends
 * of the commands' pipes and terminals (struct part_outer). *out has one reference; the
 * incarnation holds another, as what its next checkpoint starts from.
 * On failure nothing has changed. ENOTSUP: something cannot be saved; the
 * error names it.
 */
must_check int checkpoint_take(struct incarnation *in, const struct vec *outers,
			       const struct checkpoint_hooks *hooks, struct checkpoint **out,
			       struct checkpoint_stats *stats, struct err *e);

/*
 * Work that the next checkpoint would otherwise do first: the next overlays,
 * a fork of the template. A second call in a row finds nothing to do.
 */
must_check int checkpoint_prepare(struct incarnation *in, struct err *e);
