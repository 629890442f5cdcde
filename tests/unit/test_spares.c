/* Overlays that are used again: only as they were made, only over the same layers. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fsbox.h"
#include "harness/harness.h"
#include "sandbox/spares.h"
#include "sys/mount.h"

static void add_volume(struct fsbox *b)
{
	char text[400];
	struct err e = ERR_INIT;
	snprintf(text, sizeof(text), "%s:/vol:cow", b->volume);
	t_ok_e(spec_add_volume(&b->spec, text, &e), &e);
}

static struct fs_mount *mount_at(struct fsrun *r, const char *target)
{
	struct fs_mount *m = fs_tree_find_target(r->tree, target);
	t_assert(m);
	return m;
}

/* Skips where the kernel cannot mount a detached mount twice, and only there. */
static void need_kept(struct fsrun *r)
{
	struct fs_mount *m = mount_at(r, "/");
	if (m->keep_fd >= 0)
		return;
	int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
	t_eq(sys_open_tree(m->mnt_fd, "", (unsigned int)flags), -EINVAL);
	t_skip("no mounts of detached mounts (needs Linux 6.15)");
}

static const char *upper_of(struct fsrun *r, const char *target)
{
	static char id[4][STORE_ID_BYTES];
	static unsigned int turn;
	struct fs_mount *m = mount_at(r, target);
	t_assert(m->keep_fd >= 0);
	return strcpy(id[turn++ % 4], m->upper->id);
}

static void unwritten(struct fsbox *b)
{
	struct fs_spares spares;
	struct fsrun r;
	add_volume(b);
	fs_spares_init(&spares, b->store);
	fsrun_begin(&r, b, &spares, NULL);
	need_kept(&r);
	const char *root = upper_of(&r, "/"), *volume = upper_of(&r, "/vol");
	t_ok(guest_put(&r.guest, "/data/n", "n"));
	fsrun_end(&r);
	t_eq(spares.mounts.n, 1);
	fsrun_begin(&r, b, &spares, NULL);
	t_str_eq(upper_of(&r, "/vol"), volume);
	t_assert(strcmp(upper_of(&r, "/"), root) != 0);
	t_assert(!guest_exists(&r.guest, "/data/n"));
	/* it works as a new one, and is not kept once it was written */
	t_ok(guest_put(&r.guest, "/vol/n", "v"));
	t_str_eq(guest_get(&r.guest, "/vol/n"), "v");
	fsrun_end(&r);
	fsrun_begin(&r, b, &spares, NULL);
	t_assert(strcmp(upper_of(&r, "/vol"), volume) != 0);
	t_assert(!guest_exists(&r.guest, "/vol/n"));
	fsrun_end(&r);
	int layers = count_entries(b, "layers");
	t_assert(layers > 0);
	fs_spares_clear(&spares);
	t_assert(count_entries(b, "layers") < layers);
}
TEST(only_what_was_not_written_is_used_again, .timeout_s = 60)
{
	fsbox_each(unwritten);
}

/* Each way to leave a trace in an upper. */
static void traces(struct fsbox *b)
{
	struct fs_spares spares;
	struct fsrun r;
	add_volume(b);
	fs_spares_init(&spares, b->store);
	for (int way = 0; way < 5; way++) {
		fsrun_begin(&r, b, &spares, NULL);
		need_kept(&r);
		struct guest *g = &r.guest;
		if (way == 0)
			t_ok(guest_unlink(g, "/data/low.txt"));
		else if (way == 1)
			t_ok(guest_chmod(g, "/", 0700));
		else if (way == 2)
			t_ok(guest_open(g, 1, "/data/low.txt", O_RDWR));
		else if (way == 3)
			t_ok(guest_mkdir(g, "/data/d"));
		else
			t_ok(guest_rename(g, "/data/low.txt", "/data/up.txt"));
		fsrun_end(&r);
		fsrun_begin(&r, b, &spares, NULL);
		t_assert(guest_exists(&r.guest, "/data/low.txt"));
		t_assert(!guest_exists(&r.guest, "/data/d"));
		/* only the volume was left as it was, time after time */
		guest_stop(&r.guest);
		fs_tree_free(r.tree);
		fs_spares_clear(&spares);
	}
}
TEST(any_trace_in_an_upper_is_the_end_of_it, .timeout_s = 60)
{
	fsbox_each(traces);
}

