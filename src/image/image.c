#include "image/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "image/host.h"
#include "store/tree.h"
#include "sys/file.h"
#include "sys/mount.h"

static void image_init(struct image *image)
{
	*image = (struct image){.lock_fd = -1, .mounts = VEC_INIT(struct image_mount)};
}

void image_close(struct image *image)
{
	vec_each(struct image_mount, m, &image->mounts)
	{
		free(m->source);
		free(m->target);
	}
	vec_deinit(&image->mounts);
	free(image->name);
	free(image->root);
	free(image->notice);
	cleanup_fd(&image->lock_fd);
	image_init(image);
}

static int no_memory(struct err *e)
{
	return err_set(e, ENOMEM, "no memory");
}

static int add_mount(struct image *image, const char *path, bool readonly)
{
	struct image_mount *m = vec_add(&image->mounts);
	if (!m)
		return -ENOMEM;
	m->source = strdup(path);
	m->target = strdup(path);
	m->readonly = readonly;
	return m->source && m->target ? 0 : -ENOMEM;
}

/* A mount strictly below path, or NULL. */
static const char *mounted_below(const struct vec *lines, const char *path)
{
	size_t len = strlen(path);
	vec_each(struct mount_line, line, lines) if (!strncmp(line->target, path, len) &&
						     line->target[len] == '/') return line->target;
	return NULL;
}

/*
 * One directory of the machine. Mounts in it came into our user namespace
 * locked: an overlay, which would uncover what they hide, is refused by the
 * kernel. As real root the overlay is made, and shows what they hide.
 */
static int add_host_dir(struct image *image, const struct vec *lines, const char *path)
{
	const char *inner = mounted_below(lines, path);
	bool locked = inner && sys_in_userns();
	int r = add_mount(image, path, locked);
	if (r || !inner || image->notice)
		return r;
	int n = asprintf(&image->notice,
			 locked ? "%s is read-only: '%s' is mounted in it, which a user namespace "
				  "cannot lift"
				: "%s is shown without what is mounted at '%s'",
			 path, inner);
	if (n < 0)
		image->notice = NULL;
	return n < 0 ? -ENOMEM : 0;
}

/* /usr, /opt, and the directories that are links where /usr is merged. */
static int add_host_dirs(struct image *image, struct err *e)
{
	static const char *const path[] = {"/bin",    "/lib", "/lib32", "/lib64", "/libo32",
					   "/libx32", "/opt", "/sbin",  "/usr"};
	scoped_fd int proc = sys_openat(AT_FDCWD, "/proc/self", O_PATH | O_DIRECTORY, 0);
	struct vec lines;
	int r = proc < 0 ? proc : sys_mountinfo(proc, &lines);
	if (r)
		return err_set(e, -r, "cannot read this machine's mounts: %s", strerror(-r));
	for (size_t i = 0; r == 0 && i < sizeof(path) / sizeof(path[0]); i++) {
		struct stat st;
		r = sys_fstatat(AT_FDCWD, path[i], &st, AT_SYMLINK_NOFOLLOW);
		if (r && r != -ENOENT)
			err_set(e, -r, "look at this machine's '%s': %s", path[i], strerror(-r));
		else if (r || !S_ISDIR(st.st_mode))
			r = 0;
		else if (add_host_dir(image, &lines, path[i]))
			r = no_memory(e);
	}
	mount_lines_deinit(&lines);
	return r;
}

