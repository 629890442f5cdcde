/* The overlays of an incarnation: cut, take back, roll back, clean or not. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "fsbox.h"
#include "harness/harness.h"
#include "sandbox/overlay.h"
#include "sys/fault.h"
#include "sys/mount.h"

/* Carry those files of the root and cut. */
static int try_cut(struct fsrun *r, const char *const *names, size_t n, struct fs_cut *cut,
		   struct fs_snapshot *out, struct err *e)
{
	struct carry_want want[8] = {0};
	for (size_t i = 0; i < n; i++)
		want[i].path = names[i];
	*cut = (struct fs_cut){
		.mntns_fd = r->guest.mntns_fd, .carry = want, .n_carry = n, .writers = n > 0};
	return fs_cut(r->tree, cut, out, e);
}

static struct fs_cut cut(struct fsrun *r, const char *name, struct fs_snapshot *out)
{
	struct err e = ERR_INIT;
	struct fs_cut c;
	t_ok_e(try_cut(r, &name, name != NULL, &c, out, &e), &e);
	t_ok_e(fs_settle(r->tree, r->guest.mntns_fd, &e), &e);
	return c;
}

/* What a checkpoint does for its processes: open the file in the new overlay. */
static void rehome(struct guest *g, int slot, const char *path)
{
	t_ok(guest_close(g, slot));
	t_ok(guest_open(g, slot, path, O_RDWR | O_APPEND));
}

static void held_file_goes_on(struct fsbox *b)
{
	struct fsrun r;
	struct fs_snapshot s;
	fsrun_begin(&r, b, NULL, NULL);
	struct guest *g = &r.guest;
	int mounts = guest_mounts(g);
	t_ok(guest_mkdir(g, "/data/new"));
	t_ok(guest_chmod(g, "/data/new", 0751));
	t_ok(guest_open(g, 1, "/data/new/log", O_RDWR | O_CREAT | O_APPEND));
	t_ok(guest_write(g, 1, "one"));
	t_ok(guest_open(g, 2, "/data/new/map", O_RDWR | O_CREAT));
	t_ok(guest_write(g, 2, "xxxx"));
	t_ok(guest_map(g, 2));
	t_ok(guest_poke(g, 2, "z"));
	t_ok(guest_open(g, 3, "/data/low.txt", O_RDWR));
	t_ok(guest_write(g, 3, "LOW"));
	uint64_t ino = guest_fd_ino(g, 1), map_ino = guest_fd_ino(g, 2);
	uint64_t low_ino = guest_fd_ino(g, 3);
	static const char *const names[] = {"data/new/log", "data/new/map",      "data/low.txt",
					    "data/new/log", "data/sub/deep.txt", "no/such"};
	struct err e = ERR_INIT;
	struct fs_cut c;
	t_ok_e(try_cut(&r, names, 6, &c, &s, &e), &e);
	t_ok_e(fs_settle(r.tree, g->mntns_fd, &e), &e);
	t_eq(c.stats.mounts, 1);
	t_eq(c.stats.carried, 3);
	t_eq(c.stats.reflinked, strcmp(b->fs, "xfs") ? 0 : 3);
	rehome(g, 1, "/data/new/log");
	rehome(g, 2, "/data/new/map");
	t_ok(guest_map(g, 2));
	rehome(g, 3, "/data/low.txt");
	/* Descriptors, mappings and new opens are one file. */
	t_ok(guest_write(g, 1, "two"));
	t_ok(guest_poke(g, 2, "yy"));
	t_ok(guest_write(g, 3, "!"));
	t_str_eq(guest_get(g, "/data/new/log"), "onetwo");
	t_str_eq(guest_get(g, "/data/new/map"), "yyxx");
	t_str_eq(guest_get(g, "/data/low.txt"), "LOW!");
	t_eq(guest_ino(g, "/data/new/log"), ino);
	t_eq(guest_ino(g, "/data/new/map"), map_ino);
	t_eq(guest_ino(g, "/data/low.txt"), low_ino);
	t_eq(guest_root_id(g), ((struct fs_mount *)vec_at(&r.tree->mounts, 0))->mnt_id);
	/* What was mounted inside still is. */
	t_eq(guest_mounts(g), mounts);
	t_str_eq(guest_get(g, "/etc/hosts"), "mounted");
	t_assert(guest_exists(g, "/dev/pts"));
	/* And the frozen layer has what was there. */
	t_str_eq(snapshot_get(b, &s, "/data/new/log"), "one");
	t_str_eq(snapshot_get(b, &s, "/data/new/map"), "zxxx");
	t_str_eq(snapshot_get(b, &s, "/data/low.txt"), "LOW");
	fs_snapshot_deinit(&s);
	fsrun_end(&r);
}
TEST(cut_keeps_open_files_and_freezes_copies, .timeout_s = 60)
{
	fsbox_each(held_file_goes_on);
}

static uint64_t tree_ino(const struct fs_tree *t, const char *path)
{
	struct stat st;
	struct fs_mount *m = vec_at(&t->mounts, 0);
	t_sys(fstatat(m->mnt_fd, path, &st, 0));
	return st.st_ino;
}

