#include "parts/mapview.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "sandbox/overlay.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/mount.h"
#include "sys/pagemap.h"

enum { PAGE = 4096, BLOCK = 16 * PAGE };

static const struct part_mount *mount_of(const struct look *l, dev_t dev)
{
	vec_each(struct part_mount, m, &l->mounts)
		if (m->dev == dev)
			return m;
	return NULL;
}

/* The place below its mount of a name; NULL: it is elsewhere. */
static const char *inside(const struct part_mount *m, const char *name)
{
	size_t n = strcmp(m->target, "/") ? strlen(m->target) : 0;
	return !strncmp(name, m->target, n) && name[n] == '/' && name[n + 1] ? name + n + 1 : NULL;
}

int mapview_has_two(const struct look *l, const struct procfs_map *map, const char *name)
{
	const struct part_mount *m = mount_of(l, map->dev);
	const char *path = m ? inside(m, name) : NULL;
	if (!path)
		return 0;
	scoped_fd int fd = sys_openat2(m->upper_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK,
				       RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR ? 0 : fd;
	char mark[64];
	snprintf(mark, sizeof(mark), "%sorigin", overlay_xattr_prefix(sys_in_userns()));
	ssize_t n = sys_fgetxattr(fd, mark, NULL, 0);
	return n == -ENODATA ? 0 : n < 0 ? (int)n : 1;
}

struct view {
	int mem_fd, file_fd;
	const struct vec *written;	/* struct sys_page_run */
	uint64_t file_bytes;
};

static bool is_written(const struct view *v, uint64_t at)
{
	vec_each(struct sys_page_run, run, v->written)
		if (at >= run->start && at < run->end)
			return true;
	return false;
}

/* len bytes of the mapping at `at`, which are the file's from `offset` on. */
static int compare_block(const struct view *v, uint64_t at, uint64_t offset, size_t len)
{
	char shown[BLOCK], there[BLOCK] = { 0 };
	size_t in_file = v->file_bytes - offset < len ? v->file_bytes - offset : len;
	ssize_t n = sys_pread(v->file_fd, there, in_file, offset);
	if (n < 0 || (size_t)n != in_file)
		return n < 0 ? (int)n : 0;
	n = sys_pread(v->mem_fd, shown, len, at);
	if (n < 0 || (size_t)n != len)
		return n == -ENOMEM ? -ENOMEM : 0;	/* its file is shorter */
	for (size_t o = 0; o < len; o += PAGE)
		if (memcmp(shown + o, there + o, PAGE) && !is_written(v, at + o))
			return 0;
	return 1;
}

static int compare(const struct view *v, const struct procfs_map *map)
{
	uint64_t pages = (v->file_bytes + PAGE - 1) / PAGE * PAGE;
	uint64_t end = map->end;
	if (map->offset + (map->end - map->start) > pages)
		end = map->start + (pages > map->offset ? pages - map->offset : 0);
	for (uint64_t at = map->start; at < end; at += BLOCK) {
		size_t len = end - at < BLOCK ? end - at : BLOCK;
		int r = compare_block(v, at, map->offset + (at - map->start), len);
		if (r <= 0)
			return r;
	}
	char byte;
	return end == map->end || sys_pread(v->mem_fd, &byte, 1, end) < 0;
}

int mapview_shows(struct look *l, const struct frozen_proc *fp, const struct procfs_map *map, int fd)
{
	struct stat st;
	int r = sys_fstat(fd, &st);
	if (r)
		return r;
	scoped_fd int pagemap = procfs_openat(l->procfs, fp->pid, 0, "pagemap", O_RDONLY | O_CLOEXEC);
	if (pagemap < 0)
		return pagemap;
	scoped_fd int mem = procfs_openat(l->procfs, fp->pid, 0, "mem", O_RDONLY | O_CLOEXEC);
	if (mem < 0)
		return mem;
	scoped(vec_deinit) struct vec written = VEC_INIT(struct sys_page_run);
	struct view v = { mem, fd, &written, (uint64_t)st.st_size };
	r = sys_pagemap_private(pagemap, map->start, map->end, &written);
	return r ? r : compare(&v, map);
}
