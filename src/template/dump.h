/*
 * dump.h - bring a template's memory from one checkpoint to the next.
 *
 * The template (a fork of an older checkpoint's) holds what `base` says; the
 * frozen processes have what `image` says. dump_plan() compares the two,
 * mapping by mapping, and asks dirty tracking for written pages; dump_run()
 * makes the template execute the difference. A mapping of the program is one
 * VMA in the template, or a later mremap(2) of it would fail:
 *
 *	KEEP	tracked, inside one base mapping: its written pages
 *	GROW	the same, longer at its tail: mremap, then its written pages
 *	SAME	not tracked by choice, equal, no written pages: nothing
 *	BUILD	anything else: map it afresh, copy all its pages
 *
 * A page that was written and is gone (MADV_DONTNEED) is dropped in the
 * template too.
 */
#pragma once

#include "base/err.h"
#include "parts/image.h"
#include "parts/part.h"
#include "template/template.h"
#include "template/tracker.h"

struct dump {
	struct tree_image *image;		/* stage addresses are written into it */
	const struct tree_image *base;	/* what the template holds now */
	unsigned int depth;		/* of the checkpoint that image is for */
	struct vec procs;		/* struct dump_proc, for LIVE processes */
	uint64_t pages;			/* to be copied */
};

void dump_init(struct dump *d, struct tree_image *image, const struct tree_image *base,
	       unsigned int depth);
void dump_deinit(struct dump *d);

/*
 * Look at the memory of process i of the image, which is frozen and tracked
 * as t. Arms again what was armed. -ENOSPC: too much address space.
 */
must_check int dump_plan(struct dump *d, int i, struct procfs *procfs, pid_t pid,
			 struct tracked *t, struct err *e);

/* After the plans: bring the image's lists of changed pages up to date. */
must_check int dump_note_changes(struct dump *d, struct err *e);

/* Let the template execute the plans; opened files become its descriptors. */
must_check int dump_run(struct dump *d, const struct template *t, const struct vec *opened,
			struct err *e);

/* Register and arm what is not tracked yet; t becomes fresh. */
must_check int dump_arm(struct dump *d, int i, struct tracked *t, struct err *e);

/* Arm all of a process that was restored from image and is still parked. */
must_check int dump_arm_restored(const struct image_proc *p, struct procfs *procfs, pid_t pid,
				 int uffd, struct err *e);