/* A tree over s has the files with these contents and numbers. */
static void check_numbers(struct fsbox *b, const struct fs_snapshot *s, const char *text,
			  const uint64_t ino[3])
{
	static const char *const path[] = {"data/log", "data/low.txt", "data/sub/deep.txt"};
	struct fsrun twin[2];
	fsrun_begin(&twin[0], b, NULL, s);
	fsrun_begin(&twin[1], b, NULL, s);
	for (int i = 0; i < 2; i++) {
		struct guest *g = &twin[i].guest;
		char name[64];
		for (int k = 0; k < 3; k++) {
			t_eq(tree_ino(twin[i].tree, path[k]), ino[k]);
			snprintf(name, sizeof(name), "/%s", path[k]);
			t_ok(guest_open(g, k, name, O_RDWR | O_APPEND));
			t_str_eq(guest_get(g, name), k == 0 ? text : k == 1 ? "low!" : "deep");
			t_ok(guest_write(g, k, "?"));
			t_eq(guest_ino(g, name), ino[k]);
		}
	}
	fsrun_end(&twin[0]);
	/* One of them goes on, and has a twin of its own. */
	struct fs_snapshot next;
	struct guest *g = &twin[1].guest;
	char more[FSBOX_TEXT];
	for (int i = 0; i < 2; i++) {
		static const char *const names[] = {"data/log", "data/low.txt",
						    "data/sub/deep.txt"};
		struct err e = ERR_INIT;
		struct fs_cut c;
		t_ok_e(try_cut(&twin[1], names, 3, &c, &next, &e), &e);
		t_ok_e(fs_settle(twin[1].tree, g->mntns_fd, &e), &e);
		rehome(g, 0, "/data/log");
		t_eq(guest_ino(g, "/data/log"), ino[0]);
		t_eq(guest_ino(g, "/data/sub/deep.txt"), ino[2]);
		snprintf(more, sizeof(more), "%s?", text);
		t_str_eq(snapshot_get(b, &next, "/data/log"), more);
		t_str_eq(snapshot_get(b, &next, "/data/low.txt"), "low!?");
		fs_snapshot_deinit(&next);
	}
	fsrun_end(&twin[1]);
}

static void numbers(struct fsbox *b)
{
	enum { CUTS = 4 };
	static const char *const names[] = {"data/log", "data/low.txt", "data/sub/deep.txt"};
	struct fsrun r;
	struct fs_snapshot s[CUTS];
	struct err e = ERR_INIT;
	struct fs_cut c;
	char text[CUTS + 1] = "";
	fsrun_begin(&r, b, NULL, NULL);
	struct guest *g = &r.guest;
	t_ok(guest_open(g, 0, "/data/log", O_RDWR | O_CREAT | O_APPEND));
	t_ok(guest_open(g, 1, "/data/low.txt", O_RDWR | O_APPEND));
	t_ok(guest_write(g, 1, "!"));
	/* Not copied up: it is nobody's business. */
	t_ok(guest_open(g, 2, "/data/sub/deep.txt", O_RDONLY));
	uint64_t ino[] = {guest_fd_ino(g, 0), guest_fd_ino(g, 1), guest_fd_ino(g, 2)};
	for (int i = 0; i < CUTS; i++) {
		text[i] = (char)('a' + i);
		t_ok(guest_write(g, 0, text + i));
		t_ok_e(try_cut(&r, names, 3, &c, &s[i], &e), &e);
		if (i == 1) { /* taken back, and once more */
			t_ok_e(fs_uncut(r.tree, g->mntns_fd, &e), &e);
			fs_snapshot_deinit(&s[i]);
			t_str_eq(guest_get(g, "/data/log"), text);
			t_eq(guest_ino(g, "/data/log"), ino[0]);
			t_ok_e(try_cut(&r, names, 3, &c, &s[i], &e), &e);
		}
		t_ok_e(fs_settle(r.tree, g->mntns_fd, &e), &e);
		rehome(g, 0, "/data/log");
		rehome(g, 1, "/data/low.txt");
		t_eq(guest_ino(g, "/data/log"), ino[0]);
		t_eq(guest_fd_ino(g, 0), ino[0]);
		t_eq(guest_ino(g, "/data/low.txt"), ino[1]);
	}
	for (int i = CUTS - 1; i >= 0; i--) {
		text[i + 1] = '\0';
		check_numbers(b, &s[i], text, ino);
		fs_snapshot_deinit(&s[i]);
	}
	fsrun_end(&r);
}
TEST(numbers_survive_cuts_and_new_trees, .timeout_s = 60)
{
	fsbox_each(numbers);
}

static struct layer *snapshot_layer(const struct fs_snapshot *s, size_t i)
{
	const struct fs_snapshot_mount *m = vec_at(&s->mounts, 0);
	return *(struct layer **)vec_at(&m->layers, i);
}

/* As a keeper that was not there sees the layers: from the disk. */
static void open_again(const struct fsbox *b, struct fs_snapshot *s)
{
	struct fs_snapshot_mount *m = vec_at(&s->mounts, 0);
	vec_each(struct layer *, l, &m->layers)
	{
		struct layer *again;
		struct err e = ERR_INIT;
		t_ok_e(layer_open(b->store, (*l)->id, &again, &e), &e);
		layer_unref(*l);
		*l = again;
	}
}

static struct timespec layer_ctime(const struct layer *l, const char *path)
{
	struct stat st;
	t_sys(fstatat(l->fs_fd, path, &st, AT_SYMLINK_NOFOLLOW));
	return st.st_ctim;
}