/* Take the base that is there: 0, -ENOENT. */
static int take_base(struct store *s, const char *name, struct image *image)
{
	int fd = sys_openat(store_bases_fd(s), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	image->lock_fd = fd;
	int r = sys_flock(fd, LOCK_SH | LOCK_NB);
	if (r == 0) /* its ctime: gc keeps the one used last */
		r = sys_fchmod(fd, 0755);
	if (r == 0 && asprintf(&image->root, "%s/bases/%s", store_path(s), name) < 0) {
		image->root = NULL;
		r = -ENOMEM;
	}
	return r;
}

/* A directory of that name in dir_fd, made and opened. */
static int make_dir(int dir_fd, const char *name)
{
	int r = sys_mkdirat(dir_fd, name, 0700);
	return r ? r : sys_openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

static int fill_skins(int skins_fd, const struct image *image, struct err *e)
{
	int r = 0;
	vec_each(struct image_mount, m, &image->mounts)
	{
		if (r || m->readonly)
			continue;
		scoped_fd int fd = make_dir(skins_fd, m->target + 1);
		r = fd < 0 ? err_set(e, -fd, "cannot make a skin of '%s': %s", m->target,
				     strerror(-fd))
			   : host_fill_skin(fd, m->source, e);
	}
	return r;
}

static int fill_base(int fd, const struct image *image, bool skins, struct err *e)
{
	return skins ? fill_skins(fd, image, e) : host_fill(fd, e);
}

/* Build it under another name; the rename decides who was first. */
static int make_part(struct store *s, const char *name, const struct image *image, bool skins,
		     struct err *e)
{
	char id[STORE_ID_BYTES], temporary[STORE_ID_BYTES + 1];
	int r = store_new_id(id, e);
	if (r)
		return r;
	snprintf(temporary, sizeof(temporary), ".%s", id);
	int bases = store_bases_fd(s);
	scoped_fd int fd = make_dir(bases, temporary);
	if (fd < 0) {
		err_set(e, -fd, "cannot make a base in '%s': %s", store_path(s), strerror(-fd));
		r = fd;
	} else {
		r = fill_base(fd, image, skins, e);
	}
	if (r == 0) {
		r = sys_renameat2(bases, temporary, bases, name, RENAME_NOREPLACE);
		if (r == 0)
			return 0;
		if (r != -EEXIST)
			err_set(e, -r, "cannot name the base '%s': %s", name, strerror(-r));
	}
	/* Somebody made it while we did, or it failed; gc takes what stays. */
	int gone = tree_remove(bases, temporary);
	(void)gone;
	return r == -EEXIST ? 0 : r;
}

/* The skins come first: who sees the base sees them. */
static int make_base(struct store *s, const char *name, const struct image *image, struct err *e)
{
	char skin[64];
	struct stat st;
	snprintf(skin, sizeof(skin), "%s.skin", name);
	bool wanted =
		sys_in_userns() && sys_fstatat(store_bases_fd(s), skin, &st, AT_SYMLINK_NOFOLLOW);
	int r = wanted ? make_part(s, skin, image, true, e) : 0;
	return r ? r : make_part(s, name, image, false, e);
}

int image_skin(const char *root, const char *target, char **out)
{
	const char *base = strrchr(root, '/');
	struct stat st;
	*out = NULL;
	/* Only of a base that was made here. */
	if (!base || base - root < 6 || strncmp(base - 6, "/bases/host-", 12))
		return 0;
	char *text;
	if (asprintf(&text, "%s.skin%s", root, target) < 0)
		return -ENOMEM;
	scoped_free char *path = text;
	int r = sys_fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW);
	if (r == 0 && S_ISDIR(st.st_mode))
		*out = take_ptr(path);
	return r == -ENOENT || r == -ENOTDIR ? 0 : r;
}

static int open_host(struct store *s, const char *name, bool make, struct image *image,
		     struct err *e)
{
	/* Half-made bases and those not yet locked are safe from gc. */
	scoped_fd int lock = store_lock(s, LOCK_SH, e);
	if (lock < 0)
		return lock;
	int r = add_host_dirs(image, e);
	if (r)
		return r;
	r = take_base(s, name, image);
	if (r == -ENOENT && make) {
		r = make_base(s, name, image, e);
		if (r)
			return r;
		r = take_base(s, name, image);
	}
	if (r)
		return err_set(e, -r, "cannot use the base '%s/bases/%s': %s", store_path(s), name,
			       strerror(-r));
	image->name = strdup("host");
	return image->name ? 0 : no_memory(e);
}

int image_open_host(struct store *s, struct image *out, struct err *e)
{
	uint64_t digest;
	int r = host_digest(&digest, e);
	if (r)
		return r;
	char name[32];
	snprintf(name, sizeof(name), "host-%016llx", (unsigned long long)digest);
	struct image image;
	image_init(&image);
	r = open_host(s, name, true, &image, e);
	if (r) {
		image_close(&image);
		return r;
	}
	*out = image;
	return 0;
}

static int refuse_rootfs(struct err *e, int code, const char *path, const char *why,
			 const char *remedy)
{
	err_set(e, code, "'%s' cannot be a root file system: %s", path, why);
	err_path(e, path);
	return err_remedy(e, "%s", remedy);
}

/* Something is in it. */
static int check_contents(int fd, const char *path, struct err *e)
{
	scoped_dir DIR *dir = NULL;
	int r = sys_opendir_fd(fd, &dir);
	struct dirent *d;
	if (r == 0)
		r = sys_readdir(dir, &d);
	if (r > 0)
		return 0;
	if (r)
		return refuse_rootfs(e, -r, path, strerror(-r), "make it readable");
	return refuse_rootfs(e, ENODATA, path, "it is empty",
			     "unpack a root file system there (debootstrap, docker export)");
}

static int check_rootfs(struct store *s, const char *path, const char *real, struct err *e)
{
	if (!strcmp(real, "/"))
		return refuse_rootfs(e, EINVAL, path, "it is the root of this machine",
				     "use --host");
	size_t len = strlen(real);
	if (!strncmp(store_path(s), real, len) && strchr("/", store_path(s)[len]))
		return refuse_rootfs(e, ELOOP, path, "the state directory lies in it",
				     "set MULLIGAN_STATE to a directory elsewhere");
	scoped_fd int fd = sys_openat(AT_FDCWD, real, O_RDONLY | O_DIRECTORY, 0);
	if (fd == -ENOTDIR)
		return refuse_rootfs(e, ENOTDIR, path, "it is not a directory",
				     "name a directory; for an image file, unpack or mount it");
	if (fd < 0)
		return refuse_rootfs(e, -fd, path, strerror(-fd), "make it readable");
	return check_contents(fd, path, e);
}

int image_open_rootfs(struct store *s, const char *path, struct image *out, struct err *e)
{
	struct image image;
	image_init(&image);
	image.root = realpath(path, NULL);
	if (!image.root)
		return refuse_rootfs(e, errno, path, strerror(errno), "name an existing directory");
	int r = check_rootfs(s, path, image.root, e);
	if (r == 0 && asprintf(&image.name, "rootfs:%s", image.root) < 0) {
		image.name = NULL;
		r = no_memory(e);
	}
	if (r) {
		image_close(&image);
		return r;
	}
	*out = image;
	return 0;
}

int image_open_again(struct store *s, const char *name, const char *root, struct image *out,
		     struct err *e)
{
	if (!strncmp(name, "rootfs:", 7))
		return image_open_rootfs(s, name + 7, out, e);
	const char *base = strrchr(root, '/');
	if (strcmp(name, "host") || !base || store_check_name("base", base + 1, NULL))
		return err_set(e, EINVAL, "'%s' is not the name of a base", name);
	struct image image;
	image_init(&image);
	int r = open_host(s, base + 1, false, &image, e);
	if (r) {
		image_close(&image);
		return r;
	}
	*out = image;
	return 0;
}
