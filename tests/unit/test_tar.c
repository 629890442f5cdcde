#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/harness.h"
#include "wire/tar.h"
#include "wire/tar_format.h"

static int make_dir(const char *base, const char *name)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", base, name);
	t_sys(mkdir(path, 0755));
	return (int)t_sys(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static void write_file(int dir, const char *name, const char *text, mode_t mode)
{
	int fd = (int)t_sys(openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC, mode));
	t_eq(write(fd, text, strlen(text)), strlen(text));
	t_sys(fchmod(fd, mode));
	close(fd);
}

static void expect_file(int dir, const char *name, const char *text)
{
	char have[256] = "";
	int fd = (int)t_sys(openat(dir, name, O_RDONLY | O_NOFOLLOW));
	t_sys(read(fd, have, sizeof(have) - 1));
	close(fd);
	t_str_eq(have, text);
}

static void pack(int dir, const char *name, struct buf *out)
{
	struct err e = ERR_INIT;
	struct tar_pack *p;
	int r;
	t_ok_e(tar_pack_new(dir, name, &p, &e), &e);
	while ((r = (int)t_ok_e(tar_pack_some(p, out, 700, &e), &e)))
		;
	tar_pack_free(p);
	t_eq(out->len % TAR_BLOCK, 0);
}

static int unpack(int dir, const char *rename, const struct buf *in, size_t step, struct err *e)
{
	struct tar_unpack *u;
	t_ok_e(tar_unpack_new(dir, rename, &u, e), e);
	int r = 0;
	for (size_t at = 0; at < in->len && !r; at += step)
		r = tar_unpack_feed(u, in->data + at, in->len - at < step ? in->len - at : step, e);
	if (!r)
		r = tar_unpack_end(u, e);
	tar_unpack_free(u);
	return r;
}

static void long_name(char out[200])
{
	memset(out, 'n', 199);
	out[199] = '\0';
}

TEST(a_tree_is_the_same_after_the_stream)
{
	const char *tmp = t_tmpdir();
	char name[200], link[64];
	struct stat st;
	struct err e = ERR_INIT;
	int from = make_dir(tmp, "from"), to = make_dir(tmp, "to");
	long_name(name);
	write_file(from, "file", "hello", 0640);
	write_file(from, "empty", "", 0600);
	t_sys(mkdirat(from, "sub", 0755));
	int sub = (int)t_sys(openat(from, "sub", O_RDONLY | O_DIRECTORY));
	write_file(sub, name, "deep", 0444);
	t_sys(symlinkat("/etc/passwd", from, "link"));
	t_sys(mkfifoat(from, "fifo", 0600));
	t_sys(fchmod(sub, 0555));
	struct buf b = BUF_INIT;
	pack(from, "top", &b);
	for (size_t step = 1; step < 3000; step = step * 3 + 100) {
		char rename[32];
		snprintf(rename, sizeof(rename), "copy%zu", step);
		t_ok_e(unpack(to, rename, &b, step, &e), &e);
		int copy = (int)t_sys(openat(to, rename, O_RDONLY | O_DIRECTORY));
		expect_file(copy, "file", "hello");
		expect_file(copy, "empty", "");
		t_sys(fstatat(copy, "file", &st, 0));
		t_eq(st.st_mode & 07777, 0640);
		t_sys(fstatat(copy, "sub", &st, 0));
		t_eq(st.st_mode & 07777, 0555);
		int deep = (int)t_sys(openat(copy, "sub", O_RDONLY | O_DIRECTORY));
		expect_file(deep, name, "deep");
		ssize_t n = readlinkat(copy, "link", link, sizeof(link));
		t_eq(n, strlen("/etc/passwd"));
		t_sys(fstatat(copy, "fifo", &st, AT_SYMLINK_NOFOLLOW));
		t_assert(S_ISFIFO(st.st_mode));
		t_sys(fchmod(deep, 0755)); /* so that it can be removed */
		close(deep);
		close(copy);
	}
	t_sys(fchmod(sub, 0755));
	close(sub);
	close(from);
	close(to);
	buf_deinit(&b);
}