static void stacks(struct fsbox *b)
{
	struct fs_spares spares;
	struct fs_snapshot s;
	struct fsrun r;
	struct err e = ERR_INIT;
	add_volume(b);
	fs_spares_init(&spares, b->store);
	fsrun_begin(&r, b, &spares, NULL);
	need_kept(&r);
	t_ok(guest_put(&r.guest, "/data/n", "n"));
	struct fs_cut c = { .mntns_fd = r.guest.mntns_fd };
	t_ok_e(fs_cut(r.tree, &c, &s, &e), &e);
	t_ok_e(fs_settle(r.tree, r.guest.mntns_fd, &e), &e);
	fsrun_end(&r);
	/* the root's overlay is another one since the cut */
	t_eq(spares.mounts.n, 1);
	fsrun_begin(&r, b, &spares, &s);
	const char *over = upper_of(&r, "/");
	t_str_eq(guest_get(&r.guest, "/data/n"), "n");
	fsrun_end(&r);
	fsrun_begin(&r, b, &spares, NULL);
	t_assert(!guest_exists(&r.guest, "/data/n"));
	t_assert(strcmp(upper_of(&r, "/"), over) != 0);
	fsrun_end(&r);
	fsrun_begin(&r, b, &spares, &s);
	t_str_eq(upper_of(&r, "/"), over);
	t_str_eq(guest_get(&r.guest, "/data/n"), "n");
	fsrun_end(&r);
	fs_spares_clear(&spares);
	fs_snapshot_deinit(&s);
}
TEST(spare_is_taken_for_the_same_layers_alone, .timeout_s = 60)
{
	fsbox_each(stacks);
}

/* What was written is made anew ahead, once, over the same layers. */
static void ahead(struct fsbox *b)
{
	struct fs_spares spares;
	struct fs_snapshot s;
	struct fsrun r;
	struct err e = ERR_INIT;
	fs_spares_init(&spares, b->store);
	fsrun_begin(&r, b, &spares, NULL);
	need_kept(&r);
	t_eq(fs_spares_make(&spares, b->root, &e), 0);
	t_ok(guest_put(&r.guest, "/data/n", "n"));
	struct fs_cut c = { .mntns_fd = r.guest.mntns_fd };
	t_ok_e(fs_cut(r.tree, &c, &s, &e), &e);
	t_ok_e(fs_settle(r.tree, r.guest.mntns_fd, &e), &e);
	t_ok(guest_put(&r.guest, "/data/n", "after"));
	fsrun_end(&r);
	t_eq(spares.wanted.n, 1);
	t_eq(fs_spares_make(&spares, b->root, &e), 1);
	t_eq(fs_spares_make(&spares, b->root, &e), 0);
	t_eq(spares.mounts.n, 1);
	char made[STORE_ID_BYTES];
	strcpy(made, ((struct fs_mount *)vec_at(&spares.mounts, 0))->upper->id);
	for (int round = 0; round < 2; round++) {
		fsrun_begin(&r, b, &spares, &s);
		t_assert(!strcmp(upper_of(&r, "/"), made) == !round);
		t_str_eq(guest_get(&r.guest, "/data/n"), "n");
		t_ok(guest_put(&r.guest, "/data/n", "again"));
		fsrun_end(&r);
		/* the second one was made by the tree that wanted it */
		t_eq(spares.mounts.n, 0);
		t_eq(spares.wanted.n, 1);
	}
	t_eq(fs_spares_make(&spares, b->root, &e), 1);
	fs_spares_drop_layers(&spares, &((struct fs_snapshot_mount *)vec_at(&s.mounts, 0))->layers);
	t_eq(spares.mounts.n, 0);
	fs_spares_clear(&spares);
	fs_snapshot_deinit(&s);
}
TEST(what_was_written_is_made_anew_ahead, .timeout_s = 60)
{
	fsbox_each(ahead);
}
