/* Differences: between ancestors, siblings, and what lives now. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsbox.h"
#include "harness/harness.h"
#include "sandbox/diff.h"

static void cut(struct fsrun *r, struct fs_snapshot *out)
{
	struct err e = ERR_INIT;
	struct carry_want want = {.path = "data/open"};
	struct fs_cut c = {.mntns_fd = r->guest.mntns_fd, .carry = &want, .n_carry = 1};
	t_ok_e(fs_cut(r->tree, &c, out, &e), &e);
	t_ok_e(fs_settle(r->tree, r->guest.mntns_fd, &e), &e);
}

/* "M/data/a D/b": in order. */
static void expect(const struct vec *files, const char *want)
{
	char have[2048] = "";
	size_t used = 0;
	vec_each(struct diff_file, f, files) used += (size_t)snprintf(
		have + used, sizeof(have) - used, "%s%c%s", used ? " " : "", f->change, f->path);
	t_str_eq(have, want);
}

static void expect_between(const struct fs_snapshot *a, const struct fs_snapshot *b,
			   const char *want)
{
	struct vec files;
	struct err e = ERR_INIT;
	t_ok_e(diff_snapshots(a, b, &files, &e), &e);
	expect(&files, want);
	diff_deinit(&files);
}

static void expect_live(const struct fs_snapshot *a, const struct fs_tree *t, const char *want)
{
	struct vec files;
	struct err e = ERR_INIT;
	t_ok_e(diff_live(a, t, &files, &e), &e);
	expect(&files, want);
	diff_deinit(&files);
}

static void add_volume(struct fsbox *b)
{
	char text[400];
	struct err e = ERR_INIT;
	snprintf(text, sizeof(text), "%s:/vol:cow", b->volume);
	t_ok_e(spec_add_volume(&b->spec, text, &e), &e);
}

static void history(struct fsbox *b)
{
	struct fsrun r;
	struct fs_snapshot zero, one, two;
	struct err e = ERR_INIT;
	add_volume(b);
	fsrun_begin(&r, b, NULL, NULL);
	struct guest *g = &r.guest;
	t_ok_e(fs_snapshot_now(r.tree, &zero, &e), &e);
	expect_live(&zero, r.tree, "");
	t_ok(guest_put(g, "/data/new", "n"));
	t_ok(guest_put(g, "/data/low.txt", "other"));
	t_ok(guest_mkdir(g, "/dir"));
	t_ok(guest_mkdir(g, "/dir/in"));
	t_ok(guest_put(g, "/dir/in/f", "f"));
	t_ok(guest_open(g, 1, "/data/open", O_RDWR | O_CREAT));
	t_ok(guest_put(g, "/vol/v.txt", "changed"));
	expect_live(&zero, r.tree,
		    "M/data/low.txt A/data/new A/data/open A/dir A/dir/in A/dir/in/f "
		    "M/vol/v.txt");
	cut(&r, &one);
	expect_live(&one, r.tree, "");
	expect_between(&zero, &one,
		       "M/data/low.txt A/data/new A/data/open A/dir A/dir/in "
		       "A/dir/in/f M/vol/v.txt");
	/* Deleted trees, other types, the same contents again, other modes. */
	t_ok(guest_unlink(g, "/data/sub/deep.txt"));
	t_ok(guest_unlink(g, "/data/sub"));
	t_ok(guest_put(g, "/data/sub", "a file now"));
	t_ok(guest_unlink(g, "/dir/in/f"));
	t_ok(guest_unlink(g, "/dir/in"));
	t_ok(guest_put(g, "/data/low.txt", "other"));
	t_ok(guest_chmod(g, "/data/new", 0600));
	t_ok(guest_chmod(g, "/etc", 0711));
	cut(&r, &two);
	expect_between(&one, &two,
		       "M/data/new T/data/sub D/data/sub/deep.txt D/dir/in D/dir/in/f "
		       "M/etc");
	expect_between(&two, &one,
		       "M/data/new T/data/sub A/data/sub/deep.txt A/dir/in A/dir/in/f "
		       "M/etc");
	expect_between(&two, &two, "");
	t_ok(guest_put(g, "/data/open", "written"));
	expect_live(&two, r.tree, "M/data/open");
	fs_snapshot_deinit(&zero);
	fs_snapshot_deinit(&one);
	fs_snapshot_deinit(&two);
	fsrun_end(&r);
}
TEST(differences_along_a_branch, .timeout_s = 60)
{
	fsbox_each(history);
}

