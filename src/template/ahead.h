/*
 * ahead.h - the template of the next checkpoint, made before it is needed.
 *
 * Forking each template from the one before is quadratic: the kernel keeps a
 * chain of anon_vmas through all generations (100 mappings: 0.8 ms a fork at
 * depth 9, 314 ms at 999). So the next one, of depth n, is a fork of the
 * ancestor whose depth is n with its lowest set bit cleared, brought up to the
 * parent's state by copying what changed in between, out of the parent's
 * template. The chain of living forks is then log2 n long:
 *
 *	depth	1  2  3  4  5  6  7  8
 *	fork of	0  0  2  0  4  4  6  0
 *
 * Copying is done while the guest runs. tests/kernel/template_chain.c has the
 * figures of both rules.
 */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"
#include "parts/image.h"
#include "template/template.h"

/* Lowest bits to clear for the ancestor that depth n is forked from. */
unsigned int ahead_level(unsigned int n);

/*
 * Make *out a fork of ancestor that has the memory of parent. level is
 * ahead_level() of the next depth. -EOPNOTSUPP: the parent has memory that
 * cannot be read by others; fork the parent itself.
 */
must_check int ahead_make(const struct template *ancestor, const struct tree_image *ancestor_image,
			  unsigned int ancestor_depth, const struct template *parent,
			  struct tree_image *parent_image, unsigned int level,
			  struct template *out, struct err *e);
