/* pagemap.h - PAGEMAP_SCAN (6.7) and userfaultfd write protection, as used here. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernel/facts.h"

enum {
	PAGE_WPALLOWED = 1 << 0,
	PAGE_WRITTEN = 1 << 1,
	PAGE_FILE = 1 << 2,
	PAGE_PRESENT = 1 << 3,
	SCAN_WP_MATCHING = 1 << 0,
	SCAN_CHECK_WPASYNC = 1 << 1,
};

struct page_run {
	uint64_t start, end, categories;
};

struct scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted,
		category_mask, category_anyof_mask, return_mask;
};

/* PAGEMAP_SCAN on a pagemap descriptor: number of runs, or -1 and errno. */
long pagemap_scan(int fd, struct scan *s);

/* Scan [start, start + len) for written pages; the fast form. */
long pagemap_written(int fd, void *start, size_t len, struct page_run *runs, size_t n_runs,
		     uint64_t flags);

int pagemap_open_self(void);

/* A userfaultfd with asynchronous write protection; skips without it. */
int uffd_open(void);

/* Register a range for write protection, and protect it: 0 or -1, errno. */
int uffd_register(int fd, void *start, size_t len);
int uffd_protect(int fd, void *start, size_t len);