/* One hand-made entry. */
static void add_entry(struct buf *b, const char *name, char type, const char *link, const char *text)
{
	struct tar_header h = { .type = type };
	snprintf(h.name, sizeof(h.name), "%s", name);
	snprintf(h.linkname, sizeof(h.linkname), "%s", link);
	snprintf(h.mode, sizeof(h.mode), "%07o", 04755);
	snprintf(h.size, sizeof(h.size), "%011zo", strlen(text));
	snprintf(h.mtime, sizeof(h.mtime), "%011o", 1);
	memcpy(h.magic, "ustar", 6);
	snprintf(h.checksum, sizeof(h.checksum), "%06o", tar_checksum(&h));
	h.checksum[7] = ' ';
	buf_add(b, &h, sizeof(h));
	char block[TAR_BLOCK] = "";
	snprintf(block, sizeof(block), "%s", text);
	if (text[0])
		buf_add(b, block, sizeof(block));
}

static void finish(struct buf *b)
{
	static const char end[2 * TAR_BLOCK];
	buf_add(b, end, sizeof(end));
}

TEST(no_name_leads_out_of_the_directory)
{
	const char *tmp = t_tmpdir();
	struct err e = ERR_INIT;
	int outside = make_dir(tmp, "outside"), to = make_dir(tmp, "to");
	struct buf dots = BUF_INIT, absolute = BUF_INIT, link = BUF_INIT, hard = BUF_INIT;
	add_entry(&dots, "../outside/x", '0', "", "bad");
	finish(&dots);
	t_eq(unpack(to, NULL, &dots, 4096, &e), -EBADMSG);
	add_entry(&absolute, "/inside", '0', "", "good");
	finish(&absolute);
	t_ok_e(unpack(to, NULL, &absolute, 4096, &e), &e);
	expect_file(to, "inside", "good");
	/* a link first, then a file through it */
	add_entry(&link, "way", '2', "../outside", "");
	add_entry(&link, "way/x", '0', "", "bad");
	finish(&link);
	t_assert(unpack(to, NULL, &link, 4096, &e) < 0);
	t_eq(faccessat(outside, "x", F_OK, 0), -1);
	/* a hard link to something outside */
	write_file(outside, "secret", "secret", 0600);
	add_entry(&hard, "stolen", '1', "way/secret", "");
	finish(&hard);
	t_assert(unpack(to, NULL, &hard, 4096, &e) < 0);
	t_eq(faccessat(to, "stolen", F_OK, 0), -1);
	close(outside);
	close(to);
	buf_deinit(&dots);
	buf_deinit(&absolute);
	buf_deinit(&link);
	buf_deinit(&hard);
}

TEST(a_symlink_in_the_way_is_replaced_not_followed)
{
	const char *tmp = t_tmpdir();
	struct err e = ERR_INIT;
	struct stat st;
	int outside = make_dir(tmp, "outside"), to = make_dir(tmp, "to");
	write_file(outside, "victim", "whole", 0600);
	t_sys(symlinkat("../outside/victim", to, "f"));
	struct buf b = BUF_INIT;
	add_entry(&b, "f", '0', "", "new");
	finish(&b);
	t_ok_e(unpack(to, NULL, &b, 512, &e), &e);
	expect_file(outside, "victim", "whole");
	expect_file(to, "f", "new");
	t_sys(fstatat(to, "f", &st, 0));
	t_eq(st.st_mode & 07777, 0755); /* no set-user-ID */
	close(outside);
	close(to);
	buf_deinit(&b);
}

TEST(devices_are_skipped_and_damage_is_told)
{
	const char *tmp = t_tmpdir();
	struct err e = ERR_INIT;
	int to = make_dir(tmp, "to");
	struct buf b = BUF_INIT;
	add_entry(&b, "null", '3', "", "");
	add_entry(&b, "f", '0', "", "text");
	finish(&b);
	t_ok_e(unpack(to, NULL, &b, 100, &e), &e);
	t_eq(faccessat(to, "null", F_OK, 0), -1);
	expect_file(to, "f", "text");
	b.data[2] ^= 1;
	t_eq(unpack(to, NULL, &b, 100, &e), -EBADMSG);
	b.data[2] ^= 1;
	b.len = 2 * TAR_BLOCK + 100; /* in the middle of the contents */
	t_eq(unpack(to, NULL, &b, 100, &e), -EBADMSG);
	close(to);
	buf_deinit(&b);
}
