/*
 * named.c - does a name still lead to what is open?
 *
 * The number of links does not tell: overlayfs shows that of the lower file
 * for one that was never copied up, and removing its name leaves that as it
 * is. The kernel marks the link of a descriptor whose own name was removed;
 * a name may end in that way, too, so it is looked up.
 */
#include "parts/named.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "parts/files.h"
#include "sandbox/names.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/mount.h"

static bool is_marked(const char *link)
{
	static const char mark[] = " (deleted)";
	size_t n = strlen(link), k = sizeof(mark) - 1;
	return link[0] == '/' && n > k && !strcmp(link + n - k, mark);
}

/* Does this path of the sandbox lead to the inode? */
static int leads_to(int root_fd, const char *path, const struct procfs_fd *fd)
{
	struct stat st;
	scoped_fd int found = sys_openat2(root_fd, path, O_PATH | O_NOFOLLOW | O_CLOEXEC,
					  RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
	if (found == -ENOENT || found == -ENOTDIR || found == -ELOOP || found == -ENAMETOOLONG)
		return 0;
	int r = found < 0 ? found : sys_fstat(found, &st);
	return r < 0 ? r : st.st_ino == fd->ino && st.st_dev == fd->dev;
}

/* What a search for another name looks for. */
struct search {
	const struct look *l;
	const struct procfs_fd *fd;
	const struct part_mount *mount;
	bool is_doubtful;	/* a name looks as if it were one */
	char **found;
};

static bool looks_same(const struct stat *st, const struct procfs_fd *fd)
{
	return st->st_mode == fd->mode && (uint64_t)st->st_size == fd->size &&
	       st->st_ctim.tv_sec == fd->ctime_s && st->st_ctim.tv_nsec == fd->ctime_ns;
}

/*
 * The overlay may show one file under two numbers: what looks the same and
 * has another number may be it, or not.
 */
static int try_name(void *ctx, const char *path)
{
	struct search *s = ctx;
	struct stat st;
	scoped_free char *whole = NULL;
	const char *target = s->mount->target;
	int r = sys_fstatat(s->mount->upper_fd, path, &st, AT_SYMLINK_NOFOLLOW);
	if (r || !looks_same(&st, s->fd))
		return r == -ENOENT ? 0 : r;
	if (asprintf(&whole, "%s/%s", strcmp(target, "/") ? target : "", path) < 0)
		return -ENOMEM;
	r = leads_to(s->l->root_fd, whole, s->fd);
	s->is_doubtful |= r == 0;
	if (r > 0)
		*s->found = take_ptr(whole);
	return r;
}

/*
 * Is it of an overlay that was cut off? All that had a name moved on from it
 * (checkpoint/rehome.c). -ENOTSUP: no, of some other mount.
 */
static int is_left_behind(const struct look *l, const struct procfs_fd *fd)
{
	scoped(mount_lines_deinit) struct vec lines = VEC_INIT(struct mount_line);
	scoped_fd int proc = procfs_openat(l->procfs, frozen_proc(l->frozen, 0)->pid, 0, ".",
					   O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = proc < 0 ? proc : sys_mountinfo(proc, &lines);
	if (r < 0)
		return r;
	vec_each(struct mount_line, line, &lines)
		if (line->mnt_id == fd->mnt_id)
			return -ENOTSUP;
	return 1;
}

int named_is_gone(const struct look *l, const struct procfs_fd *fd, const char *link,
		  char **other)
{
	*other = NULL;
	if (fd->nlink == 0)
		return 1;
	if (!is_marked(link) || !(S_ISREG(fd->mode) || S_ISDIR(fd->mode) || S_ISFIFO(fd->mode)))
		return 0;
	int r = leads_to(l->root_fd, link, fd);
	if (r)
		return r < 0 ? r : 0;
	const struct part_mount *m = files_find_mount(l, fd->mnt_id);
	if (!m)
		return is_left_behind(l, fd);
	if (S_ISDIR(fd->mode))
		return 1;
	struct search s = { l, fd, m, false, other };
	r = names_each(m->upper_fd, try_name, &s);
	if (r)
		return r < 0 ? r : 0;
	/* with one link, a file that was not copied up had the one name */
	return fd->nlink == 1 && !s.is_doubtful ? 1 : -ENOTSUP;
}
