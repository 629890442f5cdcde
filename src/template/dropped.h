/*
 * dropped.h - pages of private mappings of files that were written, and dropped
 * without being written again (MADV_DONTNEED).
 *
 * The page shows the file again. In a mapping of a file the kernel leaves a
 * mark that says "armed", so such a page does not count as written, and looks
 * as one does that was never touched; only a list of what the template has
 * tells (tests/kernel/test_pagemap.c).
 */
#pragma once

#include "template/plan.h"

/*
 * Of a mapping that is kept: what the template has and the process has not is
 * dropped there, too, or copied where it may lie in the swap. The file's
 * pages end at file_end. first: where its runs in dp->pull begin.
 */
must_check int dropped_find(struct dump_proc *dp, const struct image_vma *v, uint64_t file_end,
			 size_t first);

/* Of one that is built afresh: the template has what is pulled from first on. */
must_check int dropped_note_built(struct dump_proc *dp, size_t first);