static void held_twice(struct fsbox *b)
{
	static const char *const names[] = {"data/log"};
	static const char *const dirs[] = {".", "data"};
	struct fsrun r, later;
	struct fs_snapshot s[2];
	struct err e = ERR_INIT;
	struct fs_cut c;
	fsrun_begin(&r, b, NULL, NULL);
	struct guest *g = &r.guest;
	t_ok(guest_open(g, 0, "/data/log", O_RDWR | O_CREAT | O_APPEND));
	for (int i = 0; i < 2; i++) {
		t_ok(guest_write(g, 0, "x"));
		t_ok_e(try_cut(&r, names, 1, &c, &s[i], &e), &e);
		t_ok_e(fs_settle(r.tree, g->mntns_fd, &e), &e);
		rehome(g, 0, "/data/log");
	}
	t_assert(snapshot_layer(&s[1], 1)->has_numbers);
	t_assert(!snapshot_layer(&s[1], 0)->has_numbers);
	open_again(b, &s[1]);
	t_assert(!snapshot_layer(&s[1], 1)->has_numbers);
	struct timespec before[2];
	for (int i = 0; i < 2; i++)
		before[i] = layer_ctime(snapshot_layer(&s[1], 0), dirs[i]);
	fsrun_begin(&later, b, NULL, &s[1]);
	t_assert(snapshot_layer(&s[1], 1)->has_numbers);
	t_assert(!snapshot_layer(&s[1], 0)->has_numbers);
	for (int i = 0; i < 2; i++) {
		struct timespec now = layer_ctime(snapshot_layer(&s[1], 0), dirs[i]);
		t_eq(now.tv_sec, before[i].tv_sec);
		t_eq(now.tv_nsec, before[i].tv_nsec);
	}
	fsrun_end(&later);
	fs_snapshot_deinit(&s[0]);
	fs_snapshot_deinit(&s[1]);
	fsrun_end(&r);
}
TEST(numbers_of_held_files_are_found_on_disk, .timeout_s = 60)
{
	fsbox_each(held_twice);
}

/* Files whose number cannot be found again are carried: contents are right. */
static void no_number(struct fsbox *b)
{
	static const char *const names[] = {"data/moved", "data/new/x", "data/log"};
	struct fsrun r;
	struct fs_snapshot s;
	struct err e = ERR_INIT;
	struct fs_cut c;
	fsrun_begin(&r, b, NULL, NULL);
	struct guest *g = &r.guest;
	t_ok(guest_put(g, "/data/log", "log"));
	t_ok(guest_mkdir(g, "/data/new"));
	t_ok(guest_put(g, "/data/new/x", "x"));
	t_ok_e(try_cut(&r, names + 1, 2, &c, &s, &e), &e);
	t_ok_e(fs_settle(r.tree, g->mntns_fd, &e), &e);
	fs_snapshot_deinit(&s);
	/* One renamed and its name taken by another, one in a new directory. */
	t_ok(guest_rename(g, "/data/log", "/data/moved"));
	t_ok(guest_put(g, "/data/log", "new log"));
	uint64_t ino = guest_ino(g, "/data/log");
	t_ok(guest_rename(g, "/data/new/x", "/data/x"));
	t_ok(guest_put(g, "/data/x", "y"));
	t_sys(unlinkat(((struct fs_mount *)vec_at(&r.tree->mounts, 0))->mnt_fd, "data/new",
		       AT_REMOVEDIR));
	t_ok(guest_mkdir(g, "/data/new"));
	t_ok(guest_rename(g, "/data/x", "/data/new/x"));
	t_ok_e(try_cut(&r, names, 3, &c, &s, &e), &e);
	t_eq(c.stats.carried, 3);
	t_ok_e(fs_settle(r.tree, g->mntns_fd, &e), &e);
	t_eq(guest_ino(g, "/data/log"), ino);
	t_str_eq(guest_get(g, "/data/log"), "new log");
	t_str_eq(guest_get(g, "/data/moved"), "log");
	t_str_eq(guest_get(g, "/data/new/x"), "y");
	t_str_eq(snapshot_get(b, &s, "/data/log"), "new log");
	t_str_eq(snapshot_get(b, &s, "/data/moved"), "log");
	t_str_eq(snapshot_get(b, &s, "/data/new/x"), "y");
	fs_snapshot_deinit(&s);
	fsrun_end(&r);
}
TEST(files_without_a_number_are_carried, .timeout_s = 60)
{
	fsbox_each(no_number);
}

static void add_times(struct stage_times *sum, const struct stage_times *t)
{
	sum->n = t->n;
	sum->total_ns += t->total_ns;
	for (size_t i = 0; i < t->n; i++) {
		sum->stage[i].name = t->stage[i].name;
		sum->stage[i].ns += t->stage[i].ns;
	}
}

static void note_times(const char *what, const struct stage_times *sum, unsigned rounds)
{
	char text[400] = "";
	for (size_t i = 0; i < sum->n; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), ", %s %llu",
			 sum->stage[i].name, (unsigned long long)sum->stage[i].ns / rounds / 1000);
	t_note("%s: %llu us a cut%s", what, (unsigned long long)sum->total_ns / rounds / 1000,
	       text);
}

