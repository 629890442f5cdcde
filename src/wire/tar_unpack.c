#include "wire/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/vec.h"
#include "sys/file.h"
#include "sys/lookup.h"
#include "wire/tar_format.h"

enum { PAX_MAX_BYTES = 1 << 20 };	/* paths; more is nonsense */

enum unpack_state {
	UNPACK_HEADER,
	UNPACK_PAX,
	UNPACK_DATA,
	UNPACK_PAD,
	UNPACK_ENDED,		/* two zero blocks seen; what follows is ignored */
};

struct unpack_dir {
	char *path;
	mode_t mode;
	int64_t mtime;
};

struct tar_unpack {
	int dir_fd;
	char *rename;		/* of the first component, or NULL */
	enum unpack_state state;
	struct buf block;	/* header or pax bytes so far */
	char *pax_path, *pax_link;
	int64_t pax_size;	/* -1: none */
	uint64_t left_bytes;
	size_t pad_bytes;
	unsigned int zero_blocks;
	int file_fd;		/* -1: skip the contents */
	struct stat file;	/* mode and mtime for it */
	struct buf path;	/* of the entry at hand */
	struct vec dirs;	/* struct unpack_dir */
	struct tar_counts counts;
};

int tar_unpack_new(int dir_fd, const char *rename, struct tar_unpack **out, struct err *e)
{
	struct tar_unpack *u = calloc(1, sizeof(*u));
	if (!u)
		return err_set(e, ENOMEM, "no memory to unpack files");
	u->dir_fd = dup(dir_fd);
	u->rename = rename ? strdup(rename) : NULL;
	u->file_fd = -1;
	u->pax_size = -1;
	u->dirs = VEC_INIT(struct unpack_dir);
	if (u->dir_fd < 0 || (rename && !u->rename)) {
		tar_unpack_free(u);
		return err_set(e, EMFILE, "no descriptor to unpack files");
	}
	*out = u;
	return 0;
}

static void pax_forget(struct tar_unpack *u)
{
	free(take_ptr(u->pax_path));
	free(take_ptr(u->pax_link));
	u->pax_size = -1;
}

void tar_unpack_free(struct tar_unpack *u)
{
	if (!u)
		return;
	cleanup_fd(&u->dir_fd);
	cleanup_fd(&u->file_fd);
	vec_each(struct unpack_dir, d, &u->dirs)
		free(d->path);
	vec_deinit(&u->dirs);
	buf_deinit(&u->block);
	buf_deinit(&u->path);
	pax_forget(u);
	free(u->rename);
	free(u);
}

const struct tar_counts *tar_unpack_counts(const struct tar_unpack *u)
{
	return &u->counts;
}

static int bad_stream(struct err *e, const char *what)
{
	return err_set(e, EBADMSG, "the tar stream is damaged: %s", what);
}

static int unpack_failed(struct tar_unpack *u, int code, struct err *e)
{
	err_set(e, code, "write %s: %s", u->path.data, strerror(code));
	return err_path(e, u->path.data);
}

static int64_t octal(const char *field, size_t len)
{
	int64_t value = 0;
	size_t i = 0;
	while (i < len && field[i] == ' ')
		i++;
	for (; i < len && field[i] >= '0' && field[i] <= '7'; i++) {
		if (value > INT64_MAX >> 3)
			return -1;
		value = value << 3 | (field[i] - '0');
	}
	return i < len && field[i] && field[i] != ' ' ? -1 : value;
}

/* One record at p: "<length> <key>=<value>\n"; its length, 0: damaged. */
static size_t pax_take(struct tar_unpack *u, const char *p, size_t left)
{
	char *end;
	unsigned long len = strtoul(p, &end, 10);
	if (end == p || *end != ' ' || len > left || len < 5 || p[len - 1] != '\n')
		return 0;
	const char *key = end + 1;
	const char *equals = memchr(key, '=', (size_t)(p + len - key));
	if (!equals)
		return 0;
	size_t key_len = (size_t)(equals - key);
	const char *value = equals + 1;
	size_t value_len = (size_t)(p + len - 1 - value);
	char **text = NULL;
	if (key_len == 4 && !memcmp(key, "path", 4))
		text = &u->pax_path;
	else if (key_len == 8 && !memcmp(key, "linkpath", 8))
		text = &u->pax_link;
	else if (key_len == 4 && !memcmp(key, "size", 4))
		u->pax_size = strtoll(value, NULL, 10);
	if (text) {
		free(*text);
		*text = strndup(value, value_len);
	}
	return len;
}

static int pax_parse(struct tar_unpack *u, struct err *e)
{
	for (size_t at = 0; at < u->left_bytes;) {
		size_t n = pax_take(u, u->block.data + at, u->left_bytes - at);
		if (!n)
			return bad_stream(e, "a pax record");
		at += n;
	}
	return 0;
}

