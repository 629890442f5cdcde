/*
 * sock_name.c - names of unix sockets: abstract ones, and files.
 *
 * connect(2) finds a socket by the inode that it is bound to. A new socket can
 * have a new inode only, so the file that a restored tree has in its place is
 * exchanged: the socket is bound, to its name byte by byte, in a directory
 * made beside that, which a child of ours has as its root; the file then takes
 * the old one's place, owner, mode and times. So a name may be relative, lead
 * through links, or to where the file was before it was renamed.
 *
 * What nobody can connect to is bound in a file system of our own, mounted
 * nowhere.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/un.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "parts/memfs.h"
#include "parts/sockets.h"
#include "sys/errand.h"
#include "sys/file.h"
#include "sys/inroot.h"

enum { PATH_BYTES = sizeof(((struct sockaddr_un *)0)->sun_path) };

static const char *text_of(const struct sys_sockname *name)
{
	return ((const struct sockaddr_un *)&name->at)->sun_path;
}

bool sock_is_named(const struct sys_sockname *name)
{
	return name->len > offsetof(struct sockaddr_un, sun_path);
}

bool sock_same_name(const struct sys_sockname *a, const struct sys_sockname *b)
{
	return a->len == b->len && !memcmp(&a->at, &b->at, a->len);
}

static bool is_path(const struct sys_sockname *name)
{
	return sock_is_named(name) && text_of(name)[0];
}

/* The text of a path, which may fill all of its room. */
static void copy_path(const struct sys_sockname *name, char out[PATH_BYTES + 1])
{
	size_t n = name->len - offsetof(struct sockaddr_un, sun_path);
	n = n < PATH_BYTES ? n : PATH_BYTES;
	memcpy(out, text_of(name), n);
	out[n] = '\0';
}

/* Looking. */

static void find_acl(void *ctx, const char *key, const void *value, size_t len)
{
	(void)value, (void)len;
	*(bool *)ctx |= !strncmp(key, "system.", 7);
}

/* What stands at the path is the file; else why not. */
static const char *check_place(const struct look *l, const char *path, const struct procfs_fd *st)
{
	scoped_fd int fd = sys_inroot_open(l->root_fd, path, O_PATH | O_NOFOLLOW);
	struct stat now;
	bool has_acl = false;
	if (fd < 0 || sys_fstat(fd, &now) || now.st_ino != st->ino || now.st_dev != st->dev)
		return "a unix socket whose file is hidden";
	if (now.st_nlink > 1)
		return "a unix socket whose file has several names";
	/* no links on the way: it is how the kernel names it */
	if (sys_each_xattr(l->root_fd, path + 1, find_acl, &has_acl) == 0 && has_acl)
		return "a unix socket whose file has an access control list";
	return NULL;
}

static bool is_abstract(const struct sys_sockname *name)
{
	return sock_is_named(name) && !is_path(name);
}

/* Of a network of others: its abstract names are theirs, too; who may make sockets in it? */
static int check_network(const struct kind_look *at, const struct image_sock *s, struct err *e)
{
	if (is_abstract(&s->name) || is_abstract(&s->peer_name))
		return kind_refuse(at, "an abstract unix socket of a network that is not the "
				       "sandbox's own", e);
	if (!sock_is_named(&s->name) && !sock_is_named(&s->peer_name))
		return 0;
	scoped_fd int netns = sys_sock_netns(s->fd);
	return netns >= 0 ? 0 : look_refuse(e, at->p, at->fd->fd, "the network of a unix socket "
					    "(%s): %s", at->link, strerror(-netns));
}

int sock_name_look(const struct kind_look *at, struct image_sock *s, struct err *e)
{
	const struct look *l = at->l;
	int r = l->shares_net ? check_network(at, s, e) : 0;
	if (r || !is_path(&s->name) || (s->connected && s->type != SOCK_DGRAM))
		return r;
	scoped_fd int fd = sys_sock_file(s->fd);
	char name[32], link[4096];
	struct procfs_fd st;
	snprintf(name, sizeof(name), "fd/%d", fd);
	r = fd < 0 ? fd : procfs_link(l->procfs, getpid(), name, &st, link, sizeof(link));
	if (r < 0)
		return look_refuse(e, at->p, at->fd->fd, "the file of a unix socket (%s): %s",
				   at->link, strerror(-r));
	if (!st.nlink)
		return 0;
	const struct part_mount *m = files_find_mount(l, st.mnt_id);
	bool in_memory;
	memfs_find(&l->memory_names, st.dev, st.ino, &in_memory);
	if (!m && !in_memory)
		return kind_refuse(at, "a unix socket on a file system outside the checkpoint", e);
	const char *why = check_place(l, link, &st);
	if (why)
		return kind_refuse(at, why, e);
	s->mount = m ? m->index : IMAGE_NONE;
	s->place = strdup(link);
	return s->place ? 0 : err_set(e, ENOMEM, "out of memory");
}

/* Binding. */