static void forty(struct fsbox *b)
{
	enum { ROUNDS = 40 };
	struct fsrun r;
	struct fs_snapshot s[ROUNDS];
	struct err e = ERR_INIT;
	char name[64], want[ROUNDS + 1] = "";
	fsrun_begin(&r, b, NULL, NULL);
	struct guest *g = &r.guest;
	t_ok(guest_open(g, 1, "/data/log", O_RDWR | O_CREAT | O_APPEND));
	uint64_t ino = guest_fd_ino(g, 1);
	struct stage_times sum = {0};
	int mounts = guest_mounts(g);
	for (int i = 0; i < ROUNDS; i++) {
		t_ok_e(fs_prepare(r.tree, &e), &e);
		t_ok(guest_write(g, 1, "x"));
		snprintf(name, sizeof(name), "/data/file%d", i);
		t_ok(guest_put(g, name, name));
		if (i)
			t_ok(guest_unlink(g, "/data/only"));
		else
			t_ok(guest_unlink(g, "/data/low.txt"));
		snprintf(name, sizeof(name), "%d", i);
		t_ok(guest_put(g, "/data/only", name));
		struct fs_cut c = cut(&r, "data/log", &s[i]);
		t_eq(c.stats.carried, 1);
		rehome(g, 1, "/data/log");
		add_times(&sum, &c.stats.times);
		t_eq(guest_mounts(g), mounts);
		t_eq(guest_ino(g, "/data/log"), ino);
	}
	note_times(b->fs, &sum, ROUNDS);
	for (int i = 0; i < ROUNDS; i++) {
		want[i] = 'x';
		t_str_eq(snapshot_get(b, &s[i], "/data/log"), want);
		snprintf(name, sizeof(name), "%d", i);
		t_str_eq(snapshot_get(b, &s[i], "/data/only"), name);
		t_str_eq(snapshot_get(b, &s[i], "/data/file0"), "/data/file0");
		t_str_eq(snapshot_get(b, &s[i], "/data/low.txt"), strerror(ENOENT));
		snprintf(name, sizeof(name), "/data/file%d", i + 1);
		t_str_eq(snapshot_get(b, &s[i], name), strerror(ENOENT));
		fs_snapshot_deinit(&s[i]);
	}
	fsrun_end(&r);
}
TEST(forty_cuts_in_a_row, .timeout_s = 120)
{
	fsbox_each(forty);
}

static void clean(struct fsbox *b)
{
	struct fsrun r;
	struct fs_snapshot s, again;
	struct err e = ERR_INIT;
	fsrun_begin(&r, b, NULL, NULL);
	struct guest *g = &r.guest;
	if (!((struct fs_mount *)vec_at(&r.tree->mounts, 0))->fine) {
		t_note("%s has coarse times: what is young counts as changed", b->fs);
		fsrun_end(&r);
		return;
	}
	t_assert(fs_is_clean(r.tree, false));
	t_str_eq(guest_get(g, "/data/low.txt"), "low");
	t_assert(fs_is_clean(r.tree, true));
	t_eq(cut(&r, NULL, &s).stats.mounts, 0);
	fs_snapshot_deinit(&s);
	t_ok(guest_open(g, 1, "/data/new", O_RDWR | O_CREAT));
	t_ok(guest_write(g, 1, "old"));
	t_ok(guest_map(g, 1));
	t_assert(!fs_is_clean(r.tree, true));
	t_eq(cut(&r, "data/new", &s).stats.mounts, 1);
	fs_snapshot_deinit(&s);
	rehome(g, 1, "/data/new");
	t_ok(guest_map(g, 1));
	/* A store through the mapping leaves no trace: held files are a no. */
	t_ok(guest_poke(g, 1, "new"));
	t_ok(guest_close(g, 1));
	t_assert(!fs_is_clean(r.tree, false));
	t_eq(cut(&r, NULL, &s).stats.mounts, 1);
	t_str_eq(snapshot_get(b, &s, "/data/new"), "new");
	/* Now it is one, with the next overlay prepared and without. */
	t_assert(fs_is_clean(r.tree, false));
	t_ok_e(fs_prepare(r.tree, &e), &e);
	t_assert(fs_is_clean(r.tree, false));
	t_eq(cut(&r, NULL, &again).stats.mounts, 0);
	struct fs_snapshot_mount *first = s.mounts.data, *second = again.mounts.data;
	t_eq(first->layers.n, 2);
	t_eq(second->layers.n, 2);
	t_assert(*(struct layer **)first->layers.data == *(struct layer **)second->layers.data);
	fs_snapshot_deinit(&again);
	/* Down in the tree, and the root itself; at once after the cut. */
	t_ok(guest_unlink(g, "/data/sub/deep.txt"));
	t_assert(!fs_is_clean(r.tree, false));
	t_eq(cut(&r, NULL, &again).stats.mounts, 1);
	t_ok(guest_chmod(g, "/", 0711));
	t_assert(!fs_is_clean(r.tree, false));
	fs_snapshot_deinit(&s);
	fs_snapshot_deinit(&again);
	fsrun_end(&r);
}
TEST(upper_is_clean_until_something_changes, .timeout_s = 60)
{
	fsbox_each(clean);
}

static void quick_changes(struct fsbox *b)
{
	struct fsrun r;
	struct fs_snapshot s;
	fsrun_begin(&r, b, NULL, NULL);
	t_ok(guest_put(&r.guest, "/data/new", "first"));
	/* Each at once after a cut, with a clock that ticks slowly. */
	for (int i = 0; i < 50; i++) {
		t_eq(cut(&r, NULL, &s).stats.mounts, 1);
		fs_snapshot_deinit(&s);
		t_ok(guest_put(&r.guest, i % 2 ? "/data/new" : "/new", "again"));
	}
	fsrun_end(&r);
}
TEST(no_change_is_too_quick_to_be_seen, .timeout_s = 60)
{
	fsbox_each(quick_changes);
}

