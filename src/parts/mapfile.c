#include "parts/mapfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <linux/openat2.h>

#include "parts/mapcopy.h"
#include "parts/mapview.h"
#include "parts/memfs.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/mount.h"

/* Executables are compared by what stat says, mappings by /proc/pid/maps. */
#define EXE_DEV (1ull << 63)

static struct image_map_file *file_at(const struct tree_image *im, size_t i)
{
	return vec_at(&im->map_files, i);
}

/*
 * By inode alone: once an overlay is detached, its paths begin at its own
 * root. Templates hold every file of the list, so no number is used twice.
 */
static int find(const struct tree_image *im, uint64_t dev, uint64_t ino)
{
	vec_each(struct image_map_file, f, &im->map_files)
		if (!f->is_gone && !f->is_outdated && f->dev == dev && f->ino == ino)
			return (int)(f - (struct image_map_file *)im->map_files.data);
	return IMAGE_NONE;
}

bool mapfile_has_number(const struct tree_image *im, int number)
{
	vec_each(struct image_map_file, f, &im->map_files)
		if (!f->is_gone && f->template_fd == number)
			return true;
	return false;
}

/* One that was left free before, or else a new one. */
static int pick_number(struct look *l)
{
	vec_each(struct image_map_file, f, &l->image->map_files)
		if (f->is_gone && !mapfile_has_number(l->image, f->template_fd))
			return f->template_fd;
	return l->next_template_fd++;
}

static int add(struct look *l, uint64_t dev, uint64_t ino, const char *path, int *fd,
	       struct err *e)
{
	struct stat st;
	int r = sys_fstat(*fd, &st);
	if (r)
		return err_set(e, -r, "look at %s: %s", path, strerror(-r));
	int number = pick_number(l);
	struct image_map_file *f = vec_add(&l->image->map_files);
	struct look_opened *o = vec_add(&l->opened);
	if (!f || !o)
		return err_set(e, ENOMEM, "out of memory");
	*f = (struct image_map_file){ .dev = dev,
				      .ino = ino,
				      .is_device = S_ISCHR(st.st_mode),
				      .template_fd = number,
				      .content_fd = -1,
				      .bytes = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : UINT64_MAX,
				      .path = strdup(path) };
	*o = (struct look_opened){ take_fd(fd), f->template_fd };
	if (!f->path)
		return err_set(e, ENOMEM, "out of memory");
	return (int)l->image->map_files.n - 1;
}

/* The last copy of the file, if it has the present contents. */
static int find_copy(struct look *l, const struct procfs_map *map, int fd)
{
	for (size_t i = l->image->map_files.n; i-- > 0;) {
		struct image_map_file *f = file_at(l->image, i);
		if (f->is_gone || f->content_fd < 0 || f->of_dev != map->dev ||
		    f->of_ino != map->ino)
			continue;
		/* what cannot be read is found out when the next copy is made */
		if (!f->is_compared && mapcopy_is_current(fd, f->content_fd) <= 0)
			return IMAGE_NONE;
		f->is_compared = true;
		return (int)i;
	}
	return IMAGE_NONE;
}

static int add_copy(struct look *l, const struct procfs_map *map, const char *name, int fd,
		    struct err *e)
{
	struct stat st;
	scoped_fd int copy = mapcopy_make(fd, name);
	scoped_fd int ours = copy < 0 ? copy : sys_dup(copy);
	int r = ours < 0 ? ours : sys_fstat(copy, &st);
	if (r)
		return err_set(e, -r, "copy the mapped file %s: %s", name, strerror(-r));
	int i = add(l, st.st_dev, st.st_ino, name, &copy, e);
	if (i < 0)
		return i;
	struct image_map_file *f = file_at(l->image, (size_t)i);
	f->of_dev = map->dev;
	f->of_ino = map->ino;
	f->is_compared = true;
	f->content_fd = take_fd(&ours);
	return i;
}

/* By the kernel's own link: needs CAP_CHECKPOINT_RESTORE in the first namespace. */
static int open_map_files(struct look *l, const struct frozen_proc *fp,
			  const struct procfs_map *map)
{
	char name[80];
	snprintf(name, sizeof(name), "map_files/%lx-%lx", (unsigned long)map->start,
		 (unsigned long)map->end);
	return procfs_openat(l->procfs, fp->pid, 0, name, O_RDONLY | O_CLOEXEC);
}

/* Whether a mapping of fd made here has the same device and inode in maps. */
static bool is_same(struct look *l, int fd, const struct procfs_map *map)
{
	void *at = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE, fd, 0);
	if (at == MAP_FAILED)
		return false;
	struct procfs_map ours;
	int r = procfs_map_at(l->procfs, getpid(), (uint64_t)at, &ours, NULL, 0);
	munmap(at, 4096);
	return r == 0 && ours.dev == map->dev && ours.ino == map->ino;
}

