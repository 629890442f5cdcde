#include "image/host.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "store/tree.h"
#include "sys/file.h"
#include "sys/mount.h"

enum {
	HOST_VERSION = 2,     /* raise it when another skeleton is made */
	SKIN_DEPTH = 2,       /* /usr/lib/x86_64-linux-gnu */
	SKIN_LOCAL_DEPTH = 4, /* /usr/local/lib/python3.11/dist-packages */
	SKIN_DIRS_MAX = 4000, /* 0.2 ms apiece on a slow ext4 */
};

/* Directories that every skeleton has. /etc and the links come before. */
static const struct {
	const char *path;
	mode_t mode;
} directory[] = {
	{"dev", 0755},
	{"etc", 0755},
	{"home", 0755},
	{"media", 0755},
	{"mnt", 0755},
	{"opt", 0755},
	{"proc", 0555},
	{"root", 0700},
	{"run", 0755},
	{"run/lock", 01777},
	{"srv", 0755},
	{"sys", 0555},
	{"tmp", 01777},
	{"usr", 0755},
	{"var", 0755},
	{"var/backups", 0755},
	{"var/cache", 0755},
	{"var/cache/apt", 0755},
	{"var/cache/apt/archives", 0755},
	{"var/cache/apt/archives/partial", 0755},
	{"var/lib", 0755},
	{"var/lib/apt", 0755},
	{"var/lib/apt/lists", 0755},
	{"var/lib/apt/lists/partial", 0755},
	{"var/lib/dpkg", 0755},
	{"var/lib/dpkg/info", 0755},
	{"var/lib/dpkg/parts", 0755},
	{"var/lib/dpkg/updates", 0755},
	{"var/lib/misc", 0755},
	{"var/local", 0755},
	{"var/log", 0755},
	{"var/mail", 01777},
	{"var/opt", 0755},
	{"var/spool", 0755},
	{"var/tmp", 01777},
};

static const struct {
	const char *path;
	const char *text;
} var_link[] = {
	{"var/run", "/run"},
	{"var/lock", "/run/lock"},
};

/*
 * Package databases: what tells which packages there are. dpkg's lists of
 * files (info/) are thousands and stay out: `dpkg -L` knows nothing there.
 */
static const char *const package_file[] = {
	"var/lib/dpkg/status", "var/lib/dpkg/diversions", "var/lib/dpkg/statoverride",
	"var/lib/dpkg/arch",   "var/lib/dpkg/available",  "var/lib/apt/extended_states",
};

/* Top-level names that are links on a machine with a merged /usr. */
static const char *const usr_link[] = {"bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin"};

/*
 * Left out of /etc though everybody may read them; what not everybody may
 * read is left out anyhow. Patterns of fnmatch(3) on the path below /etc.
 */
static const char *const secret[] = {
	"machine-id",      "shadow*",           "gshadow*",
	"sudoers*",        "*credential*",      "*secret*",
	"*.key",           "*keytab*",          "ssh/ssh_host_*",
	"ssl/private*",    "security/opasswd*", "NetworkManager/system-connections*",
	"wpa_supplicant*", "docker/key.json",   ".pwd.lock",
	"resolv.conf", /* copied by itself: it is often a link to /run */
};

struct fill {
	int root_fd;
	bool own_ids; /* real root: owners are kept */
	uint64_t total_bytes;
};

static bool is_secret(const char *path, const struct stat *st)
{
	for (size_t i = 0; i < sizeof(secret) / sizeof(secret[0]); i++)
		if (!fnmatch(secret[i], path, 0))
			return true;
	if (S_ISLNK(st->st_mode))
		return false;
	mode_t needed = S_ISDIR(st->st_mode) ? 0005 : 0004;
	return (st->st_mode & needed) != needed;
}

static int fail(struct err *e, int r, const char *what)
{
	err_set(e, -r, "cannot make the host's skeleton root: '%s': %s", what, strerror(-r));
	if (r == -ENOSPC || r == -EDQUOT)
		err_remedy(e, "make room where the state directory lies, or run 'mulligan gc'");
	return r;
}

/* FNV-1a, 64 bits: a name for a state of /etc, not a protection. */
static void mix(uint64_t *digest, const void *bytes, size_t len)
{
	for (const uint8_t *b = bytes; len--; b++)
		*digest = (*digest ^ *b) * 0x100000001b3ull;
}

static int mix_entry(void *ctx, const struct tree_entry *entry)
{
	uint64_t *digest = ctx;
	const struct stat *st = entry->st;
	if (is_secret(entry->path, st))
		return 1;
	uint64_t facts[] = {st->st_mode,
			    st->st_uid,
			    st->st_gid,
			    (uint64_t)st->st_size,
			    (uint64_t)st->st_mtim.tv_sec,
			    (uint64_t)st->st_mtim.tv_nsec};
	/* A directory's size and time are those of its entries, secret ones too. */
	mix(digest, entry->path, strlen(entry->path) + 1);
	mix(digest, facts, S_ISDIR(st->st_mode) ? 3 * sizeof(facts[0]) : sizeof(facts));
	return 0;
}