static void root_attributes(struct fsbox *b)
{
	struct fsrun r, twin;
	struct fs_snapshot s;
	struct err e = ERR_INIT;
	struct stat st;
	fsrun_begin(&r, b, NULL, NULL);
	t_ok_e(fs_prepare(r.tree, &e), &e);
	/* Changed after the next root was made. */
	t_ok(guest_chmod(&r.guest, "/", 0711));
	cut(&r, NULL, &s);
	struct fs_mount *m = vec_at(&r.tree->mounts, 0);
	t_sys(fstat(m->mnt_fd, &st));
	t_eq(st.st_mode & 07777, 0711);
	fsrun_begin(&twin, b, NULL, &s);
	m = vec_at(&twin.tree->mounts, 0);
	t_sys(fstat(m->mnt_fd, &st));
	t_eq(st.st_mode & 07777, 0711);
	fsrun_end(&twin);
	fs_snapshot_deinit(&s);
	fsrun_end(&r);
	/* A root that was made read-only stays so over a cut of it. */
	t_ok_e(fs_tree_new(b->store, NULL, b->root, &b->spec, NULL, &r.tree, &e), &e);
	m = vec_at(&r.tree->mounts, 0);
	t_sys(mkdirat(m->mnt_fd, "late", 0755));
	t_ok(sys_mount_setattr(m->mnt_fd, "", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, 0));
	guest_start(&r.guest, b, r.tree);
	t_eq(guest_put(&r.guest, "/data/x", "x"), -EROFS);
	t_eq(cut(&r, NULL, &s).stats.mounts, 1);
	t_assert(guest_exists(&r.guest, "/late"));
	t_eq(guest_put(&r.guest, "/data/y", "y"), -EROFS);
	fs_snapshot_deinit(&s);
	fsrun_end(&r);
}
TEST(root_attributes_and_mount_flags_survive, .timeout_s = 60)
{
	fsbox_each(root_attributes);
}

static void add_volumes(struct fsbox *b)
{
	char text[400];
	struct err e = ERR_INIT;
	snprintf(text, sizeof(text), "%s:/vol:cow", b->volume);
	t_ok_e(spec_add_volume(&b->spec, text, &e), &e);
	snprintf(text, sizeof(text), "%s/data:/vol/inner:cow", b->root);
	t_ok_e(spec_add_volume(&b->spec, text, &e), &e);
}

static void volumes(struct fsbox *b)
{
	struct fsrun r;
	struct fs_snapshot s[4];
	add_volumes(b);
	fsrun_begin(&r, b, NULL, NULL);
	struct guest *g = &r.guest;
	int mounts = guest_mounts(g);
	t_eq(r.tree->mounts.n, 3);
	t_ok(guest_put(g, "/vol/v.txt", "1"));
	t_eq(cut(&r, NULL, &s[0]).stats.mounts, 1);
	t_eq(guest_mounts(g), mounts);
	t_str_eq(guest_get(g, "/vol/inner/low.txt"), "low");
	t_ok(guest_put(g, "/vol/inner/low.txt", "2"));
	t_ok(guest_put(g, "/data/low.txt", "2"));
	t_eq(cut(&r, NULL, &s[1]).stats.mounts, 2);
	t_ok(guest_put(g, "/vol/v.txt", "3"));
	t_ok(guest_put(g, "/vol/inner/low.txt", "3"));
	t_ok(guest_put(g, "/data/low.txt", "3"));
	t_eq(cut(&r, NULL, &s[2]).stats.mounts, 3);
	t_ok(guest_put(g, "/vol/v.txt", "4"));
	t_ok(guest_put(g, "/vol/inner/low.txt", "4"));
	t_eq(cut(&r, NULL, &s[3]).stats.mounts, 2);
	t_eq(guest_mounts(g), mounts);
	t_str_eq(guest_get(g, "/etc/hosts"), "mounted");
	static const char *const want[4][3] = {
		{"1", "low", "low"}, {"1", "2", "2"}, {"3", "3", "3"}, {"4", "4", "3"}};
	for (int i = 0; i < 4; i++) {
		t_str_eq(snapshot_get(b, &s[i], "/vol/v.txt"), want[i][0]);
		t_str_eq(snapshot_get(b, &s[i], "/vol/inner/low.txt"), want[i][1]);
		t_str_eq(snapshot_get(b, &s[i], "/data/low.txt"), want[i][2]);
	}
	for (int i = 0; i < 4; i++)
		fs_snapshot_deinit(&s[i]);
	fsrun_end(&r);
}
TEST(cow_volumes_are_cut_with_the_root_or_alone, .timeout_s = 60)
{
	fsbox_each(volumes);
}

static void links(struct fsbox *b)
{
	struct fsrun r, twin;
	struct fs_snapshot s, loaded;
	struct err e = ERR_INIT;
	fsrun_begin(&r, b, NULL, NULL);
	struct guest *g = &r.guest;
	t_ok(guest_mkdir(g, "/data/d"));
	t_ok(guest_put(g, "/data/d/a", "one"));
	t_ok(guest_link(g, "/data/d/a", "/data/sub/b"));
	t_ok(guest_link(g, "/data/d/a", "/c"));
	t_ok(guest_open(g, 1, "/c", O_RDWR | O_APPEND));
	struct fs_cut c = cut(&r, "c", &s);
	t_eq(c.stats.carried, 1);
	t_ok(guest_write(g, 1, "two"));
	t_str_eq(guest_get(g, "/data/d/a"), "onetwo");
	t_str_eq(guest_get(g, "/data/sub/b"), "onetwo");
	t_ok(guest_put(g, "/data/d/a", "three"));
	t_str_eq(guest_get(g, "/c"), "three");
	/* After a rollback they are one file, too; and from a manifest. */
	struct manifest m;
	manifest_init(&m);
	t_ok(fs_snapshot_save(&s, &m));
	t_ok_e(fs_snapshot_load(b->store, &m, &loaded, &e), &e);
	manifest_deinit(&m);
	for (int i = 0; i < 2; i++) {
		fsrun_begin(&twin, b, NULL, i ? &loaded : &s);
		struct fs_mount *root = vec_at(&twin.tree->mounts, 0);
		if (root->fine)
			t_eq(fs_is_clean(twin.tree, false), !root->silent);
		t_str_eq(guest_get(&twin.guest, "/data/sub/b"), "one");
		t_ok(guest_put(&twin.guest, "/data/sub/b", "twin"));
		t_str_eq(guest_get(&twin.guest, "/c"), "twin");
		t_str_eq(guest_get(&twin.guest, "/data/d/a"), "twin");
		fsrun_end(&twin);
	}
	fs_snapshot_deinit(&loaded);
	fs_snapshot_deinit(&s);
	/* Without an open descriptor they are kept together as well. */
	t_ok(guest_close(g, 1));
	cut(&r, NULL, &s);
	t_ok(guest_put(g, "/c", "four"));
	t_str_eq(guest_get(g, "/data/d/a"), "four");
	fs_snapshot_deinit(&s);
	fsrun_end(&r);
}
TEST(hardlinks_stay_one_file, .timeout_s = 60)
{
	fsbox_each(links);
}

