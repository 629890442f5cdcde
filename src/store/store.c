#include "store/store.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "store/internal.h"
#include "store/tree.h"
#include "sys/file.h"
#include "sys/mount.h"

enum store_part { PART_LAYERS, PART_CHECKPOINTS, PART_SANDBOXES, PART_BASES, PART_TRASH, PARTS };

static const char *const part_name[PARTS] = {
	[PART_LAYERS] = "layers",       [PART_CHECKPOINTS] = "checkpoints",
	[PART_SANDBOXES] = "sandboxes", [PART_BASES] = "bases",
	[PART_TRASH] = "trash",
};

struct store {
	char *path;
	int fd;
	int part_fd[PARTS];
};

int store_fail(struct err *e, int r, const char *fmt, ...)
{
	char words[ERR_CAUSE_BYTES / 2];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	err_set(e, -r, "%s: %s", words, strerror(-r));
	if (r == -ENOSPC || r == -EDQUOT)
		err_remedy(e, "make room where the state directory lies, or run 'mulligan gc'");
	if (r == -EMFILE)
		err_remedy(e, "raise the limit on open files (ulimit -n)");
	return r;
}

int store_default_path(char **path, struct err *e)
{
	const char *own = getenv("MULLIGAN_STATE");
	const char *state = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");
	int n;
	if (own && *own)
		n = asprintf(path, "%s", own);
	else if (geteuid() == 0 && !sys_in_userns())
		n = asprintf(path, "/var/lib/mulligan");
	else if (state && *state == '/')
		n = asprintf(path, "%s/mulligan", state);
	else if (home && *home == '/')
		n = asprintf(path, "%s/.local/state/mulligan", home);
	else {
		err_set(e, ENOENT, "no place for the state directory: HOME is not set");
		return err_remedy(e, "set MULLIGAN_STATE to a directory of yours");
	}
	return n < 0 ? err_set(e, ENOMEM, "no memory") : 0;
}

/* mkdir -p; only the last component gets mode 0700 from us. */
static int make_path(const char *path, struct err *e)
{
	scoped_free char *part = strdup(path);
	if (!part)
		return err_set(e, ENOMEM, "no memory");
	for (char *slash = part; slash;) {
		slash = strchr(slash + 1, '/');
		if (slash)
			*slash = '\0';
		int r = sys_mkdirat(AT_FDCWD, part, slash ? 0755 : 0700);
		if (r && r != -EEXIST && r != -EISDIR) {
			store_fail(e, r, "cannot make the state directory '%s'", path);
			if (r != -ENOSPC)
				err_remedy(e, "set MULLIGAN_STATE to a directory you can write to");
			err_path(e, path);
			return r;
		}
		if (slash)
			*slash = '/';
	}
	return 0;
}

/* The directory is ours and private. */
static int check_owner(struct store *s, struct err *e)
{
	struct stat st;
	int r = sys_fstat(s->fd, &st);
	if (r)
		return store_fail(e, r, "cannot look at the state directory '%s'", s->path);
	if (st.st_uid != geteuid()) {
		err_set(e, EPERM, "the state directory '%s' belongs to user %u, not to %u", s->path,
			st.st_uid, geteuid());
		err_path(e, s->path);
		return err_remedy(e, "set MULLIGAN_STATE to a directory of your own");
	}
	/*
	 * Guests leave set-user-id programs in layers: nobody else may reach
	 * them by name.
	 */
	if ((st.st_mode & 0777) != 0700) {
		r = sys_fchmod(s->fd, 0700);
		if (r)
			return store_fail(e, r, "cannot make '%s' private", s->path);
	}
	return 0;
}

/* A file system that an overlay's upper can be on. */
static int check_fs(struct store *s, struct err *e)
{
	struct statfs fs;
	if (fstatfs(s->fd, &fs))
		return store_fail(e, -errno, "cannot look at '%s'", s->path);
	const char *bad = NULL;
	switch ((unsigned int)fs.f_type) {
	case OVERLAYFS_SUPER_MAGIC:
		bad = "an overlay (the root of a container, say)";
		break;
	case NFS_SUPER_MAGIC:
		bad = "NFS";
		break;
	case FUSE_SUPER_MAGIC:
		bad = "FUSE";
		break;
	case MSDOS_SUPER_MAGIC:
		bad = "FAT";
		break;
	}
	if (!bad)
		return 0;
	err_set(e, EOPNOTSUPP, "the state directory '%s' lies on %s, which cannot hold layers",
		s->path, bad);
	err_path(e, s->path);
	return err_remedy(e, "set MULLIGAN_STATE to a directory on ext4, XFS, btrfs or tmpfs");
}