int host_digest(uint64_t *digest, struct err *e)
{
	uint64_t d = 0xcbf29ce484222325ull;
	uint32_t facts[] = {HOST_VERSION, geteuid(), sys_in_userns()};
	mix(&d, facts, sizeof(facts));
	scoped_free char *boot = NULL;
	int r = sys_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &boot);
	if (r)
		return fail(e, r, "/proc/sys/kernel/random/boot_id");
	mix(&d, boot, strlen(boot));
	for (size_t i = 0; i < sizeof(package_file) / sizeof(package_file[0]); i++) {
		struct stat st;
		char path[64];
		snprintf(path, sizeof(path), "/%s", package_file[i]);
		r = sys_fstatat(AT_FDCWD, path, &st, 0);
		if (r == -ENOENT || r == -ENOTDIR || r == -EACCES)
			continue; /* another distribution's */
		if (r)
			return fail(e, r, path);
		uint64_t file[] = {i, (uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec};
		mix(&d, file, sizeof(file));
	}
	scoped_fd int etc = sys_openat(AT_FDCWD, "/etc", O_RDONLY | O_DIRECTORY, 0);
	r = etc < 0 ? etc : tree_walk(etc, mix_entry, &d);
	if (r)
		return fail(e, r, "/etc");
	*digest = d;
	return 0;
}

static int set_meta(const struct fill *f, int fd, const struct stat *st)
{
	int r = 0;
	if (f->own_ids && (st->st_uid || st->st_gid))
		r = sys_fchownat(fd, "", st->st_uid, st->st_gid, AT_EMPTY_PATH);
	if (r == 0)
		r = sys_fchmod(fd, st->st_mode & 01777);
	struct timespec times[2] = {st->st_mtim, st->st_mtim};
	return r ? r : sys_utimensat(fd, "", times, AT_EMPTY_PATH);
}

