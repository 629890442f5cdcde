#include "sys/pagemap.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "sys/fault.h"
#include "sys/probe.h"

enum { PAGE = 4096, REGIONS = 512 };

/* include/uapi/linux/fs.h of 6.7, absent from older headers */
struct page_region {
	uint64_t start, end, categories;
};

struct pm_scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define PAGEMAP_SCAN_ _IOWR('f', 16, struct pm_scan_arg)

enum {
	SCAN_WP_MATCHING = 1,
	SCAN_CHECK_WPASYNC = 2,
	IS_WRITTEN = 1 << 1,
	IS_FILE = 1 << 2,
	IS_PRESENT = 1 << 3,
	IS_SWAPPED = 1 << 4,
	IS_PFNZERO = 1 << 5,
};

#define WORD_PRESENT (1ull << 63)
#define WORD_SWAPPED (1ull << 62)

/* Neighbours become one run, but not with those before `first`: another VMA's. */
static int add_run(struct vec *runs, size_t first, uint64_t start, uint64_t end)
{
	if (runs->n > first) {
		struct sys_page_run *last = vec_at(runs, runs->n - 1);
		if (last->end == start) {
			last->end = end;
			return 0;
		}
	}
	struct sys_page_run *run = vec_add(runs);
	if (!run)
		return -ENOMEM;
	*run = (struct sys_page_run){ start, end };
	return 0;
}

static int scan(int fd, struct pm_scan_arg arg, struct vec *runs)
{
	struct page_region region[REGIONS];
	uint64_t end = arg.end;
	size_t first = runs ? runs->n : 0;
	arg.size = sizeof(arg);
	arg.vec = runs ? (uint64_t)region : 0;
	arg.vec_len = runs ? REGIONS : 0;
	while (arg.start < end) {
		int r = sys_fault("pagemap_scan");
		if (r)
			return r;
		long n = ioctl(fd, PAGEMAP_SCAN_, &arg);
		if (n < 0)
			return -errno;
		for (long i = 0; runs && i < n; i++) {
			r = add_run(runs, first, region[i].start, region[i].end);
			if (r)
				return r;
		}
		arg.start = arg.walk_end;
	}
	return 0;
}

int sys_pagemap_written(int fd, uint64_t start, uint64_t end, struct vec *runs)
{
	return scan(fd,
		    (struct pm_scan_arg){ .flags = SCAN_WP_MATCHING | SCAN_CHECK_WPASYNC,
					  .start = start,
					  .end = end,
					  .category_mask = IS_WRITTEN,
					  .return_mask = IS_WRITTEN },
		    runs);
}

/* there: bits of a word, of which one must be set. */
static int words_anonymous(int fd, uint64_t start, uint64_t end, uint64_t there, struct vec *runs)
{
	uint64_t word[REGIONS];
	size_t first = runs->n;
	for (uint64_t at = start; at < end;) {
		uint64_t want = (end - at) / PAGE < REGIONS ? (end - at) / PAGE : REGIONS;
		ssize_t n = pread(fd, word, want * sizeof(word[0]),
				  (off_t)(at / PAGE * sizeof(word[0])));
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		for (size_t i = 0; i < (size_t)n / sizeof(word[0]); i++, at += PAGE) {
			/* Documentation/admin-guide/mm/pagemap.rst */
			bool file = word[i] >> 61 & 1;
			int r = word[i] & there && !file ? add_run(runs, first, at, at + PAGE) : 0;
			if (r)
				return r;
		}
	}
	return 0;
}

int sys_pagemap_anonymous(int fd, uint64_t start, uint64_t end, struct vec *runs)
{
	if (!sys_has(SYS_F_PAGEMAP_SCAN))
		return words_anonymous(fd, start, end, WORD_PRESENT | WORD_SWAPPED, runs);
	return scan(fd,
		    (struct pm_scan_arg){ .start = start,
					  .end = end,
					  .category_inverted = IS_FILE | IS_PFNZERO,
					  .category_mask = IS_FILE | IS_PFNZERO,
					  .category_anyof_mask = IS_PRESENT | IS_SWAPPED,
					  .return_mask = IS_PRESENT },
		    runs);
}

int sys_pagemap_private(int fd, uint64_t start, uint64_t end, struct vec *runs)
{
	if (!sys_has(SYS_F_PAGEMAP_SCAN))
		return words_anonymous(fd, start, end, WORD_PRESENT, runs);
	return scan(fd,
		    (struct pm_scan_arg){ .start = start,
					  .end = end,
					  .category_inverted = IS_FILE,
					  .category_mask = IS_FILE | IS_PRESENT,
					  .return_mask = IS_PRESENT },
		    runs);
}

int sys_pagemap_arm(int fd, uint64_t start, uint64_t end)
{
	return scan(fd,
		    (struct pm_scan_arg){ .flags = SCAN_WP_MATCHING,
					  .start = start,
					  .end = end,
					  .category_mask = IS_WRITTEN,
					  .return_mask = IS_WRITTEN },
		    NULL);
}
