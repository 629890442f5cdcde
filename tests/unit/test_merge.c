/* Layers merged into one: the same files as before, over whatever lies below. */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fsbox.h"
#include "harness/harness.h"
#include "history.h"
#include "sandbox/merge.h"
#include "sandbox/overlay.h"
#include "store/layer.h"
#include "store/tree.h"
#include "sys/fault.h"

/* Merge layers [from, from + n) of the stack, oldest first, into *out. */
static int try_merge(const struct history *h, size_t from, size_t n, uint64_t bytes_max,
		     struct layer **out, struct merge_stats *stats, struct err *e)
{
	int fds[HISTORY_LAYERS];
	t_ok_e(layer_new(h->box->store, out, e), e);
	for (size_t i = 0; i < n; i++)
		fds[i] = h->layer[from + n - 1 - i]->fs_fd;
	int below = history_view(h->box, h->layer, from);
	struct merge m = { .fs_fds = fds, .n = n, .to_fd = (*out)->fs_fd, .below_fd = below,
			   .userxattr = h->box->userns, .bytes_max = bytes_max };
	int r = merge_layers(&m, e);
	close(below);
	if (stats)
		*stats = m.stats;
	return r;
}

static struct layer *merged(const struct history *h, size_t from, size_t n,
			    struct merge_stats *stats)
{
	struct err e = ERR_INIT;
	struct layer *l;
	t_ok_e(try_merge(h, from, n, UINT64_MAX, &l, stats, &e), &e);
	return l;
}

static char *look_at(const struct fsbox *b, struct layer *const *layer, size_t n)
{
	int fd = history_view(b, layer, n);
	char *text = history_look(b, fd);
	close(fd);
	return text;
}

/* Say the first line that differs, not two pages. */
static void same_text(const char *have, const char *want, const char *when)
{
	const char *a = have, *b = want;
	while (*a && *a == *b)
		a++, b++;
	if (!*a && !*b)
		return;
	while (a > have && a[-1] != '\n')
		a--, b--;
	t_fail("%s: have \"%.*s\", want \"%.*s\"", when, (int)strcspn(a, "\n"), a,
	       (int)strcspn(b, "\n"), b);
}

/* The stack with layers [from, from + n) replaced by one looks the same. */
static void check_merge(struct history *h, size_t from, size_t n, size_t top)
{
	char when[64];
	struct layer *with[HISTORY_LAYERS];
	struct layer *m = merged(h, from, n, NULL);
	size_t k = 0;
	for (size_t i = 0; i < top; i++)
		if (i < from || i >= from + n)
			with[k++] = h->layer[i];
		else if (i == from)
			with[k++] = m;
	snprintf(when, sizeof(when), "layers %zu to %zu of %zu on %s", from, from + n - 1, top,
		 h->box->fs);
	char *want = look_at(h->box, h->layer, top), *have = look_at(h->box, with, k);
	same_text(have, want, when);
	free(want);
	free(have);
	layer_discard(h->box->store, m);
}

static void random_histories(struct fsbox *b)
{
	enum { ROUNDS = 12, CHANGES = 60 };
	const char *more = getenv("MULLIGAN_TEST_ALL");
	const char *seed_text = getenv("MULLIGAN_TEST_SEED");
	unsigned int seeds = more ? 60 : 6;
	unsigned int first = seed_text ? (unsigned int)atoi(seed_text) : 1;
	unsigned int done[32] = { 0 };
	for (unsigned int seed = first; seed < first + (seed_text ? 1 : seeds); seed++) {
		struct history h;
		history_init(&h, b, seed);
		for (int i = 0; i < ROUNDS; i++)
			history_round(&h, CHANGES);
		t_note("%s, seed %u", b->fs, seed);
		check_merge(&h, 0, ROUNDS, ROUNDS);
		check_merge(&h, 0, 5, ROUNDS);
		check_merge(&h, 3, 4, ROUNDS);
		check_merge(&h, 3, 4, 7);
		check_merge(&h, 6, 6, ROUNDS);
		check_merge(&h, 4, 1, 9);
		check_merge(&h, 1, 10, 11);
		for (int i = 0; i < 32; i++)
			done[i] += h.done[i];
		history_deinit(&h);
	}
	char text[400] = "";
	for (int i = 0; i < 20; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), " %u", done[i]);
	t_note("changes by kind:%s", text);
}
TEST(merged_layer_looks_like_its_run, .timeout_s = 600)
{
	fsbox_each(random_histories);
}