/* What was known before the freeze is not what is there at the cut. */
static void late_links(struct fsbox *b)
{
	struct fsrun r;
	struct fs_snapshot s;
	struct err e = ERR_INIT;
	fsrun_begin(&r, b, NULL, NULL);
	struct guest *g = &r.guest;
	t_ok(guest_mkdir(g, "/data/a"));
	t_ok(guest_mkdir(g, "/data/b"));
	t_ok(guest_put(g, "/data/a/one", "1"));
	t_ok(guest_put(g, "/data/a/two", "2"));
	t_ok(guest_link(g, "/data/a/two", "/data/b/two"));
	t_ok(guest_put(g, "/data/b/three", "3"));
	t_ok(guest_link(g, "/data/b/three", "/data/b/drei"));
	t_ok_e(fs_prepare(r.tree, &e), &e);
	/* A second name elsewhere; one taken away; a directory moved. */
	t_ok(guest_link(g, "/data/a/one", "/data/b/one"));
	t_ok(guest_unlink(g, "/data/b/two"));
	t_ok(guest_rename(g, "/data/b", "/data/c"));
	struct fs_cut c = cut(&r, NULL, &s);
	t_eq(c.stats.carried, 2);
	t_ok(guest_put(g, "/data/a/one", "uno"));
	t_str_eq(guest_get(g, "/data/c/one"), "uno");
	t_ok(guest_put(g, "/data/c/drei", "tres"));
	t_str_eq(guest_get(g, "/data/c/three"), "tres");
	t_str_eq(snapshot_get(b, &s, "/data/c/one"), "1");
	t_str_eq(snapshot_get(b, &s, "/data/c/three"), "3");
	t_str_eq(snapshot_get(b, &s, "/data/a/two"), "2");
	fs_snapshot_deinit(&s);
	fsrun_end(&r);
}
TEST(links_made_after_the_scan_are_found, .timeout_s = 60)
{
	fsbox_each(late_links);
}

static void renamed_directory(struct fsbox *b)
{
	struct fsrun r;
	struct fs_snapshot s, t;
	fsrun_begin(&r, b, NULL, NULL);
	struct guest *g = &r.guest;
	int renamed = guest_rename(g, "/data/sub", "/data/moved");
	if (b->userns) {
		t_eq(renamed, -EXDEV); /* mv copes: it copies */
		fsrun_end(&r);
		return;
	}
	t_ok(renamed);
	t_ok(guest_open(g, 1, "/data/moved/deep.txt", O_RDWR | O_APPEND));
	t_ok(guest_write(g, 1, "er"));
	cut(&r, "data/moved/deep.txt", &s);
	t_str_eq(guest_get(g, "/data/moved/deep.txt"), "deeper");
	t_ok(guest_rename(g, "/data/moved", "/again"));
	t_str_eq(guest_get(g, "/again/deep.txt"), "deeper");
	cut(&r, "again/deep.txt", &t);
	t_ok(guest_write(g, 1, "!"));
	t_str_eq(guest_get(g, "/again/deep.txt"), "deeper!");
	t_str_eq(snapshot_get(b, &s, "/data/moved/deep.txt"), "deeper");
	t_str_eq(snapshot_get(b, &s, "/data/sub/deep.txt"), strerror(ENOENT));
	t_str_eq(snapshot_get(b, &t, "/again/deep.txt"), "deeper");
	t_str_eq(snapshot_get(b, &t, "/data/moved/deep.txt"), strerror(ENOENT));
	fs_snapshot_deinit(&s);
	fs_snapshot_deinit(&t);
	fsrun_end(&r);
}
TEST(renamed_directories_are_followed, .timeout_s = 60)
{
	fsbox_each(renamed_directory);
}

/* State for the sweeps: files that the cut carries, a volume, links. */
static void dirty(struct guest *g)
{
	t_ok(guest_put(g, "/data/log", "log"));
	t_ok(guest_open(g, 1, "/data/log", O_RDWR | O_APPEND));
	t_ok(guest_put(g, "/l1", "link"));
	if (!guest_exists(g, "/data/l2"))
		t_ok(guest_link(g, "/l1", "/data/l2"));
	t_ok(guest_put(g, "/vol/v.txt", "vol"));
	t_ok(guest_chmod(g, "/", 0755));
}

/* All is as dirty() left it, and live. */
static void check_live(struct fsrun *r, int mounts)
{
	struct guest *g = &r->guest;
	t_eq(guest_mounts(g), mounts);
	t_eq(guest_root_id(g), ((struct fs_mount *)vec_at(&r->tree->mounts, 0))->mnt_id);
	t_str_eq(guest_get(g, "/data/log"), "log");
	t_eq(guest_ino(g, "/data/log"), guest_fd_ino(g, 1));
	t_ok(guest_put(g, "/l1", "linked"));
	t_str_eq(guest_get(g, "/data/l2"), "linked");
	t_str_eq(guest_get(g, "/vol/v.txt"), "vol");
	t_str_eq(guest_get(g, "/vol/inner/low.txt"), "low");
	t_str_eq(guest_get(g, "/etc/hosts"), "mounted");
	t_assert(guest_exists(g, "/dev/pts"));
}

