#include "history.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "harness/harness.h"
#include "sandbox/overlay.h"
#include "store/layer.h"

void history_init(struct history *h, const struct fsbox *b, uint64_t seed)
{
	*h = (struct history){ .box = b, .random = seed * 0x9e3779b97f4a7c15ull + 1 };
}

void history_deinit(struct history *h)
{
	while (h->n)
		layer_discard(h->box->store, h->layer[--h->n]);
}

static unsigned int below(struct history *h, unsigned int n)
{
	h->random ^= h->random << 13;
	h->random ^= h->random >> 7;
	h->random ^= h->random << 17;
	return (unsigned int)(h->random >> 33) % n;
}

static int overlay_of(const struct fsbox *b, struct layer *const *layer, size_t n,
		      struct layer *upper)
{
	struct err e = ERR_INIT;
	int fds[HISTORY_LAYERS + 1];
	for (size_t i = 0; i < n; i++)
		fds[i] = layer[n - 1 - i]->fs_fd;
	fds[n] = t_sys(open(b->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct overlay o = {
		.lower_fds = fds,
		.n_lowers = n + 1,
		.upper_fd = upper ? upper->fs_fd : -1,
		.work_fd = upper ? upper->work_fd : -1,
		.scratch_fd = upper ? upper->dir_fd : n ? layer[n - 1]->dir_fd : -1,
		.userxattr = b->userns,
	};
	if (!upper && !n)
		return fds[n];
	int fd = (int)t_ok_e(overlay_build(&o, &e), &e);
	close(fds[n]);
	return fd;
}

int history_view(const struct fsbox *b, struct layer *const *layer, size_t n)
{
	return overlay_of(b, layer, n, NULL);
}

int history_open(struct history *h)
{
	struct err e = ERR_INIT;
	struct layer *upper;
	t_assert(h->n < HISTORY_LAYERS);
	t_ok_e(layer_new(h->box->store, &upper, &e), &e);
	int fd = overlay_of(h->box, h->layer, h->n, upper);
	h->layer[h->n++] = upper;
	return fd;
}

void history_close(int fd)
{
	close(fd);
}

/* Changes */

/* A path of up to four names out of four: most of them meet something. */
static void any_path(struct history *h, char path[64])
{
	static const char *const top[] = { "data", "data", "tmp", "old" };
	static const char *const name[] = { "a", "b", "c", "sub" };
	unsigned int depth = below(h, 4);
	strcpy(path, top[below(h, 4)]);
	for (unsigned int i = 0; i < depth; i++)
		sprintf(path + strlen(path), "/%s", name[below(h, 4)]);
}

static bool make_whole(struct history *h, int fd, const char *path)
{
	int f = openat(fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK,
		       0600 + below(h, 0200));
	if (f < 0)
		return false;
	char text[64];
	int n = snprintf(text, sizeof(text), "%lu", ++h->serial);
	bool ok = write(f, text, (size_t)n) == n;
	close(f);
	return ok;
}

static bool make_sparse(int fd, const char *path)
{
	int f = openat(fd, path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0644);
	if (f < 0)
		return false;
	bool ok = pwrite(f, "far", 3, 5 << 20) == 3;
	close(f);
	return ok;
}

static bool append(int fd, const char *path)
{
	int f = openat(fd, path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	bool ok = f >= 0 && write(f, "+", 1) == 1;
	if (f >= 0)
		close(f);
	return ok;
}

static bool set_attribute(struct history *h, int fd, const char *path)
{
	int f = openat(fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (f < 0)
		return false;
	char name[16];
	snprintf(name, sizeof(name), "user.%u", below(h, 3));
	bool ok = below(h, 3) ? !fsetxattr(f, name, name, below(h, 6), 0) : !fremovexattr(f, name);
	close(f);
	return ok;
}

static bool empty_tree(int fd, const char *path)
{
	struct stat st;
	if (fstatat(fd, path, &st, AT_SYMLINK_NOFOLLOW) || !S_ISDIR(st.st_mode))
		return !unlinkat(fd, path, 0);
	int d = openat(fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = d < 0 ? NULL : fdopendir(d);
	if (!dir)
		return false;
	struct dirent *entry;
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			empty_tree(d, entry->d_name);
	closedir(dir);
	return !unlinkat(fd, path, AT_REMOVEDIR);
}

static bool change_times(struct history *h, int fd, const char *path)
{
	struct timespec times[2] = { { below(h, 2000000000), below(h, 1000000000) },
				     { below(h, 2000000000), below(h, 1000000000) } };
	return !utimensat(fd, path, times, AT_SYMLINK_NOFOLLOW);
}

static bool change_owner(struct history *h, int fd, const char *path)
{
	uid_t id = h->box->userns ? 0 : below(h, 3);
	return !fchownat(fd, path, id, id, AT_SYMLINK_NOFOLLOW);
}

enum change {
	WRITE, SPARSE, APPEND, MKDIR, UNLINK, RMDIR, REMOVE, RENAME, MOVE, EXCHANGE, LINK, SYMLINK,
	FIFO, SOCKET, DEVICE, CHMOD, CHOWN, UTIMES, XATTR, TRUNCATE, CHANGES
};

static bool change(struct history *h, int fd, enum change what)
{
	char a[64], b[64];
	any_path(h, a);
	any_path(h, b);
	switch (what) {
	case WRITE:
		return make_whole(h, fd, a);
	case SPARSE:
		return make_sparse(fd, a);
	case APPEND:
		return append(fd, a);
	case MKDIR:
		return !mkdirat(fd, a, 0700 + below(h, 0100));
	case UNLINK:
		return !unlinkat(fd, a, 0);
	case RMDIR:
		return !unlinkat(fd, a, AT_REMOVEDIR);
	case REMOVE:
		return empty_tree(fd, a);
	case RENAME:
	case MOVE:
		return !renameat(fd, a, fd, b);
	case EXCHANGE:
		return !renameat2(fd, a, fd, b, RENAME_EXCHANGE);
	case LINK:
		return !linkat(fd, a, fd, b, 0);
	case SYMLINK:
		return !symlinkat(b, fd, a);
	case FIFO:
		return !mkfifoat(fd, a, 0640);
	case SOCKET:
		return !mknodat(fd, a, S_IFSOCK | 0750, 0);
	case DEVICE:
		return !mknodat(fd, a, S_IFCHR | 0604, makedev(1, 3));
	case CHMOD:
		return !fchmodat(fd, a, below(h, 010000) | 0400, 0);
	case CHOWN:
		return change_owner(h, fd, a);
	case UTIMES:
		return change_times(h, fd, a);
	case XATTR:
		return set_attribute(h, fd, a);
	case TRUNCATE: {
		int f = openat(fd, a, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
		bool ok = f >= 0 && !ftruncate(f, below(h, 3000));
		if (f >= 0)
			close(f);
		return ok;
	}
	default:
		return false;
	}
}

void history_round(struct history *h, unsigned int n)
{
	int fd = history_open(h);
	for (unsigned int i = 0; i < n;) {
		/* More is made and moved than removed, or little would be left. */
		static const enum change often[] = { WRITE, MKDIR, RENAME, LINK };
		enum change what = below(h, 2) ? often[below(h, 4)] : (enum change)below(h, CHANGES);
		if (what == REMOVE && below(h, 2))
			continue;
		h->done[what] += change(h, fd, what);
		i++;
	}
	history_close(fd);
}

/* Looking */

struct known {
	uint64_t dev, ino;
	char *path;
};

struct look {
	FILE *out;
	bool userns;
	struct known known[4096];
	size_t n;
};

static uint64_t sum(int fd)
{
	unsigned char bytes[65536];
	uint64_t s = 14695981039346656037ull;
	for (ssize_t n; (n = read(fd, bytes, sizeof(bytes))) > 0;)
		for (ssize_t i = 0; i < n; i++)
			s = (s ^ bytes[i]) * 1099511628211ull;
	return s;
}

static void look_inside(struct look *l, int fd, const char *name)
{
	int f = t_sys(openat(fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
	struct stat st;
	t_sys(fstat(f, &st));
	if (S_ISREG(st.st_mode)) {
		fprintf(l->out, " %lld #%llx %s", (long long)st.st_size, (unsigned long long)sum(f),
			st.st_blocks * 512 < st.st_size / 2 ? "sparse" : "");
	}
	char names[4096], value[4096];
	ssize_t len = t_sys(flistxattr(f, names, sizeof(names)));
	/* In the order of their names: file systems have an order of their own. */
	for (char digit = '0'; digit < '3'; digit++)
		for (char *at = names; at < names + len; at += strlen(at) + 1)
			if (!strncmp(at, "user.", 5) && at[5] == digit)
				fprintf(l->out, " %s=%zd", at,
					(ssize_t)t_sys(fgetxattr(f, at, value, sizeof(value))));
	close(f);
}

static const char *same_file(struct look *l, const struct stat *st, const char *path)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->known[i].dev == st->st_dev && l->known[i].ino == st->st_ino)
			return l->known[i].path;
	t_assert(l->n < sizeof(l->known) / sizeof(l->known[0]));
	l->known[l->n++] = (struct known){ st->st_dev, st->st_ino, strdup(path) };
	return path;
}

static void look_entry(struct look *l, int fd, const char *name, const char *path)
{
	struct stat st;
	char link[4096];
	t_sys(fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW));
	fprintf(l->out, "%s %o %u:%u %llx %lld.%09ld", path, st.st_mode, st.st_uid, st.st_gid,
		(unsigned long long)st.st_rdev, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	/* Reading a link leaves its trace where mounts cannot be told not to. */
	if (!S_ISLNK(st.st_mode) || !l->userns)
		fprintf(l->out, " %lld.%09ld", (long long)st.st_atim.tv_sec, st.st_atim.tv_nsec);
	if (S_ISDIR(st.st_mode) || S_ISREG(st.st_mode))
		look_inside(l, fd, name);
	if (S_ISLNK(st.st_mode)) {
		ssize_t n = t_sys(readlinkat(fd, name, link, sizeof(link)));
		fprintf(l->out, " -> %.*s", (int)n, link);
	}
	if (!S_ISDIR(st.st_mode))
		fprintf(l->out, " = %s", same_file(l, &st, path));
	fprintf(l->out, "\n");
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void look_dir(struct look *l, int fd, const char *path)
{
	struct dirent **entries;
	int n = (int)t_sys(scandirat(fd, ".", &entries, NULL, by_name));
	for (int i = 0; i < n; i++) {
		const char *name = entries[i]->d_name;
		if (strcmp(name, ".") && strcmp(name, "..")) {
			char below_path[1024];
			snprintf(below_path, sizeof(below_path), "%s/%s", path, name);
			look_entry(l, fd, name, below_path);
			int sub = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (sub >= 0) {
				look_dir(l, sub, below_path);
				close(sub);
			}
		}
		free(entries[i]);
	}
	free(entries);
}

char *history_look(const struct fsbox *b, int view_fd)
{
	char *text = NULL;
	size_t len = 0;
	struct look *l = calloc(1, sizeof(*l));
	t_assert(l);
	l->out = open_memstream(&text, &len);
	l->userns = b->userns;
	look_entry(l, view_fd, ".", "");
	look_dir(l, view_fd, "");
	fclose(l->out);
	for (size_t i = 0; i < l->n; i++)
		free(l->known[i].path);
	free(l);
	return text;
}