/* Each directory on the way, beginning with the first or the last one. */
static int each_parent(char path[PATH_BYTES + 1], bool forward, int (*each)(const char *dir))
{
	size_t n = strlen(path);
	int r = 0;
	for (size_t k = 1; r == 0 && k < n; k++) {
		size_t i = forward ? k : n - k;
		if (path[i] != '/' || path[i - 1] == '/')
			continue;
		path[i] = '\0';
		r = each(path);
		path[i] = '/';
	}
	return r;
}

static int make_dir(const char *dir)
{
	int r = sys_mkdirat(AT_FDCWD, dir, 0700);
	return r == -EEXIST ? 0 : r;
}

/* One that is written with dots is met again, or not empty yet. */
static int remove_dir(const char *dir)
{
	(void)!sys_unlinkat(AT_FDCWD, dir, AT_REMOVEDIR);
	return 0;
}

int sock_name_bind_here(int fd, const struct sys_sockname *name)
{
	char path[PATH_BYTES + 1];
	copy_path(name, path);
	int r = is_path(name) ? each_parent(path, true, make_dir) : 0;
	return r ? r : sys_bind(fd, name);
}

struct binding {
	int fd;
	const struct sys_sockname *name;
	int dir_fd;		/* where it goes; -1: nowhere */
	const char *base;
};

static int run_bind(void *ctx)
{
	const struct binding *b = ctx;
	char path[PATH_BYTES + 1];
	int r = sock_name_bind_here(b->fd, b->name);
	if (r)
		return r;
	copy_path(b->name, path);
	if (b->dir_fd < 0)
		return sys_unlinkat(AT_FDCWD, path, 0);
	r = sys_renameat2(AT_FDCWD, path, b->dir_fd, b->base, 0);
	return r ? r : each_parent(path, false, remove_dir);
}

int sock_name_bind_nowhere(int fd, const struct sys_sockname *name)
{
	if (!is_path(name))
		return sys_bind(fd, name);
	scoped_fd int scratch = memfs_new();
	if (scratch < 0)
		return scratch;
	struct sys_errand where = SYS_ERRAND_INIT;
	struct binding b = { fd, name, -1, NULL };
	where.root_fd = scratch;
	return sys_errand(&where, run_bind, &b);
}

static int look_like(int dir_fd, const char *base, const struct stat *st)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };
	int r = sys_fchownat(dir_fd, base, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW);
	if (r == 0)
		r = sys_fchmodat(dir_fd, base, st->st_mode & 07777);
	return r ? r : sys_utimensat(dir_fd, base, times, AT_SYMLINK_NOFOLLOW);
}

/* A directory of our own in dir_fd. */
static int make_scratch(int dir_fd, char name[32])
{
	int r = -EEXIST;
	for (unsigned int i = 0; r == -EEXIST && i < 1000; i++) {
		snprintf(name, 32, ".mulligan-socket-%u", i);
		r = sys_mkdirat(dir_fd, name, 0700);
	}
	return r;
}

static int bind_in(int dir_fd, const char *base, const struct sys_sockname *name, int fd)
{
	char scratch[32];
	struct stat old, dir;
	int r = sys_fstat(dir_fd, &dir);
	if (r == 0)
		r = sys_fstatat(dir_fd, base, &old, AT_SYMLINK_NOFOLLOW);
	if (r == 0 && !S_ISSOCK(old.st_mode))
		r = -ENOTSOCK;
	if (r == 0)
		r = make_scratch(dir_fd, scratch);
	if (r)
		return r;
	struct sys_errand where = SYS_ERRAND_INIT;
	struct binding b = { fd, name, dir_fd, base };
	scoped_fd int root = sys_openat(dir_fd, scratch, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	where.root_fd = root;
	r = root < 0 ? root : sys_errand(&where, run_bind, &b);
	if (r == 0)
		r = look_like(dir_fd, base, &old);
	if (r == 0)
		r = sys_unlinkat(dir_fd, scratch, AT_REMOVEDIR);
	const struct timespec times[2] = { dir.st_atim, dir.st_mtim };
	return r ? r : sys_utimensat(dir_fd, ".", times, 0);
}

int sock_name_bind(struct files_open *o, const struct image_sock *s, int fd)
{
	if (!s->place)
		return sock_name_bind_nowhere(fd, &s->name);
	scoped_free char *dir = strdup(s->place);
	char *slash = dir ? strrchr(dir, '/') : NULL;
	if (!slash)
		return dir ? -EINVAL : -ENOMEM;
	*slash = '\0';
	scoped_fd int dir_fd = sys_inroot_open(o->root_fd, *dir ? dir : "/", O_RDONLY | O_DIRECTORY);
	return dir_fd < 0 ? dir_fd : bind_in(dir_fd, slash + 1, &s->name, fd);
}

int sock_name_reach(int fd, const struct sys_sockname *name, struct sys_sockname *to, int *hold_fd)
{
	*to = *name;
	if (!is_path(name))
		return 0;
	*hold_fd = sys_sock_file(fd);
	if (*hold_fd < 0)
		return *hold_fd;
	struct sockaddr_un *un = (void *)&to->at;
	*un = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(un->sun_path, sizeof(un->sun_path), "/proc/self/fd/%d", *hold_fd);
	to->len = sizeof(*un);
	return 0;
}