/* Append the name to out without empty and "." components. */
static int name_clean(const char *name, const char *rename, struct buf *out, struct err *e)
{
	bool first = true;
	while (*name) {
		size_t len = strcspn(name, "/");
		if (len == 2 && !memcmp(name, "..", 2)) {
			err_set(e, EBADMSG, "the tar stream names a file with '..' in its path");
			return err_path(e, name);
		}
		if (len && !(len == 1 && name[0] == '.')) {
			if (!first)
				buf_str(out, "/");
			if (first && rename)
				buf_str(out, rename);
			else
				buf_add(out, name, len);
			first = false;
		}
		name += len + (name[len] == '/');
	}
	return out->failed ? err_set(e, ENOMEM, "no memory for a path") : 0;
}

/* The directory that u->path is in: "" splits off the last component. */
static int parent_open(struct tar_unpack *u, const char *path, const char **last)
{
	const char *slash = strrchr(path, '/');
	*last = slash ? slash + 1 : path;
	if (!slash)
		return dup(u->dir_fd);
	scoped_free char *parent = strndup(path, (size_t)(slash - path));
	return parent ? sys_open_beneath(u->dir_fd, parent, O_PATH | O_DIRECTORY, 0) : -ENOMEM;
}

static int make_directory(struct tar_unpack *u, int dir, const char *last, mode_t mode,
			  struct err *e)
{
	int r = sys_mkdirat(dir, last, mode | 0700);
	struct stat st;
	if (r == -EEXIST && !sys_fstatat(dir, last, &st, AT_SYMLINK_NOFOLLOW))
		return S_ISDIR(st.st_mode) ? 0 : unpack_failed(u, ENOTDIR, e);
	if (r)
		return unpack_failed(u, -r, e);
	struct unpack_dir *d = vec_add(&u->dirs);
	if (d)
		*d = (struct unpack_dir){ strdup(u->path.data), mode, u->file.st_mtime };
	return d && d->path ? 0 : unpack_failed(u, ENOMEM, e);
}

/* Something else of that name goes first, unless it is a directory. */
static int make_way(struct tar_unpack *u, int dir, const char *last, struct err *e)
{
	int r = sys_unlinkat(dir, last, 0);
	return r && r != -ENOENT ? unpack_failed(u, -r, e) : 0;
}

static int make_link(struct tar_unpack *u, int dir, const char *last, const char *target,
		     struct err *e)
{
	struct buf clean = BUF_INIT;
	int r = name_clean(target, u->rename, &clean, e);
	if (r) {
		buf_deinit(&clean);
		return r;
	}
	const char *from;
	scoped_fd int from_dir = parent_open(u, clean.data ? clean.data : "", &from);
	r = from_dir < 0 ? from_dir : sys_linkat(from_dir, from, dir, last, 0);
	buf_deinit(&clean);
	return r ? unpack_failed(u, -r, e) : 0;
}

static int make_entry(struct tar_unpack *u, char type, const char *link, struct err *e)
{
	const char *last;
	scoped_fd int dir = parent_open(u, u->path.data, &last);
	if (dir < 0)
		return unpack_failed(u, -dir, e);
	u->counts.files++;
	mode_t mode = u->file.st_mode;
	if (type == '5')
		return make_directory(u, dir, last, mode, e);
	if (type && !strchr("0126", type)) {
		u->counts.files--;
		u->counts.skipped++;
		return 0;
	}
	int r = make_way(u, dir, last, e);
	if (r)
		return r;
	switch (type) {
	default:
		u->file_fd = sys_openat(dir, last,
					O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
		return u->file_fd < 0 ? unpack_failed(u, -u->file_fd, e) : 0;
	case '1':
		return make_link(u, dir, last, link, e);
	case '2':
		r = sys_symlinkat(link, dir, last);
		return r ? unpack_failed(u, -r, e) : 0;
	case '6':
		return mkfifoat(dir, last, mode) ? unpack_failed(u, errno, e) : 0;
	}
}

static void header_name(const struct tar_header *h, struct buf *out)
{
	if (!memcmp(h->magic, "ustar", 5) && h->prefix[0]) {
		buf_add(out, h->prefix, strnlen(h->prefix, sizeof(h->prefix)));
		buf_str(out, "/");
	}
	buf_add(out, h->name, strnlen(h->name, sizeof(h->name)));
}

/* An entry's header, with the pax records before it. */
static int unpack_entry(struct tar_unpack *u, const struct tar_header *h, struct err *e)
{
	struct buf name = BUF_INIT;
	if (u->pax_path)
		buf_str(&name, u->pax_path);
	else
		header_name(h, &name);
	u->path.len = 0;
	int r = name.failed ? err_set(e, ENOMEM, "no memory for a path") :
			      name_clean(name.data ? name.data : "", u->rename, &u->path, e);
	buf_deinit(&name);
	if (r)
		return r;
	char link[101] = "";
	memcpy(link, h->linkname, sizeof(h->linkname));
	u->file.st_mode = (mode_t)octal(h->mode, sizeof(h->mode)) & 0777;
	u->file.st_mtime = octal(h->mtime, sizeof(h->mtime));
	/* the directory that everything is put in, named "." or "/" */
	if (u->path.len)
		r = make_entry(u, h->type, u->pax_link ? u->pax_link : link, e);
	u->state = UNPACK_DATA;
	pax_forget(u);
	return r;
}

static int unpack_header(struct tar_unpack *u, struct err *e)
{
	const struct tar_header *h = (const struct tar_header *)u->block.data;
	static const char zeros[TAR_BLOCK];
	u->left_bytes = 0;
	if (!memcmp(h, zeros, TAR_BLOCK)) {
		if (++u->zero_blocks == 2)
			u->state = UNPACK_ENDED;
		return 0;
	}
	u->zero_blocks = 0;
	if (octal(h->checksum, sizeof(h->checksum)) != (int64_t)tar_checksum(h))
		return bad_stream(e, "a header's checksum");
	int64_t size = octal(h->size, sizeof(h->size));
	if (h->type != 'x' && u->pax_size >= 0)
		size = u->pax_size;
	if (size < 0)
		return bad_stream(e, "a size");
	u->pad_bytes = (TAR_BLOCK - (size_t)(size % TAR_BLOCK)) % TAR_BLOCK;
	if (h->type == 'x' || h->type == 'g') {
		if (size > PAX_MAX_BYTES)
			return bad_stream(e, "an oversized pax header");
		u->left_bytes = (uint64_t)size;
		u->state = UNPACK_PAX;
		return 0;
	}
	u->left_bytes = strchr("123456", h->type) && h->type ? 0 : (uint64_t)size;
	if (!u->left_bytes)
		u->pad_bytes = 0;
	return unpack_entry(u, h, e);
}

static int file_finish(struct tar_unpack *u, struct err *e)
{
	scoped_fd int fd = take_fd(&u->file_fd);
	if (fd < 0)
		return 0;
	struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, { .tv_sec = u->file.st_mtime } };
	if (fchmod(fd, u->file.st_mode) || futimens(fd, times))
		return unpack_failed(u, errno, e);
	return 0;
}