static void siblings(struct fsbox *b)
{
	struct fsrun r;
	struct fs_snapshot root, left, right;
	fsrun_begin(&r, b, NULL, NULL);
	t_ok(guest_put(&r.guest, "/data/common", "c"));
	t_ok(guest_put(&r.guest, "/data/both", "0"));
	cut(&r, &root);
	t_ok(guest_put(&r.guest, "/data/left", "l"));
	t_ok(guest_put(&r.guest, "/data/both", "left"));
	t_ok(guest_put(&r.guest, "/data/same", "same"));
	t_ok(guest_unlink(&r.guest, "/data/low.txt"));
	cut(&r, &left);
	fsrun_end(&r);
	fsrun_begin(&r, b, NULL, &root);
	t_ok(guest_put(&r.guest, "/data/right", "r"));
	t_ok(guest_put(&r.guest, "/data/both", "right"));
	t_ok(guest_put(&r.guest, "/data/same", "same"));
	t_ok(guest_unlink(&r.guest, "/data/common"));
	cut(&r, &right);
	expect_between(&left, &right,
		       "M/data/both D/data/common D/data/left A/data/low.txt "
		       "A/data/right");
	expect_between(&right, &left,
		       "M/data/both A/data/common A/data/left D/data/low.txt "
		       "D/data/right");
	fs_snapshot_deinit(&root);
	fs_snapshot_deinit(&left);
	fs_snapshot_deinit(&right);
	fsrun_end(&r);
}
TEST(differences_between_siblings, .timeout_s = 60)
{
	fsbox_each(siblings);
}

static void replaced(struct fsbox *b)
{
	struct fsrun r;
	struct fs_snapshot one, two;
	fsrun_begin(&r, b, NULL, NULL);
	struct guest *g = &r.guest;
	t_ok(guest_put(g, "/data/sub/more", "m"));
	cut(&r, &one);
	/* An opaque directory: what was below it is gone, named by no layer. */
	t_ok(guest_unlink(g, "/data/sub/deep.txt"));
	t_ok(guest_unlink(g, "/data/sub/more"));
	t_ok(guest_unlink(g, "/data/sub"));
	t_ok(guest_mkdir(g, "/data/sub"));
	t_ok(guest_put(g, "/data/sub/fresh", "f"));
	cut(&r, &two);
	expect_between(&one, &two, "D/data/sub/deep.txt A/data/sub/fresh D/data/sub/more");
	fs_snapshot_deinit(&one);
	if (!b->userns) {
		/* A redirect: the files came along, named by no layer. */
		t_ok(guest_rename(g, "/data", "/moved"));
		cut(&r, &one);
		expect_between(&two, &one,
			       "D/data D/data/low.txt D/data/sub D/data/sub/fresh A/moved "
			       "A/moved/low.txt A/moved/sub A/moved/sub/fresh");
		fs_snapshot_deinit(&one);
	}
	fs_snapshot_deinit(&two);
	fsrun_end(&r);
}
TEST(replaced_and_renamed_directories, .timeout_s = 60)
{
	fsbox_each(replaced);
}

/* A file that was held at several checkpoints is not in the layers alone. */
static void held(struct fsbox *b)
{
	struct fsrun r, twin;
	struct fs_snapshot one, two, three, four;
	fsrun_begin(&r, b, NULL, NULL);
	struct guest *g = &r.guest;
	t_ok(guest_put(g, "/data/open", "one"));
	cut(&r, &one);
	t_ok(guest_put(g, "/data/open", "two"));
	t_ok(guest_chmod(g, "/data", 0711));
	cut(&r, &two);
	t_ok(guest_put(g, "/data/other", "o"));
	cut(&r, &three);
	expect_between(&one, &two, "M/data M/data/open");
	expect_between(&two, &one, "M/data M/data/open");
	expect_between(&two, &three, "A/data/other");
	expect_between(&one, &three, "M/data M/data/open A/data/other");
	expect_live(&three, r.tree, "");
	expect_live(&one, r.tree, "M/data M/data/open A/data/other");
	fsrun_begin(&twin, b, NULL, &two);
	expect_live(&two, twin.tree, "");
	expect_live(&one, twin.tree, "M/data M/data/open");
	t_ok(guest_put(&twin.guest, "/data/open", "four"));
	cut(&twin, &four);
	expect_between(&two, &four, "M/data/open");
	expect_between(&three, &four, "M/data/open D/data/other");
	t_ok(guest_unlink(g, "/data/open"));
	expect_live(&three, r.tree, "D/data/open");
	fsrun_end(&twin);
	fs_snapshot_deinit(&one);
	fs_snapshot_deinit(&two);
	fs_snapshot_deinit(&three);
	fs_snapshot_deinit(&four);
	fsrun_end(&r);
}
TEST(files_beside_a_layer_are_compared, .timeout_s = 60)
{
	fsbox_each(held);
}
