#include "parts/mapheld.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>

#include "sys/fd.h"
#include "sys/pagemap.h"

enum { PATH_BYTES = 4096 };

/* Is the file in the live upper of its mount? Only those move. */
static bool is_in_upper(const struct part_mount *m, const char *path)
{
	size_t n = strcmp(m->target, "/") ? strlen(m->target) : 0;
	scoped_fd int fd = path[n] == '/' ?
				   sys_openat2(m->upper_fd, path + n + 1, O_PATH | O_NOFOLLOW,
					       RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS) :
				   -ENOENT;
	return fd >= 0;
}

static const struct part_mount *mount_at(const struct look *l, int index)
{
	vec_each(struct part_mount, m, &l->mounts)
		if (m->index == index)
			return m;
	return NULL;
}

/*
 * An open file that has the name of a mapped one: image.files, or IMAGE_NONE.
 * Both are of the present overlay, so it may be the same.
 */
static int find_open(const struct look *l, const struct image_map_file *mapped)
{
	for (int i = 0; i < (int)l->image->files.n; i++) {
		const struct image_file *f = image_file(l->image, i);
		if (f->kind != FILE_PATH || !S_ISREG(f->mode) || f->flags & O_PATH ||
		    f->mount == IMAGE_NONE || strcmp(f->path, mapped->path))
			continue;
		const struct part_mount *m = mount_at(l, f->mount);
		if (m && m->dev == mapped->dev && is_in_upper(m, f->path))
			return i;
	}
	return IMAGE_NONE;
}

/* Is the mapping of the file that has the name now, and all its pages the file's? */
static int is_followed(struct look *l, const struct frozen_proc *fp, const struct image_vma *v,
		       const struct image_map_file *mapped)
{
	char name[PATH_BYTES];
	struct procfs_map map;
	int r = procfs_map_at(l->procfs, fp->pid, v->start, &map, name, sizeof(name));
	if (r < 0 || map.start != v->start || map.end != v->end || map.dev != mapped->dev ||
	    map.ino != mapped->ino || strcmp(name, mapped->path))
		return r < 0 ? r : 0;
	scoped_fd int pagemap = procfs_openat(l->procfs, fp->pid, 0, "pagemap", O_RDONLY | O_CLOEXEC);
	scoped(vec_deinit) struct vec written = VEC_INIT(struct sys_page_run);
	r = pagemap < 0 ? pagemap : sys_pagemap_anonymous(pagemap, v->start, v->end, &written);
	return r ? r : written.n == 0;
}

/* A description for this mapping alone. Index in image.files, or -ENOMEM. */
static int add_description(struct look *l, int open)
{
	struct image_file *f = vec_add(&l->image->files);
	if (!f)
		return -ENOMEM;
	const struct image_file *of = image_file(l->image, open);
	*f = (struct image_file){ .kind = FILE_PATH,
				  .flags = O_RDONLY,
				  .mode = S_IFREG,
				  .mount = of->mount,
				  .pipe = IMAGE_NONE,
				  .content_fd = -1,
				  .twin = IMAGE_NONE,
				  .path = strdup(of->path),
				  .locks = VEC_INIT(struct image_lock) };
	return f->path ? (int)l->image->files.n - 1 : -ENOMEM;
}

/* One description serves all mappings of a file. */
static int follow(struct look *l, size_t mapped, int open)
{
	int description = IMAGE_NONE;
	const struct image_map_file *file = vec_at(&l->image->map_files, mapped);
	for (size_t i = 0; i < l->frozen->procs.n; i++) {
		vec_each(struct image_vma, v, &look_proc(l, (int)i)->vmas) {
			if (v->kind != VMA_FILE || v->object != (int)mapped)
				continue;
			int r = is_followed(l, frozen_proc(l->frozen, i), v, file);
			if (r < 0)
				return r;
			if (!r)
				continue;
			if (description == IMAGE_NONE)
				description = add_description(l, open);
			if (description < 0)
				return -ENOMEM;
			v->kind = VMA_FILE_SHARED;
			v->is_private = true;
			v->object = description;
		}
	}
	return 0;
}

int mapheld_find(struct look *l, struct err *e)
{
	for (size_t i = 0; i < l->image->map_files.n; i++) {
		const struct image_map_file *f = vec_at(&l->image->map_files, i);
		int open = f->is_gone || f->content_fd >= 0 ? IMAGE_NONE : find_open(l, f);
		int r = open == IMAGE_NONE ? 0 : follow(l, i, open);
		if (r < 0)
			return err_set(e, -r, "look at the mappings of %s: %s", f->path, strerror(-r));
	}
	return 0;
}
