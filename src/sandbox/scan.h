/*
 * scan.h - know the files with several names in a live upper, cheaply.
 *
 * Such files are carried at every cut, and finding them means looking at each
 * entry of the upper, 4 us apiece. So the upper is scanned before the freeze,
 * and again while frozen; the second time only directories whose ctime has
 * changed are read. Making or removing a name changes its directory.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/vec.h"

struct scan {
	struct vec dirs; /* struct scan_dir, by path */
};

#define SCAN_INIT ((struct scan){.dirs = VEC_INIT(struct scan_dir)})

struct scan_link {
	uint64_t ino;
	char *path;
};

struct scan_dir {
	char *path;
	uint64_t ino;
	int64_t ctime_s;
	uint32_t ctime_ns;
	bool racy;          /* may change again without its ctime changing */
	struct vec subdirs; /* char *, paths */
	struct vec links;   /* struct scan_link: entries with several names */
};

/* A file of a layer with more than one name. */
struct carry_links {
	uint64_t ino;
	uint64_t nlink;
	struct vec names; /* char *, relative paths */
};

void scan_deinit(struct scan *s);

/*
 * Bring the scan up to date with the layer fs_fd. The layer may be changing
 * meanwhile: what is missed then is found by the next call.
 */
must_check int scan_update(struct scan *s, int fs_fd);

/*
 * The groups found, with all their names: a vector of struct carry_links, for
 * carry_links_deinit(). -ESTALE: names are missing, scan afresh; -EMLINK: more
 * than names_max.
 */
must_check int scan_groups(const struct scan *s, int fs_fd, size_t names_max, struct vec *groups);