static size_t smaller(uint64_t a, size_t b)
{
	return a < b ? (size_t)a : b;
}

/* Consume some of the bytes in the present state; how many, or -errno. */
static long unpack_step(struct tar_unpack *u, const char *bytes, size_t len, struct err *e)
{
	size_t n = len;
	int r = 0;
	switch (u->state) {
	case UNPACK_HEADER:
	case UNPACK_PAX: {
		size_t whole = u->state == UNPACK_HEADER ? TAR_BLOCK : (size_t)u->left_bytes;
		n = smaller(whole - u->block.len, len);
		buf_add(&u->block, bytes, n);
		if (u->block.failed)
			return err_set(e, ENOMEM, "no memory for a tar header");
		if (u->block.len < whole)
			break;
		if (u->state == UNPACK_HEADER) {
			r = unpack_header(u, e);
		} else {
			r = pax_parse(u, e);
			u->state = UNPACK_PAD;
		}
		u->block.len = 0;
		break;
	}
	case UNPACK_DATA:
		n = smaller(u->left_bytes, len);
		if (u->file_fd >= 0) {
			r = sys_write_all(u->file_fd, bytes, n);
			if (r)
				return unpack_failed(u, -r, e);
			u->counts.bytes += n;
		}
		u->left_bytes -= n;
		if (!u->left_bytes) {
			r = file_finish(u, e);
			u->state = UNPACK_PAD;
		}
		break;
	case UNPACK_PAD:
		n = smaller(u->pad_bytes, len);
		u->pad_bytes -= n;
		if (!u->pad_bytes)
			u->state = UNPACK_HEADER;
		break;
	case UNPACK_ENDED:
		break;
	}
	return r ? r : (long)n;
}

int tar_unpack_feed(struct tar_unpack *u, const void *bytes, size_t len, struct err *e)
{
	const char *p = bytes;
	/* states that need no more bytes are passed through even at the end */
	while (len || (u->state == UNPACK_DATA && !u->left_bytes) ||
	       (u->state == UNPACK_PAD && !u->pad_bytes)) {
		long n = unpack_step(u, p, len, e);
		if (n < 0)
			return (int)n;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int tar_unpack_end(struct tar_unpack *u, struct err *e)
{
	if (u->state != UNPACK_ENDED && !(u->state == UNPACK_HEADER && !u->block.len))
		return bad_stream(e, "it ends in the middle of a file");
	for (size_t i = u->dirs.n; i-- > 0;) {
		struct unpack_dir *d = vec_at(&u->dirs, i);
		scoped_fd int fd = sys_open_beneath(u->dir_fd, d->path, O_RDONLY | O_DIRECTORY, 0);
		struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, { .tv_sec = d->mtime } };
		/* somebody else may have taken it away since: not our loss */
		if (fd >= 0 && (fchmod(fd, d->mode) || futimens(fd, times)))
			return err_set(e, errno, "set the mode of %s", d->path);
	}
	return 0;
}
