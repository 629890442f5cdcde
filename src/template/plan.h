/* plan.h - the plan of a dump; within template/ only. */
#pragma once

#include "parts/image.h"
#include "sys/pagemap.h"

enum plan_kind { PLAN_KEEP = 1, PLAN_GROW, PLAN_SAME, PLAN_BUILD };

struct dump_vma {
	enum plan_kind kind;
	size_t vma;			/* in the live process's image_proc */
	const struct image_vma *base;	/* what the template has there, or NULL */
	size_t first_pull, end_pull;	/* in dump_proc.pull */
	bool was_tracked;
};

struct dump_proc {
	int index;			/* in the image */
	uint64_t key;
	pid_t pid;
	struct image_proc *live;
	const struct image_proc *base;	/* NULL: the template has nothing of it */
	int pagemap_fd;
	int mem_fd;
	struct vec vmas;		/* struct dump_vma, ascending */
	struct vec pull;		/* struct sys_page_run, guest addresses */
	struct vec drop;		/* pages that are gone */
};