static int open_part(struct store *s, enum store_part part, struct err *e)
{
	const char *name = part_name[part];
	int r = sys_mkdirat(s->fd, name, 0700);
	if (r == 0 || r == -EEXIST)
		r = sys_openat(s->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (r < 0) {
		store_fail(e, r, "cannot open '%s/%s'", s->path, name);
		err_path(e, s->path);
		if (r == -EACCES || r == -EROFS)
			err_remedy(e, "set MULLIGAN_STATE to a directory you can write to");
		return r;
	}
	s->part_fd[part] = r;
	/*
	 * Layers come and go by the hundred. ext4 without a journal looks at
	 * each inode deleted lately in a group before it uses one there
	 * (docs/decisions/0008): each layer in a group of its own meets few.
	 */
	if (part == PART_LAYERS)
		(void)!sys_spread(r);
	return 0;
}

static int open_root(struct store *s, const char *path, struct err *e)
{
	int r = sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	if (r == -ENOENT) {
		r = make_path(path, e);
		if (r)
			return r;
		r = sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	}
	if (r < 0) {
		store_fail(e, r, "cannot open the state directory '%s'", path);
		err_path(e, path);
		err_remedy(e, "set MULLIGAN_STATE to a directory of your own");
		return r;
	}
	s->fd = r;
	s->path = realpath(path, NULL);
	if (!s->path)
		return store_fail(e, -errno, "cannot resolve '%s'", path);
	return 0;
}

/* Found now and not at the first checkpoint: a read-only or full disk. */
static int check_writable(struct store *s, struct err *e)
{
	scoped_fd int fd = sys_openat(s->fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (fd >= 0)
		return 0;
	store_fail(e, fd, "cannot write in the state directory '%s'", s->path);
	err_path(e, s->path);
	if (fd != -ENOSPC)
		err_remedy(e, "set MULLIGAN_STATE to a directory you can write to");
	return fd;
}

static void scoped_store(struct store **s)
{
	store_close(*s);
}

int store_open(const char *path, struct store **out, struct err *e)
{
	scoped_free char *chosen = NULL;
	if (!path) {
		int r = store_default_path(&chosen, e);
		if (r)
			return r;
		path = chosen;
	}
	scoped(scoped_store) struct store *s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(e, ENOMEM, "no memory");
	s->fd = -1;
	for (size_t i = 0; i < PARTS; i++)
		s->part_fd[i] = -1;
	int r = open_root(s, path, e);
	if (r == 0)
		r = check_owner(s, e);
	if (r == 0)
		r = check_fs(s, e);
	if (r == 0)
		r = check_writable(s, e);
	for (size_t i = 0; r == 0 && i < PARTS; i++)
		r = open_part(s, (enum store_part)i, e);
	if (r)
		return r;
	*out = take_ptr(s);
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < PARTS; i++)
		cleanup_fd(&s->part_fd[i]);
	cleanup_fd(&s->fd);
	free(s->path);
	free(s);
}

const char *store_path(const struct store *s)
{
	return s->path;
}

int store_fd(const struct store *s)
{
	return s->fd;
}

int store_layers_fd(const struct store *s)
{
	return s->part_fd[PART_LAYERS];
}

int store_checkpoints_fd(const struct store *s)
{
	return s->part_fd[PART_CHECKPOINTS];
}

int store_bases_fd(const struct store *s)
{
	return s->part_fd[PART_BASES];
}

int store_trash_fd(const struct store *s)
{
	return s->part_fd[PART_TRASH];
}

int store_sandboxes_fd(const struct store *s)
{
	return s->part_fd[PART_SANDBOXES];
}

int store_check_name(const char *what, const char *name, struct err *e)
{
	size_t len = strlen(name);
	bool good = len >= 1 && len <= 63 && isalnum((unsigned char)name[0]);
	for (const char *c = name; good && *c; c++)
		good = isalnum((unsigned char)*c) || strchr("_.-", *c);
	if (good)
		return 0;
	err_set(e, EINVAL, "'%.80s' is not a %s", name, what);
	return err_remedy(e,
			  "a %s has 1 to 63 letters, digits, '_', '.', '-' and begins with a "
			  "letter or digit",
			  what);
}

int store_sandbox_dir(struct store *s, const char *name, struct err *e)
{
	int r = store_check_name("sandbox name", name, e);
	if (r)
		return r;
	int dir = s->part_fd[PART_SANDBOXES];
	r = sys_mkdirat(dir, name, 0700);
	if (r == 0 || r == -EEXIST)
		r = sys_openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (r < 0)
		return store_fail(e, r, "cannot open '%s/sandboxes/%s'", s->path, name);
	return r;
}

int store_sandbox_remove(struct store *s, const char *name, struct err *e)
{
	int r = store_check_name("sandbox name", name, e);
	if (r)
		return r;
	r = tree_remove(s->part_fd[PART_SANDBOXES], name);
	return r ? store_fail(e, r, "cannot remove '%s/sandboxes/%s'", s->path, name) : 0;
}

int store_new_id(char id[STORE_ID_BYTES], struct err *e)
{
	uint8_t random[(STORE_ID_BYTES - 1) / 2];
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return err_set(e, EIO, "the kernel gives no random numbers");
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(id + 2 * i, 3, "%02x", random[i]);
	return 0;
}

int store_sync(struct store *s, struct err *e)
{
	int r = sys_syncfs(s->fd);
	return r ? store_fail(e, r, "cannot write '%s' to its disk", s->path) : 0;
}

int store_lock(struct store *s, int operation, struct err *e)
{
	scoped_fd int fd = sys_openat(s->fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (fd < 0)
		return store_fail(e, fd, "cannot open '%s/lock'", s->path);
	int r = sys_flock(fd, operation);
	if (r)
		return store_fail(e, r, "cannot lock '%s'", s->path);
	return take_fd(&fd);
}
