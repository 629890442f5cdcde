/*
 * restore.h - build an incarnation from a checkpoint: create, rollback, fork.
 */
#pragma once

#include "base/stage.h"
#include "engine/incarnation.h"

struct restore_options {
	bool track;		/* arm dirty tracking before it is parked, so
				 * that its first checkpoint is incremental */
};

/*
 * Build an incarnation of c, parked at the gate. On failure nothing is left
 * of it and c is as it was.
 */
must_check int incarnation_build(struct engine *en, struct checkpoint *c,
				 const struct restore_options *options,
				 struct incarnation **out, struct stage_times *times,
				 struct err *e);