static int open_by_path(struct look *l, const struct procfs_map *map, const char *name)
{
	scoped_fd int fd = sys_openat2(l->root_fd, name, O_RDONLY | O_NOCTTY | O_NONBLOCK,
				       RESOLVE_IN_ROOT);
	if (fd < 0)
		return fd;
	return is_same(l, fd, map) ? take_fd(&fd) : -ESTALE;
}

/* A descriptor of the same file, whoever in the tree has one: it has no name. */
static int open_by_descriptor(struct look *l, const struct procfs_map *map, const char *name)
{
	scoped(vec_deinit) struct vec numbers = VEC_INIT(int);
	char link[4096], path[32];
	for (size_t i = 0; i < l->frozen->procs.n; i++) {
		const struct frozen_proc *fp = frozen_proc(l->frozen, i);
		numbers.n = 0;
		if (fp->zombie || procfs_fd_numbers(l->procfs, fp->pid, &numbers) < 0)
			continue;
		vec_each(int, number, &numbers) {
			struct procfs_fd st;
			snprintf(path, sizeof(path), "fd/%d", *number);
			if (procfs_link(l->procfs, fp->pid, path, &st, link, sizeof(link)) < 0 ||
			    !S_ISREG(st.mode) || strcmp(link, name))
				continue;
			scoped_fd int fd = procfs_openat(l->procfs, fp->pid, 0, path,
							 O_RDONLY | O_NONBLOCK | O_CLOEXEC);
			if (fd >= 0 && is_same(l, fd, map))
				return take_fd(&fd);
		}
	}
	return -ENOENT;
}

/* The file of a private mapping, to be read and mapped. */
static int open_mapped(struct look *l, const struct frozen_proc *fp, const struct procfs_map *map,
		       const char *name)
{
	int fd = open_map_files(l, fp, map);
	if (fd < 0)
		fd = open_by_path(l, map, name);
	if (fd >= 0)
		return fd;
	int r = open_by_descriptor(l, map, name);
	return r < 0 ? fd : r;
}

/* The kernel marks a mapping's file as deleted; a name can end that way, too. */
int mapfile_is_deleted(struct look *l, const struct procfs_map *map, const char *name)
{
	static const char mark[] = " (deleted)";
	size_t n = strlen(name), k = sizeof(mark) - 1;
	if (n < k || strcmp(name + n - k, mark))
		return 0;
	scoped_fd int fd = open_by_path(l, map, name);
	if (fd >= 0)
		return 0;
	return fd == -ENOENT || fd == -ESTALE || fd == -ENOTDIR ? 1 : fd;
}

bool mapfile_is_named(struct look *l, const struct procfs_map *map, const char *name)
{
	scoped_fd int fd = open_by_path(l, map, name);
	return fd >= 0;
}

const char *mapfile_other_name(struct look *l, const struct frozen_proc *fp,
			       const struct procfs_map *map, const char *name)
{
	if (!strncmp(name, "/memfd:", 7) || !strncmp(name, "/dev/zero", 9))
		return "";
	bool known;
	const char *path = memfs_find(&l->memory_names, map->dev, map->ino, &known);
	if (path || known)
		return path ? path : "";
	struct stat st;
	scoped_fd int fd = open_map_files(l, fp, map);
	return fd >= 0 && fstat(fd, &st) == 0 && st.st_nlink == 0 ? "" : NULL;
}

static int refuse_view(const struct image_proc *p, const char *name, int r, struct err *e)
{
	if (r < 0)
		return look_refuse(e, p, -1, "read its mapping of %s: %s", name, strerror(-r));
	look_refuse(e, p, -1, "a private mapping of %s from before the file was written to", name);
	return err_remedy(e, "let the process end, or map the file anew");
}

/* Looked for once for each file; one that cannot be told is compared. */
static bool has_two(struct look *l, int known, const struct procfs_map *map, const char *name)
{
	struct image_map_file *f = known == IMAGE_NONE ? NULL : file_at(l->image, (size_t)known);
	if (f && f->is_looked_up)
		return f->has_two;
	bool two = mapview_has_two(l, map, name) != 0;
	if (f) {
		f->is_looked_up = true;
		f->has_two = two;
	}
	return two;
}