/* Merged layers are merged again, as a long chain does. */
static void merged_again(struct fsbox *b)
{
	struct history h;
	history_init(&h, b, 77);
	for (int round = 0; round < 30; round++) {
		history_round(&h, 40);
		if (h.n < 6)
			continue;
		char *want = look_at(b, h.layer, h.n);
		size_t from = (size_t)round % 3, n = 3;
		struct layer *m = merged(&h, from, n, NULL);
		for (size_t i = 0; i < n; i++)
			layer_discard(b->store, h.layer[from + i]);
		h.layer[from] = m;
		for (size_t i = from + 1; i + n - 1 < h.n; i++)
			h.layer[i] = h.layer[i + n - 1];
		h.n -= n - 1;
		char *have = look_at(b, h.layer, h.n), when[32];
		snprintf(when, sizeof(when), "round %d on %s", round, b->fs);
		same_text(have, want, when);
		free(have);
		free(want);
	}
	history_deinit(&h);
}
TEST(merged_layers_are_merged_again_and_built_upon, .timeout_s = 300)
{
	fsbox_each(merged_again);
}

static void put(int fd, const char *path, const char *text)
{
	int f = t_sys(openat(fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
	t_eq(write(f, text, strlen(text)), strlen(text));
	close(f);
}

static bool has_mark(int fs_fd, const char *path, const char *mark, char *value, size_t len)
{
	char name[64];
	int f = t_sys(openat(fs_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	snprintf(name, sizeof(name), "trusted.overlay.%s", mark);
	ssize_t n = fgetxattr(f, name, value, len - 1);
	close(f);
	value[n < 0 ? 0 : n] = '\0';
	return n >= 0;
}

/* A directory of the base moves three times, is filled, loses a file. */
static void redirects(struct fsbox *b)
{
	if (b->userns)
		return; /* no redirects without root */
	struct history h;
	char value[64];
	history_init(&h, b, 1);
	int fd = history_open(&h);
	t_sys(renameat(fd, "data", fd, "moved"));
	put(fd, "moved/one", "1");
	history_close(fd);
	fd = history_open(&h);
	t_sys(mkdirat(fd, "data", 0750));
	put(fd, "data/low.txt", "another");
	t_sys(renameat(fd, "moved", fd, "data/inner"));
	t_sys(unlinkat(fd, "data/inner/low.txt", 0));
	history_close(fd);
	fd = history_open(&h);
	t_sys(renameat(fd, "data/inner/sub", fd, "far"));
	put(fd, "far/new", "2");
	history_close(fd);
	for (size_t n = 1; n <= 3; n++)
		for (size_t from = 0; from + n <= 3; from++)
			check_merge(&h, from, n, 3);
	struct layer *m = merged(&h, 0, 3, NULL);
	t_assert(has_mark(m->fs_fd, "far", "redirect", value, sizeof(value)));
	t_str_eq(value, "/data/sub");
	t_assert(has_mark(m->fs_fd, "data", "opaque", value, sizeof(value)));
	t_assert(has_mark(m->fs_fd, "data/inner", "redirect", value, sizeof(value)));
	t_str_eq(value, "/data");
	layer_discard(b->store, m);
	history_deinit(&h);
}
TEST(directories_that_moved_are_found_below, .timeout_s = 60)
{
	fsbox_each(redirects);
}

/* What came and went within the run leaves nothing; what lies below is hidden. */
static void whiteouts(struct fsbox *b)
{
	struct history h;
	struct merge_stats stats;
	history_init(&h, b, 1);
	int fd = history_open(&h);
	put(fd, "tmp/came", "x");
	t_sys(mkdirat(fd, "tmp/dir", 0755));
	put(fd, "tmp/dir/file", "x");
	history_close(fd);
	fd = history_open(&h);
	t_sys(unlinkat(fd, "tmp/came", 0));
	t_sys(unlinkat(fd, "tmp/dir/file", 0));
	t_sys(unlinkat(fd, "tmp/dir", AT_REMOVEDIR));
	t_sys(unlinkat(fd, "data/low.txt", 0));
	t_sys(unlinkat(fd, "etc/hosts", 0));
	history_close(fd);
	check_merge(&h, 0, 2, 2);
	struct layer *m = merged(&h, 0, 2, &stats);
	struct stat st;
	t_eq(stats.whiteouts, 2);
	t_eq(stats.files, 0);
	t_sys(fstatat(m->fs_fd, "etc/hosts", &st, AT_SYMLINK_NOFOLLOW));
	t_assert(S_ISCHR(st.st_mode) && st.st_rdev == 0);
	layer_discard(b->store, m);
	history_deinit(&h);
}
TEST(whiteouts_stay_only_over_what_is_there, .timeout_s = 60)
{
	fsbox_each(whiteouts);
}

/* Written by other tools than the kernel: a file with an attribute. */
static void xattr_whiteouts(struct fsbox *b)
{
	struct history h;
	history_init(&h, b, 1);
	int fd = history_open(&h);
	put(fd, "data/kept", "x");
	history_close(fd);
	int dir = t_sys(openat(h.layer[0]->fs_fd, "data", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	char name[64];
	const char *prefix = overlay_xattr_prefix(b->userns);
	snprintf(name, sizeof(name), "%sopaque", prefix);
	t_sys(fsetxattr(dir, name, "x", 1, 0));
	put(dir, "low.txt", "");
	int file = t_sys(openat(dir, "low.txt", O_RDONLY | O_CLOEXEC));
	snprintf(name, sizeof(name), "%swhiteout", prefix);
	t_sys(fsetxattr(file, name, "y", 1, 0));
	close(file);
	close(dir);
	fd = history_view(b, h.layer, 1);
	bool known = faccessat(fd, "data/low.txt", F_OK, 0) != 0;
	close(fd);
	if (!known)
		t_note("this kernel has no whiteouts by attribute");
	else
		check_merge(&h, 0, 1, 1);
	history_deinit(&h);
}
TEST(whiteouts_by_attribute_are_understood, .timeout_s = 60)
{
	fsbox_each(xattr_whiteouts);
}

static void flags(struct fsbox *b)
{
	struct history h;
	history_init(&h, b, 1);
	int fd = history_open(&h);
	put(fd, "tmp/fixed", "x");
	t_sys(mkdirat(fd, "tmp/still", 0755));
	put(fd, "tmp/still/file", "x");
	history_close(fd);
	const char *const names[] = { "tmp/fixed", "tmp/still" };
	int set = FS_IMMUTABLE_FL | FS_NODUMP_FL;
	for (int i = 0; i < 2; i++) {
		int f = t_sys(openat(h.layer[0]->fs_fd, names[i], O_RDONLY | O_CLOEXEC));
		if (ioctl(f, FS_IOC_SETFLAGS, &set)) {
			t_note("no inode flags on %s: %s", b->fs, strerror(errno));
			close(f);
			history_deinit(&h);
			return;
		}
		close(f);
	}
	struct layer *m = merged(&h, 0, 1, NULL);
	for (int i = 0; i < 2; i++) {
		int f = t_sys(openat(m->fs_fd, names[i], O_RDONLY | O_CLOEXEC)), have = 0;
		t_sys(ioctl(f, FS_IOC_GETFLAGS, &have));
		t_eq(have & set, set);
		close(f);
	}
	layer_discard(b->store, m);
	history_deinit(&h);
	size_t n;
	struct err e = ERR_INIT;
	t_ok_e(store_empty_trash(b->store, &n, &e), &e);
}
TEST(inode_flags_come_along, .timeout_s = 60)
{
	fsbox_each(flags);
}

static void bounded(struct fsbox *b)
{
	struct history h;
	struct err e = ERR_INIT;
	struct layer *m;
	struct merge_stats stats;
	char big[70000];
	memset(big, 'b', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	history_init(&h, b, 1);
	int fd = history_open(&h);
	put(fd, "tmp/big", big);
	history_close(fd);
	t_sys(syncfs(h.layer[0]->fs_fd));
	int r = try_merge(&h, 0, 1, 65536, &m, &stats, &e);
	if (strcmp(b->fs, "xfs")) {
		t_eq(r, -ENOSPC);
		t_assert(strstr(e.cause, "tmp/big"));
	}
	layer_discard(b->store, m);
	m = merged(&h, 0, 1, &stats);
	t_eq(stats.reflinked, strcmp(b->fs, "xfs") ? 0 : 1);
	t_eq(stats.copied_bytes > 0, strcmp(b->fs, "xfs") != 0);
	layer_discard(b->store, m);
	history_deinit(&h);
}
TEST(merge_copies_no_more_than_it_may, .timeout_s = 60)
{
	fsbox_each(bounded);
}

/* Each call fails once: the merge fails or is whole, and leaves no descriptor. */
static void swept(struct fsbox *b)
{
	struct history h;
	history_init(&h, b, 5);
	for (int i = 0; i < 4; i++)
		history_round(&h, 25);
	char *want = look_at(b, h.layer, 4);
	int fds = count_fds();
	uint64_t n = 1;
	for (;; n++) {
		int run[4], below = history_view(b, h.layer, 0);
		struct layer *m;
		struct err e = ERR_INIT;
		t_ok_e(layer_new(b->store, &m, &e), &e);
		for (size_t i = 0; i < 4; i++)
			run[i] = h.layer[3 - i]->fs_fd;
		struct merge merge = { .fs_fds = run, .n = 4, .to_fd = m->fs_fd, .below_fd = below,
				       .userxattr = b->userns, .bytes_max = UINT64_MAX };
		sys_fault_arm(n, EIO);
		int r = merge_layers(&merge, &e);
		const char *fired = sys_fault_fired();
		sys_fault_arm(0, 0);
		close(below);
		if (r == 0) {
			char *have = look_at(b, &m, 1);
			same_text(have, want, fired ? fired : "no fault");
			free(have);
		} else {
			t_assert(e.cause[0]);
		}
		layer_discard(b->store, m);
		t_eq(count_fds(), fds);
		if (!fired)
			break;
	}
	t_note("%s: %llu calls", b->fs, (unsigned long long)n);
	free(want);
	history_deinit(&h);
}
TEST(each_failing_call_is_told, .timeout_s = 300)
{
	fsbox_each(swept);
}
