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

/* Whether a and b map the same thing the same way. */
bool plan_same_mapping(const struct image_vma *a, const struct image_vma *b);

/* Whether their chunk of the template is the same: see parts/stagemap.h. */
bool plan_same_place(const struct image_vma *a, const struct image_vma *b);

/* The only staged mapping of base that v overlaps; NULL: none, or several. */
const struct image_vma *plan_only_overlap(const struct image_proc *base,
					  const struct image_vma *v);

/* The union of two lists of image_run, ascending, into out (appended). -ENOMEM. */
int plan_unite(struct vec *out, const struct vec *a, const struct vec *b);

/* Append [start, end), joined with the last run where they touch. -ENOMEM. */
int plan_add_run(struct vec *runs, uint64_t start, uint64_t end);

struct dump_proc {
	int index;			/* in the image */
	uint64_t key;
	pid_t pid;
	struct image_proc *live;
	const struct image_proc *base;	/* NULL: the template has nothing of it */
	bool is_template;		/* pid is a template: its pages lie at
					 * their staging addresses */
	int pagemap_fd;
	int mem_fd;			/* -1: hidden memory cannot be read */
	struct vec vmas;		/* struct dump_vma, ascending */
	struct vec pull;		/* struct sys_page_run, guest addresses */
	struct vec drop;		/* pages that are gone */
	struct procfs *procfs;		/* that the live process is in */
};