/* The file, or a copy of it; fd is handed over. */
static int add_or_copy(struct look *l, const struct image_proc *p, const struct frozen_proc *fp,
		       const struct procfs_map *map, const char *name, int *fd, struct err *e)
{
	bool in_memory;
	memfs_find(&l->memory_names, map->dev, map->ino, &in_memory);
	int copies = mapcopy_is_needed(*fd, in_memory);
	if (copies < 0)
		return look_refuse(e, p, -1, "a private mapping of a file that may change (%s): %s",
				   name, strerror(-copies));
	if (!copies)
		return add(l, map->dev, map->ino, name, fd, e);
	/* whether it was copied up is not told by a name that is gone */
	int r = in_memory ? 1 : mapview_shows(l, fp, map, *fd);
	if (r <= 0)
		return refuse_view(p, name, r, e);
	int copy = find_copy(l, map, *fd);
	return copy == IMAGE_NONE ? add_copy(l, map, name, *fd, e) : copy;
}

int mapfile_find_or_open(struct look *l, const struct image_proc *p, const struct frozen_proc *fp,
			 const struct procfs_map *map, const char *name, struct err *e)
{
	int known = find(l->image, map->dev, map->ino);
	bool two = has_two(l, known, map, name);
	if (known != IMAGE_NONE && !two)
		return known;
	scoped_fd int fd = open_mapped(l, fp, map, name);
	if (fd < 0)
		return look_refuse(e, p, -1,
				   "the mapped file %s cannot be opened again: %s", name,
				   fd == -ESTALE ? "another file has its name now" :
						   strerror(-fd));
	int r = two ? mapview_shows(l, fp, map, fd) : 1;
	if (r <= 0)
		return refuse_view(p, name, r, e);
	if (known != IMAGE_NONE && file_at(l->image, (size_t)known)->is_copied_up)
		return known;
	if (known != IMAGE_NONE)
		file_at(l->image, (size_t)known)->is_outdated = true;
	int i = add_or_copy(l, p, fp, map, name, &fd, e);
	if (i >= 0) {
		struct image_map_file *f = file_at(l->image, (size_t)i);
		f->is_looked_up = true;
		f->has_two = f->is_copied_up = two;
	}
	return i;
}

/* Nobody maps it: what it was is in older templates. */
static void drop_copy(struct image_map_file *f)
{
	cleanup_fd(&f->content_fd);
	f->is_gone = true;
}

void mapfile_look_end(struct look *l)
{
	struct tree_image *im = l->image;
	vec_each(struct image_map_file, f, &im->map_files)
		f->is_mapped = f->is_compared = f->is_looked_up = false;
	vec_each(struct image_proc, p, &im->procs)
		vec_each(struct image_vma, v, &p->vmas)
			if (v->kind == VMA_FILE)
				file_at(im, (size_t)v->object)->is_mapped = true;
	vec_each(struct image_map_file, f, &im->map_files)
		if (f->content_fd >= 0 && !f->is_mapped)
			drop_copy(f);
}

int mapfile_exe(struct look *l, const struct image_proc *p, const struct frozen_proc *fp,
		struct err *e)
{
	char link[4096];
	struct procfs_fd st;
	int r = procfs_link(l->procfs, fp->pid, "exe", &st, link, sizeof(link));
	if (r < 0)
		return look_refuse(e, p, -1, "its executable: %s", strerror(-r));
	uint64_t dev = (uint64_t)st.dev | EXE_DEV;
	int known = find(l->image, dev, st.ino);
	if (known != IMAGE_NONE)
		return known;
	scoped_fd int fd = procfs_openat(l->procfs, fp->pid, 0, "exe", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return look_refuse(e, p, -1, "its executable %s: %s", link, strerror(-fd));
	return add(l, dev, st.ino, link, &fd, e);
}

const struct part_mount *mapfile_mount(struct look *l, const struct frozen_proc *fp,
				       const struct procfs_map *map, const char *name)
{
	scoped_fd int fd = sys_openat2(l->root_fd, name, O_PATH, RESOLVE_IN_ROOT);
	if (fd < 0)
		return NULL;
	uint64_t mnt_id;
	if (sys_mnt_id(fd, &mnt_id))
		return NULL;
	vec_each(struct part_mount, m, &l->mounts)
		if (m->mnt_id == mnt_id)
			return m;
	return NULL;
}

int mapfile_inherit(struct tree_image *im, const struct tree_image *parent)
{
	vec_each(struct image_map_file, f, &parent->map_files) {
		struct image_map_file *mine = vec_add(&im->map_files);
		if (!mine)
			return -ENOMEM;
		*mine = *f;
		mine->path = strdup(f->path);
		if (f->content_fd >= 0)
			mine->content_fd = sys_dup(f->content_fd);
		if (!mine->path)
			return -ENOMEM;
		if (f->content_fd >= 0 && mine->content_fd < 0)
			return mine->content_fd;
	}
	return 0;
}