static int copy_file(struct fill *f, int dir_fd, const char *name, const char *to)
{
	scoped_fd int from = sys_openat(dir_fd, name, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0);
	/* A package being installed, or an access rule that modes do not show. */
	if (from == -ENOENT || from == -EACCES || from == -EPERM)
		return 0;
	struct stat st;
	int r = from < 0 ? from : sys_fstat(from, &st);
	if (r || !S_ISREG(st.st_mode) || st.st_size > HOST_FILE_BYTES_MAX)
		return r;
	f->total_bytes += (uint64_t)st.st_size;
	if (f->total_bytes > HOST_TOTAL_BYTES_MAX)
		return -EFBIG;
	scoped_fd int fd = sys_openat(f->root_fd, to, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	r = sys_copy_contents(fd, from);
	return r < 0 ? r : set_meta(f, fd, &st);
}

static int copy_link(const struct fill *f, int dir_fd, const char *name, const char *to)
{
	char text[4096];
	ssize_t n = readlinkat(dir_fd, name, text, sizeof(text) - 1);
	if (n < 0)
		return 0; /* gone meanwhile */
	text[n] = '\0';
	return sys_symlinkat(text, f->root_fd, to);
}

static int copy_dir(const struct fill *f, const struct stat *st, const char *to)
{
	int r = sys_mkdirat(f->root_fd, to, 0755);
	if (r)
		return r;
	scoped_fd int fd = sys_openat(f->root_fd, to, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	return fd < 0 ? fd : set_meta(f, fd, st);
}

static int copy_etc(void *ctx, const struct tree_entry *entry)
{
	struct fill *f = ctx;
	if (is_secret(entry->path, entry->st))
		return 1;
	scoped_free char *to = NULL;
	if (asprintf(&to, "etc/%s", entry->path) < 0)
		return -ENOMEM;
	if (S_ISDIR(entry->st->st_mode))
		return copy_dir(f, entry->st, to);
	if (S_ISLNK(entry->st->st_mode))
		return copy_link(f, entry->dir_fd, entry->name, to);
	return S_ISREG(entry->st->st_mode) ? copy_file(f, entry->dir_fd, entry->name, to) : 0;
}

static int write_text(const struct fill *f, const char *path, mode_t mode, const char *text)
{
	scoped_fd int fd =
		sys_openat(f->root_fd, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
	return fd < 0 ? fd : sys_write_all(fd, text, strlen(text));
}

/*
 * The password database's other half, with every account locked: programs
 * that add users want it there.
 */
static int make_shadow(const struct fill *f, const char *from, const char *to, const char *fields)
{
	scoped_free char *text = NULL;
	int r = sys_read_file(f->root_fd, from, HOST_FILE_BYTES_MAX, &text);
	if (r == -ENOENT)
		return 0;
	if (r)
		return r;
	struct buf b = BUF_INIT;
	char *rest = text, *line;
	while ((line = strsep(&rest, "\n"))) {
		size_t len = strcspn(line, ":");
		if (line[len] == ':' && len)
			buf_printf(&b, "%.*s:%s\n", (int)len, line, fields);
	}
	r = b.failed ? -ENOMEM : write_text(f, to, 0640, b.data ? b.data : "");
	buf_deinit(&b);
	return r;
}

static int fill_etc(struct fill *f, struct err *e)
{
	scoped_fd int etc = sys_openat(AT_FDCWD, "/etc", O_RDONLY | O_DIRECTORY, 0);
	int r = etc < 0 ? etc : tree_walk(etc, copy_etc, f);
	if (r == 0)
		r = copy_file(f, etc, "resolv.conf", "etc/resolv.conf");
	if (r == 0)
		r = write_text(f, "etc/machine-id", 0444, "");
	if (r == 0)
		r = make_shadow(f, "etc/passwd", "etc/shadow", "*:19000:0:99999:7:::");
	if (r == 0)
		r = make_shadow(f, "etc/group", "etc/gshadow", "*::");
	if (r == -EFBIG) {
		err_set(e, EFBIG, "/etc of this machine has more than %d MB",
			HOST_TOTAL_BYTES_MAX >> 20);
		return err_remedy(e, "use --rootfs or --image");
	}
	return r ? fail(e, r, "/etc") : 0;
}

static int fill_links(const struct fill *f, struct err *e)
{
	scoped_fd int top = sys_openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY, 0);
	if (top < 0)
		return fail(e, top, "/");
	for (size_t i = 0; i < sizeof(usr_link) / sizeof(usr_link[0]); i++) {
		struct stat st;
		int r = sys_fstatat(top, usr_link[i], &st, AT_SYMLINK_NOFOLLOW);
		if (r == -ENOENT)
			continue;
		if (r == 0 && S_ISLNK(st.st_mode))
			r = copy_link(f, top, usr_link[i], usr_link[i]);
		else if (r == 0 && S_ISDIR(st.st_mode))
			r = sys_mkdirat(f->root_fd, usr_link[i], 0755);
		if (r)
			return fail(e, r, usr_link[i]);
	}
	return 0;
}

static int fill_directories(const struct fill *f, struct err *e)
{
	for (size_t i = 0; i < sizeof(directory) / sizeof(directory[0]); i++) {
		int r = sys_mkdirat(f->root_fd, directory[i].path, 0700);
		if (r == 0) /* not through the umask */
			r = sys_fchmodat(f->root_fd, directory[i].path, directory[i].mode);
		if (r)
			return fail(e, r, directory[i].path);
	}
	for (size_t i = 0; i < sizeof(var_link) / sizeof(var_link[0]); i++) {
		int r = sys_symlinkat(var_link[i].text, f->root_fd, var_link[i].path);
		if (r)
			return fail(e, r, var_link[i].path);
	}
	return 0;
}

static int fill_packages(struct fill *f, struct err *e)
{
	scoped_fd int top = sys_openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY, 0);
	if (top < 0)
		return fail(e, top, "/");
	for (size_t i = 0; i < sizeof(package_file) / sizeof(package_file[0]); i++) {
		int r = copy_file(f, top, package_file[i], package_file[i]);
		if (r)
			return fail(e, r, package_file[i]);
	}
	return 0;
}

int host_fill(int root_fd, struct err *e)
{
	struct fill f = {.root_fd = root_fd, .own_ids = geteuid() == 0 && !sys_in_userns()};
	int r = sys_fchmod(root_fd, 0755);
	if (r)
		return fail(e, r, "/");
	r = fill_directories(&f, e);
	if (r == 0)
		r = fill_links(&f, e);
	if (r == 0)
		r = fill_etc(&f, e);
	if (r == 0)
		r = fill_packages(&f, e);
	return r;
}

struct skin {
	int fd;
	size_t n;
};

static int add_skin_dir(void *ctx, const struct tree_entry *entry)
{
	struct skin *skin = ctx;
	if (!S_ISDIR(entry->st->st_mode) || (entry->st->st_mode & 0005) != 0005)
		return 1;
	int depth = 1;
	for (const char *c = entry->path; *c; c++)
		depth += *c == '/';
	bool local = !strncmp(entry->path, "local", 5) || !strncmp(entry->path, "lib/python3", 11);
	if (depth > (local ? SKIN_LOCAL_DEPTH : SKIN_DEPTH) || skin->n++ >= SKIN_DIRS_MAX)
		return 1;
	int r = sys_mkdirat(skin->fd, entry->path, 0700);
	scoped_fd int fd =
		r ? r : sys_open_beneath(skin->fd, entry->path, O_RDONLY | O_DIRECTORY, 0);
	struct fill f = {.own_ids = false};
	return fd < 0 ? fd : set_meta(&f, fd, entry->st);
}

int host_fill_skin(int skin_fd, const char *source, struct err *e)
{
	struct skin skin = {.fd = skin_fd};
	struct stat st;
	struct fill f = {.own_ids = false};
	scoped_fd int from = sys_openat(AT_FDCWD, source, O_RDONLY | O_DIRECTORY, 0);
	int r = from < 0 ? from : sys_fstat(from, &st);
	if (r == 0)
		r = tree_walk(from, add_skin_dir, &skin);
	if (r == 0)
		r = set_meta(&f, skin_fd, &st);
	return r ? fail(e, r, source) : 0;
}
