#include "parts/mapfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <linux/openat2.h>

#include "parts/memfs.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/mount.h"

/* Executables are compared by what stat says, mappings by /proc/pid/maps. */
#define EXE_DEV (1ull << 63)

/*
 * By inode alone: once an overlay is detached, its paths begin at its own
 * root. Templates hold every file of the list, so no number is used twice.
 */
static int find(const struct tree_image *im, uint64_t dev, uint64_t ino)
{
	vec_each(struct image_map_file, f, &im->map_files)
		if (f->dev == dev && f->ino == ino)
			return (int)(f - (struct image_map_file *)im->map_files.data);
	return IMAGE_NONE;
}

static int add(struct look *l, uint64_t dev, uint64_t ino, const char *path, int *fd,
	       struct err *e)
{
	struct stat st;
	int r = sys_fstat(*fd, &st);
	if (r)
		return err_set(e, -r, "look at %s: %s", path, strerror(-r));
	struct image_map_file *f = vec_add(&l->image->map_files);
	struct look_opened *o = vec_add(&l->opened);
	if (!f || !o)
		return err_set(e, ENOMEM, "out of memory");
	*f = (struct image_map_file){ .dev = dev,
				      .ino = ino,
				      .is_device = S_ISCHR(st.st_mode),
				      .template_fd = l->next_template_fd++,
				      .path = strdup(path) };
	*o = (struct look_opened){ take_fd(fd), f->template_fd };
	if (!f->path)
		return err_set(e, ENOMEM, "out of memory");
	return (int)l->image->map_files.n - 1;
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
	if (!strncmp(name, "/memfd:", 7) || !strncmp(name, "/dev/zero", 9) ||
	    !strncmp(name, "/SYSV", 5))
		return "";
	bool known;
	const char *path = memfs_find(&l->memory_names, map->dev, map->ino, &known);
	if (path || known)
		return path ? path : "";
	struct stat st;
	scoped_fd int fd = open_map_files(l, fp, map);
	return fd >= 0 && fstat(fd, &st) == 0 && st.st_nlink == 0 ? "" : NULL;
}

int mapfile_find_or_open(struct look *l, const struct image_proc *p, const struct frozen_proc *fp,
			 const struct procfs_map *map, const char *name, struct err *e)
{
	int known = find(l->image, map->dev, map->ino);
	if (known != IMAGE_NONE)
		return known;
	scoped_fd int fd = open_map_files(l, fp, map);
	if (fd < 0)
		fd = open_by_path(l, map, name);
	if (fd < 0)
		return look_refuse(e, p, -1,
				   "the mapped file %s cannot be opened again: %s", name,
				   fd == -ESTALE ? "another file has its name now" :
						   strerror(-fd));
	/* the template's mapping would see what is written to it later */
	int seals = strncmp(name, "/memfd:", 7) ? F_SEAL_WRITE : sys_fcntl(fd, F_GET_SEALS, 0);
	if (seals < 0 || !(seals & F_SEAL_WRITE))
		return look_refuse(e, p, -1, "a private mapping of a memfd that can be written (%s)",
				   name);
	return add(l, map->dev, map->ino, name, &fd, e);
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
		if (!mine->path)
			return -ENOMEM;
	}
	return 0;
}
