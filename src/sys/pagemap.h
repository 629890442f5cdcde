/*
 * pagemap.h - which pages of a process are there, and which were written.
 *
 * PAGEMAP_SCAN (6.7) on a descriptor of /proc/<pid>/pagemap, and the file's
 * own words before it. Facts, each with a test in tests/kernel:
 *  - only "written" asked and returned takes the fast path, 3 ns a page;
 *  - a VMA at a time: over a mixed range EPERM comes after earlier VMAs were
 *    armed again and their results thrown away;
 *  - a call may stop before the end although its vector has room.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/vec.h"

/* Pages [start, end). */
struct sys_page_run {
	uint64_t start, end;
};

/*
 * Append the runs of pages of one VMA, or of neighbours, written since they
 * were armed, and arm them again in the same pass. -EPERM: a VMA is not
 * registered for dirty tracking, it is new; what was written in those before
 * it is lost. fd is of /proc/<pid>/pagemap.
 */
must_check int sys_pagemap_written(int fd, uint64_t start, uint64_t end,
				   struct vec *runs);

/*
 * Append the runs of pages with contents of their own: present or swapped,
 * not the zero page, not clean pages of a file. Falls back to the pagemap's
 * words, where the zero page counts as contents.
 */
must_check int sys_pagemap_anonymous(int fd, uint64_t start, uint64_t end,
				     struct vec *runs);

/*
 * Append the runs of pages that are present and not a file's. Less than the
 * above: what is in the swap looks like what is armed and was never touched.
 */
must_check int sys_pagemap_private(int fd, uint64_t start, uint64_t end, struct vec *runs);

/* Arm the pages of a registered range, unpopulated ones too. */
must_check int sys_pagemap_arm(int fd, uint64_t start, uint64_t end);
