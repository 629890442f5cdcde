#include "wire/tar.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/vec.h"
#include "sys/file.h"
#include "sys/lookup.h"
#include "wire/tar_format.h"

enum {
	PACK_DEPTH_MAX = 256,		/* directories open at once */
	PACK_CHUNK = 64 << 10,
};

struct pack_dir {
	DIR *dir;
	size_t name_bytes;	/* of the path, with its slash */
};

struct tar_pack {
	int top_fd;		/* until it was packed */
	struct buf path;	/* of the entry at hand */
	struct vec dirs;	/* struct pack_dir, outermost first */
	int file_fd;		/* contents under way */
	uint64_t left_bytes;
	size_t pad_bytes;
	bool ended;
	struct tar_counts counts;
};

int tar_pack_new(int path_fd, const char *name, struct tar_pack **out, struct err *e)
{
	struct tar_pack *p = calloc(1, sizeof(*p));
	if (!p)
		return err_set(e, ENOMEM, "no memory to pack files");
	p->top_fd = dup(path_fd);
	p->file_fd = -1;
	p->dirs = VEC_INIT(struct pack_dir);
	buf_str(&p->path, name);
	if (p->top_fd < 0 || p->path.failed) {
		tar_pack_free(p);
		return err_set(e, EMFILE, "no descriptor to pack files");
	}
	*out = p;
	return 0;
}

void tar_pack_free(struct tar_pack *p)
{
	if (!p)
		return;
	cleanup_fd(&p->top_fd);
	cleanup_fd(&p->file_fd);
	vec_each(struct pack_dir, d, &p->dirs)
		closedir(d->dir);
	vec_deinit(&p->dirs);
	buf_deinit(&p->path);
	free(p);
}

const struct tar_counts *tar_pack_counts(const struct tar_pack *p)
{
	return &p->counts;
}

static void header_seal(struct tar_header *h)
{
	memcpy(h->magic, "ustar", 6);
	memcpy(h->version, "00", 2);
	snprintf(h->checksum, sizeof(h->checksum), "%06o", tar_checksum(h));
	h->checksum[7] = ' ';
}

/* "<length> <key>=<value>\n", where length counts its own digits. */
static void pax_record(struct buf *b, const char *key, const char *value)
{
	size_t bare = strlen(key) + strlen(value) + 3;
	size_t len = bare + 1;
	char digits[24];
	while (bare + (size_t)snprintf(digits, sizeof(digits), "%zu", len) != len)
		len++;
	buf_printf(b, "%zu %s=%s\n", len, key, value);
}

static void add_padding(struct buf *out, size_t len)
{
	static const char zeros[TAR_BLOCK];
	buf_add(out, zeros, (TAR_BLOCK - len % TAR_BLOCK) % TAR_BLOCK);
}

static void add_pax(struct buf *out, const struct buf *records)
{
	struct tar_header h = { .type = 'x', .name = "pax" };
	snprintf(h.mode, sizeof(h.mode), "0000644");
	snprintf(h.uid, sizeof(h.uid), "0000000");
	snprintf(h.gid, sizeof(h.gid), "0000000");
	snprintf(h.size, sizeof(h.size), "%011zo", records->len);
	snprintf(h.mtime, sizeof(h.mtime), "%011o", 0);
	header_seal(&h);
	buf_add(out, &h, sizeof(h));
	buf_add(out, records->data, records->len);
	add_padding(out, records->len);
}

/* The header of one entry, with pax records for what does not fit in it. */
static void add_header(struct tar_pack *p, struct buf *out, const struct stat *st, char type,
		       const char *link)
{
	struct tar_header h = { .type = type };
	struct buf pax = BUF_INIT;
	uint64_t size = type == '0' ? (uint64_t)st->st_size : 0;
	uint64_t mtime = st->st_mtime < 0 ? 0 : (uint64_t)st->st_mtime;
	if (p->path.len >= sizeof(h.name))
		pax_record(&pax, "path", p->path.data);
	if (strlen(link) >= sizeof(h.linkname))
		pax_record(&pax, "linkpath", link);
	if (size >= 1ull << 33) {	/* eleven octal digits */
		char digits[24];
		snprintf(digits, sizeof(digits), "%llu", (unsigned long long)size);
		pax_record(&pax, "size", digits);
		size = 0;
	}
	if (pax.len)
		add_pax(out, &pax);
	if (pax.failed)
		out->failed = true;
	buf_deinit(&pax);
	strncpy(h.name, p->path.data, sizeof(h.name) - 1);
	strncpy(h.linkname, link, sizeof(h.linkname) - 1);
	snprintf(h.mode, sizeof(h.mode), "%07o", st->st_mode & 0777);
	snprintf(h.uid, sizeof(h.uid), "%07o", 0);
	snprintf(h.gid, sizeof(h.gid), "%07o", 0);
	snprintf(h.size, sizeof(h.size), "%011llo", (unsigned long long)size);
	snprintf(h.mtime, sizeof(h.mtime), "%011llo", (unsigned long long)mtime & 077777777777);
	header_seal(&h);
	buf_add(out, &h, sizeof(h));
	p->counts.files++;
}

static int pack_failed(struct tar_pack *p, int code, struct err *e)
{
	err_set(e, code, "read %s: %s", p->path.data, strerror(code));
	return err_path(e, p->path.data);
}