/* One that was held before, and lies aside after; one that was not. */
static const char *const sweep_carry[] = {"data/log", "data/fresh"};

static void dirty_again(struct fsrun *r)
{
	struct fs_snapshot s;
	dirty(&r->guest);
	cut(r, "data/log", &s);
	fs_snapshot_deinit(&s);
	dirty(&r->guest);
	t_ok(guest_put(&r->guest, "/data/fresh", "fresh"));
}

static void sweep_cut(struct fsbox *b)
{
	struct fsrun r;
	struct fs_snapshot s;
	struct fs_cut c;
	struct err e = ERR_INIT;
	add_volumes(b);
	fsrun_begin(&r, b, NULL, NULL);
	struct guest *g = &r.guest;
	dirty_again(&r);
	int mounts = guest_mounts(g);
	int layers = count_entries(b, "layers");
	/* A cut lets go of the overlay before the last one, whatever comes of it. */
	t_ok_e(try_cut(&r, sweep_carry, 2, &c, &s, &e), &e);
	t_ok_e(fs_uncut(r.tree, g->mntns_fd, &e), &e);
	fs_snapshot_deinit(&s);
	int fds = count_fds();
	unsigned n = 0, failed = 0;
	for (;;) {
		e = ERR_INIT;
		sys_fault_arm(++n, EIO);
		int got = try_cut(&r, sweep_carry, 2, &c, &s, &e);
		const char *fired = sys_fault_fired();
		sys_fault_arm(0, 0);
		if (got == 0 && !fired)
			break;
		if (got == 0) { /* the call was one whose failure is no matter */
			t_ok_e(fs_uncut(r.tree, g->mntns_fd, &e), &e);
			fs_snapshot_deinit(&s);
		} else {
			failed++;
			if (e.broken)
				t_fail("call %u (%s) broke it: %s", n, fired, e.cause);
			t_assert(e.cause[0]);
		}
		check_live(&r, mounts);
		t_eq(count_fds(), fds);
		t_eq(count_entries(b, "layers"), layers);
	}
	t_note("%s: %u calls, %u of them failed the cut", b->fs, n - 1, failed);
	t_ok_e(fs_settle(r.tree, g->mntns_fd, &e), &e);
	check_live(&r, mounts);
	fs_snapshot_deinit(&s);
	fsrun_end(&r);
}
TEST(cut_fails_whole_at_every_call, .timeout_s = 240)
{
	fsbox_each(sweep_cut);
}

static void sweep_uncut(struct fsbox *b)
{
	struct fsrun r;
	struct fs_snapshot s;
	struct fs_cut c;
	struct err e = ERR_INIT;
	add_volumes(b);
	fsrun_begin(&r, b, NULL, NULL);
	struct guest *g = &r.guest;
	dirty_again(&r);
	int mounts = guest_mounts(g), fds = 0;
	const char *fired = "";
	for (unsigned n = 1; fired; n++) {
		t_ok_e(try_cut(&r, sweep_carry, 2, &c, &s, &e), &e);
		/* Written through the new overlay: lost, as it must be. */
		sys_fault_arm(n, EIO);
		int got = fs_uncut(r.tree, g->mntns_fd, &e);
		fired = sys_fault_fired();
		sys_fault_arm(0, 0);
		if (got)
			t_fail("uncut failed by one %s: %s", fired, e.cause);
		fs_snapshot_deinit(&s);
		check_live(&r, mounts);
		t_eq(r.tree->state, FS_LIVE);
		if (!fds)
			fds = count_fds();
		t_eq(count_fds(), fds);
	}
	/* The same for what makes it stand. */
	for (unsigned n = 1; n < 40; n++) {
		t_ok(guest_put(g, "/vol/v.txt", "vol"));
		t_ok_e(try_cut(&r, sweep_carry, 2, &c, &s, &e), &e);
		sys_fault_arm(n, EIO);
		t_ok_e(fs_settle(r.tree, g->mntns_fd, &e), &e);
		sys_fault_arm(0, 0);
		fs_snapshot_deinit(&s);
		check_live(&r, mounts);
	}
	fsrun_end(&r);
}
TEST(uncut_and_settle_survive_any_single_failure, .timeout_s = 240)
{
	fsbox_each(sweep_uncut);
}

static void sweep_new(struct fsbox *b)
{
	struct fsrun r;
	struct fs_snapshot s;
	struct err e = ERR_INIT;
	add_volumes(b);
	fsrun_begin(&r, b, NULL, NULL);
	dirty_again(&r);
	cut(&r, "data/log", &s);
	int layers = count_entries(b, "layers"), fds = count_fds();
	const char *fired = "";
	for (unsigned n = 1; fired; n++) {
		struct fs_tree *t = NULL;
		sys_fault_arm(n, ENOSPC);
		int got = fs_tree_new(b->store, NULL, b->root, &b->spec, &s, &t, &e);
		fired = sys_fault_fired();
		sys_fault_arm(0, 0);
		if (got == 0)
			fs_tree_free(t);
		t_eq(count_fds(), fds);
		t_eq(count_entries(b, "layers"), layers);
	}
	fired = "";
	for (unsigned n = 1; fired; n++) {
		sys_fault_arm(n, ENOSPC);
		int got = fs_prepare(r.tree, &e);
		fired = sys_fault_fired();
		sys_fault_arm(0, 0);
		if (got)
			t_assert(e.cause[0]);
	}
	fs_snapshot_deinit(&s);
	fsrun_end(&r);
}
TEST(new_trees_fail_without_a_trace, .timeout_s = 120)
{
	fsbox_each(sweep_new);
}

/* What a cut costs where much was written, and where little was after that. */
static void big_upper(struct fsbox *b)
{
	enum { DIRS = 40, FILES = 50 };
	struct fsrun r;
	struct fs_snapshot s[2];
	struct err e = ERR_INIT;
	char name[64];
	fsrun_begin(&r, b, NULL, NULL);
	struct guest *g = &r.guest;
	for (int d = 0; d < DIRS; d++) {
		snprintf(name, sizeof(name), "/data/d%d", d);
		t_ok(guest_mkdir(g, name));
		for (int f = 0; f < FILES; f++) {
			snprintf(name, sizeof(name), "/data/d%d/f%d", d, f);
			t_ok(guest_put(g, name, ""));
		}
	}
	t_ok_e(fs_prepare(r.tree, &e), &e);
	struct fs_cut c = cut(&r, NULL, &s[0]);
	note_times("2000 new files", &c.stats.times, 1);
	t_ok_e(fs_prepare(r.tree, &e), &e);
	t_ok(guest_put(g, "/data/d1/f1", "x"));
	c = cut(&r, NULL, &s[1]);
	note_times("then one", &c.stats.times, 1);
	fs_snapshot_deinit(&s[0]);
	fs_snapshot_deinit(&s[1]);
	fsrun_end(&r);
}
TEST(cost_of_a_cut_after_many_files, .timeout_s = 120)
{
	fsbox_each(big_upper);
}

/* What is done outside the freeze. */
static void build_cost(struct fsbox *b)
{
	enum { ROUNDS = 20 };
	struct fs_tree *t;
	struct err e = ERR_INIT;
	uint64_t made_ns = 0, prepared_ns = 0, freed_ns = 0;
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t start_ns = clock_now_ns();
		t_ok_e(fs_tree_new(b->store, NULL, b->root, &b->spec, NULL, &t, &e), &e);
		uint64_t new_ns = clock_now_ns();
		t_ok_e(fs_prepare(t, &e), &e);
		uint64_t ready_ns = clock_now_ns();
		fs_tree_free(t);
		made_ns += new_ns - start_ns;
		prepared_ns += ready_ns - new_ns;
		freed_ns += clock_now_ns() - ready_ns;
	}
	t_note("%s: tree %llu us, prepare %llu us, free %llu us", b->fs,
	       (unsigned long long)made_ns / ROUNDS / 1000,
	       (unsigned long long)prepared_ns / ROUNDS / 1000,
	       (unsigned long long)freed_ns / ROUNDS / 1000);
}
TEST(cost_of_building_ahead, .timeout_s = 60)
{
	fsbox_each(build_cost);
}

static void nested_bind(struct fsbox *b)
{
	struct fsrun r;
	struct fs_snapshot s;
	struct fs_cut c;
	struct err e = ERR_INIT;
	fsrun_begin(&r, b, NULL, NULL);
	t_ok(guest_put(&r.guest, "/data/x", "x"));
	t_ok(guest_bind(&r.guest, "/data", "/old"));
	t_eq(try_cut(&r, NULL, 0, &c, &s, &e), -EBUSY);
	t_assert(strstr(e.cause, "/old"));
	t_str_eq(guest_get(&r.guest, "/old/x"), "x");
	fsrun_end(&r);
}
TEST(bind_mount_of_the_overlay_is_refused, .timeout_s = 60)
{
	fsbox_each(nested_bind);
}

static void full_disk(struct fsbox *b)
{
	struct fsrun r;
	struct fs_snapshot s;
	struct fs_cut c;
	struct err e = ERR_INIT;
	fsrun_begin(&r, b, NULL, NULL);
	struct guest *g = &r.guest;
	t_ok(guest_open(g, 1, "/data/big", O_RDWR | O_CREAT));
	char text[FSBOX_TEXT] = "";
	memset(text, 'x', sizeof(text) - 1);
	/* More than half of it: the copy cannot fit. */
	for (int i = 0; i < 4000; i++)
		t_ok(guest_write(g, 1, text));
	int layers = count_entries(b, "layers");
	static const char *const names[] = {"data/big"};
	t_eq(try_cut(&r, names, 1, &c, &s, &e), -ENOSPC);
	t_assert(e.remedy[0]);
	t_assert(!e.broken);
	t_ok(guest_write(g, 1, "end"));
	t_eq(guest_ino(g, "/data/big"), guest_fd_ino(g, 1));
	t_eq(count_entries(b, "layers"), layers);
	fsrun_end(&r);
}
TEST(full_disk_fails_a_cut_and_harms_nothing, .timeout_s = 60)
{
	fsbox_small(full_disk, "2m");
}

static void many(struct fsbox *b)
{
	struct fsrun r;
	struct fs_snapshot s;
	struct fs_cut c;
	struct err e = ERR_INIT;
	fsrun_begin(&r, b, NULL, NULL);
	int got = 0, n = 0;
	for (; got == 0 && n < 500; n++) {
		t_ok(guest_put(&r.guest, "/data/n", "n"));
		got = try_cut(&r, NULL, 0, &c, &s, &e);
		if (got)
			break;
		t_ok_e(fs_settle(r.tree, r.guest.mntns_fd, &e), &e);
		fs_snapshot_deinit(&s);
	}
	t_eq(got, -E2BIG);
	t_eq(n, OVERLAY_LOWERS_MAX - 1);
	t_assert(e.remedy[0]);
	t_str_eq(guest_get(&r.guest, "/data/n"), "n");
	fsrun_end(&r);
}
TEST(a_chain_that_is_too_long_is_refused, .timeout_s = 120)
{
	fsbox_small(many, "64m");
}