static int pack_directory(struct tar_pack *p, int fd, const struct stat *st, struct buf *out,
			  struct err *e)
{
	if (p->dirs.n >= PACK_DEPTH_MAX)
		return pack_failed(p, ELOOP, e);
	int dir_fd = sys_reopen(fd, O_RDONLY | O_DIRECTORY);
	DIR *dir = dir_fd < 0 ? NULL : fdopendir(dir_fd);
	struct pack_dir *d = dir ? vec_add(&p->dirs) : NULL;
	if (!d) {
		if (dir)
			closedir(dir);
		else if (dir_fd >= 0)
			close(dir_fd);
		return pack_failed(p, dir_fd < 0 ? -dir_fd : ENOMEM, e);
	}
	buf_str(&p->path, "/");
	*d = (struct pack_dir){ .dir = dir, .name_bytes = p->path.len };
	add_header(p, out, st, '5', "");
	return 0;
}

static int pack_file(struct tar_pack *p, int fd, struct stat *st, struct buf *out, struct err *e)
{
	int r = sys_is_kernel_fs(fd);
	if (r < 0)
		return pack_failed(p, -r, e);
	if (r) {
		p->counts.skipped++;
		return 0;
	}
	p->file_fd = sys_reopen(fd, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (p->file_fd < 0)
		return pack_failed(p, -p->file_fd, e);
	r = sys_fstat(p->file_fd, st);
	if (r)
		return pack_failed(p, -r, e);
	add_header(p, out, st, '0', "");
	p->left_bytes = (uint64_t)st->st_size;
	p->pad_bytes = (TAR_BLOCK - p->left_bytes % TAR_BLOCK) % TAR_BLOCK;
	return 0;
}

/* Pack the inode that fd (O_PATH) stands for under p->path. */
static int pack_entry(struct tar_pack *p, int fd, struct buf *out, struct err *e)
{
	struct stat st;
	int r = sys_fstat(fd, &st);
	if (r)
		return pack_failed(p, -r, e);
	char link[4097] = "";
	switch (st.st_mode & S_IFMT) {
	case S_IFDIR:
		return pack_directory(p, fd, &st, out, e);
	case S_IFREG:
		return pack_file(p, fd, &st, out, e);
	case S_IFLNK:
		if (readlinkat(fd, "", link, sizeof(link) - 1) < 0)
			return pack_failed(p, EIO, e);
		add_header(p, out, &st, '2', link);
		return 0;
	case S_IFIFO:
		add_header(p, out, &st, '6', "");
		return 0;
	}
	p->counts.skipped++;
	return 0;
}

static int pack_contents(struct tar_pack *p, struct buf *out, struct err *e)
{
	size_t want = p->left_bytes < PACK_CHUNK ? (size_t)p->left_bytes : PACK_CHUNK;
	char *at = buf_room(out, PACK_CHUNK + TAR_BLOCK);
	if (!at)
		return err_set(e, ENOMEM, "no memory to pack files");
	ssize_t n = want ? read(p->file_fd, at, want) : 0;
	if (n < 0)
		return pack_failed(p, errno, e);
	if (n == 0 && want) {
		/* it shrank since its header went out: the rest is zeros */
		memset(at, 0, want);
		n = (ssize_t)want;
	}
	buf_grew(out, (size_t)n);
	p->left_bytes -= (uint64_t)n;
	p->counts.bytes += (uint64_t)n;
	if (p->left_bytes)
		return 0;
	memset(out->data + out->len, 0, p->pad_bytes);
	buf_grew(out, p->pad_bytes);
	cleanup_fd(&p->file_fd);
	return 0;
}

static void path_cut(struct tar_pack *p, size_t len)
{
	p->path.len = len;
	p->path.data[len] = '\0';
}

/* The next name of the innermost directory. */
static int pack_next(struct tar_pack *p, struct buf *out, struct err *e)
{
	struct pack_dir *d = vec_at(&p->dirs, p->dirs.n - 1);
	path_cut(p, d->name_bytes);
	errno = 0;
	struct dirent *entry = readdir(d->dir);
	if (!entry) {
		if (errno)
			return pack_failed(p, errno, e);
		closedir(d->dir);
		vec_remove(&p->dirs, p->dirs.n - 1);
		return 0;
	}
	if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
		return 0;
	buf_str(&p->path, entry->d_name);
	if (p->path.failed)
		return err_set(e, ENOMEM, "no memory to pack files");
	scoped_fd int fd = sys_open_beneath(dirfd(d->dir), entry->d_name, O_PATH | O_NOFOLLOW, 0);
	if (fd == -ENOENT || fd == -EXDEV || fd == -ELOOP) {
		/* removed meanwhile, or another mount, or a symlink (below) */
		scoped_fd int link = fd != -ELOOP ? -1 :
			openat(dirfd(d->dir), entry->d_name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (link >= 0)
			return pack_entry(p, link, out, e);
		p->counts.skipped += fd == -EXDEV;
		return 0;
	}
	return fd < 0 ? pack_failed(p, -fd, e) : pack_entry(p, fd, out, e);
}

int tar_pack_some(struct tar_pack *p, struct buf *out, size_t want, struct err *e)
{
	size_t begin = out->len;
	while (!p->ended && out->len - begin < want) {
		int r = 0;
		if (p->file_fd >= 0) {
			r = pack_contents(p, out, e);
		} else if (p->top_fd >= 0) {
			scoped_fd int top = take_fd(&p->top_fd);
			r = pack_entry(p, top, out, e);
		} else if (p->dirs.n) {
			r = pack_next(p, out, e);
		} else {
			static const char end[2 * TAR_BLOCK];
			buf_add(out, end, sizeof(end));
			p->ended = true;
		}
		if (r)
			return r;
		if (out->failed)
			return err_set(e, ENOMEM, "no memory to pack files");
	}
	return !p->ended;
}
