/* What a layer adds up to, and which dead sandboxes are kept. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/clock.h"
#include "fsbox.h"
#include "harness/harness.h"
#include "store/layer.h"
#include "store/manifest.h"
#include "store/record.h"
#include "sys/fault.h"

/* Sums */

static void put(int dir, const char *name, const char *text)
{
	int fd = t_sys(openat(dir, name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644));
	t_eq(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void set_time(int dir, const char *name, long s)
{
	struct timespec times[2] = {{s, 1}, {s, 2}};
	t_sys(utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW));
}

static void set_times(int fs)
{
	set_time(fs, "d/file", 1000);
	set_time(fs, "d", 1000);
	set_time(fs, ".", 1000);
}

static struct layer *filled_layer(struct fsbox *b)
{
	struct layer *l;
	struct err e = ERR_INIT;
	t_ok_e(layer_new(b->store, &l, &e), &e);
	t_sys(mkdirat(l->fs_fd, "d", 0755));
	put(l->fs_fd, "d/file", "twelve bytes");
	put(l->fs_fd, "other", "x");
	t_sys(symlinkat("d/file", l->fs_fd, "link"));
	t_sys(mkfifoat(l->fs_fd, "fifo", 0600));
	set_times(l->fs_fd);
	layer_seal(l);
	return l;
}

static void do_remove(int fs)
{
	t_sys(unlinkat(fs, "other", 0));
}

static void do_truncate(int fs)
{
	put(fs, "d/file", "");
}

static void do_edit(int fs)
{
	put(fs, "d/file", "TWELVE bytes");
}

static void do_add(int fs)
{
	put(fs, "d/new", "");
}

static void do_rename(int fs)
{
	t_sys(renameat(fs, "d/file", fs, "d/elif"));
}

static void do_chmod(int fs)
{
	t_sys(fchmodat(fs, "d", 0700, 0));
}

static void do_relink(int fs)
{
	struct stat st;
	t_sys(fstatat(fs, "link", &st, AT_SYMLINK_NOFOLLOW));
	t_sys(unlinkat(fs, "link", 0));
	t_sys(symlinkat("d/fila", fs, "link"));
	struct timespec times[2] = {st.st_mtim, st.st_mtim};
	t_sys(utimensat(fs, "link", times, AT_SYMLINK_NOFOLLOW));
}

static void do_attribute(int fs)
{
	int fd = t_sys(openat(fs, "d", O_RDONLY | O_CLOEXEC));
	if (fsetxattr(fd, "user.overlay.opaque", "y", 1, 0))
		t_sys(fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0));
	close(fd);
}

static const struct {
	const char *what;
	void (*run)(int fs);
	bool counted; /* it shows in the numbers */
} harm[] = {
	{"a file is missing", do_remove, true},
	{"a file is empty", do_truncate, true},
	{"a file was written to", do_edit, false},
	{"there is one more", do_add, true},
	{"one has another name", do_rename, false},
	{"a directory has another mode", do_chmod, false},
	{"a link leads elsewhere", do_relink, false},
	{"a directory is opaque", do_attribute, false},
};

static void damage(struct fsbox *b)
{
	struct err e = ERR_INIT;
	int fds = count_fds();
	for (size_t i = 0; i < sizeof(harm) / sizeof(harm[0]); i++) {
		struct layer *l = filled_layer(b);
		t_ok_e(layer_sum(l, &e), &e);
		t_eq(l->sum.entries, 6);
		t_eq(l->sum.bytes, 13);
		t_ok_e(layer_verify(l, &l->sum, &e), &e);
		harm[i].run(l->fs_fd);
		/* the sum of what was changed, not of when */
		if (harm[i].run != do_edit)
			set_time(l->fs_fd, "d", 1000);
		set_time(l->fs_fd, ".", 1000);
		e = ERR_INIT;
		t_note("%s", harm[i].what);
		t_eq(layer_verify(l, &l->sum, &e), -EBADMSG);
		t_note("%s", e.cause);
		t_assert(strstr(e.cause, l->id));
		t_eq(strstr(e.cause, "it had 6 of 13") != NULL, harm[i].counted);
		layer_unref(l);
	}
	struct layer *l = filled_layer(b);
	struct layer_sum unknown = {0};
	t_eq(layer_verify(l, &unknown, &e), -EBADMSG);
	layer_unref(l);
	t_eq(count_fds(), fds);
}
TEST(a_damaged_layer_is_told_from_a_whole_one, .timeout_s = 60)
{
	fsbox_each(damage);
}

static void sweep_sum(struct fsbox *b)
{
	struct layer *l = filled_layer(b);
	struct err e = ERR_INIT;
	int fds = count_fds();
	t_ok_e(layer_sum(l, &e), &e);
	struct layer_sum whole = l->sum;
	for (unsigned n = 1;; n++) {
		l->sum = (struct layer_sum){0};
		sys_fault_arm(n, EIO);
		int r = layer_sum(l, &e);
		bool fired = sys_fault_fired() != NULL;
		sys_fault_arm(0, 0);
		t_eq(count_fds(), fds);
		t_eq(l->sum.known, r == 0);
		t_assert(r || layer_sum_equal(&l->sum, &whole));
		if (!fired)
			break;
	}
	layer_unref(l);
}
TEST(a_sum_is_right_or_not_there, .timeout_s = 60)
{
	fsbox_each(sweep_sum);
}

/* Manifests with sums */

static void fill_manifest(struct manifest *m, const char *id, const char *sandbox,
			  const char *family, const struct layer *l)
{
	manifest_init(m);
	m->id = strdup(id);
	m->sandbox = strdup(sandbox);
	m->family = strdup(family);
	m->base = strdup("host");
	m->created_ns = clock_wall_ns();
	m->spec = json_pack("{s:b}", "userns", 1);
	struct manifest_mount *mm = manifest_add_mount(m, "/", "/");
	t_ok(l ? manifest_add_layer(mm, l->id, &l->sum) : 0);
}

static void write_one(struct fsbox *b, const char *id, const char *sandbox, const char *family)
{
	struct manifest m;
	struct err e = ERR_INIT;
	fill_manifest(&m, id, sandbox, family, NULL);
	t_ok_e(manifest_write(b->store, &m, &e), &e);
	manifest_deinit(&m);
}

static void verify(struct fsbox *b)
{
	struct layer *l = filled_layer(b);
	struct err e = ERR_INIT;
	struct manifest m, back;
	struct vec found = VEC_INIT(struct manifest_layer);
	t_ok_e(layer_sum(l, &e), &e);
	fill_manifest(&m, "c1", "box", "f", l);
	t_ok_e(manifest_write(b->store, &m, &e), &e);
	t_ok_e(manifest_read(b->store, "c1", &back, &e), &e);
	const struct manifest_layer *have = vec_at(
		&((struct manifest_mount *)vec_at(&back.mounts, 0))->layers, 0);
	t_assert(layer_sum_equal(&have->sum, &l->sum));
	t_assert(json_is_true(json_object_get(back.spec, "userns")));
	t_ok_e(manifest_verify(b->store, &back, &found, &e), &e);
	t_eq(found.n, 1);
	do_edit(l->fs_fd);
	/* remembered, so not looked at again */
	t_ok_e(manifest_verify(b->store, &back, &found, &e), &e);
	t_eq(manifest_verify(b->store, &back, NULL, &e), -EBADMSG);
	t_assert(strstr(e.cause, "c1") && strstr(e.cause, l->id));
	vec_deinit(&found);
	char from[64];
	snprintf(from, sizeof(from), "%s", l->id);
	layer_unref(l);
	t_sys(renameat(store_layers_fd(b->store), from, store_trash_fd(b->store), "gone"));
	t_eq(manifest_verify(b->store, &back, NULL, &e), -ENOENT);
	t_assert(strstr(e.cause, "missing"));
	manifest_deinit(&back);
	manifest_deinit(&m);
}
TEST(a_manifest_says_whether_its_layers_are_whole, .timeout_s = 60)
{
	fsbox_each(verify);
}

/* Records */

static int living(struct fsbox *b, const char *name, const char *family, bool owned)
{
	struct err e = ERR_INIT;
	int fd = (int)t_ok_e(record_claim(b->store, name, &e), &e);
	struct record r = {.base = (char *)"host", .created_ns = 1, .owned = owned};
	snprintf(r.name, sizeof(r.name), "%s", name);
	snprintf(r.family, sizeof(r.family), "%s", family);
	snprintf(r.id, sizeof(r.id), "id-of-%s", name);
	t_ok_e(record_write(b->store, &r, &e), &e);
	return fd;
}

/* The states of all records, as "name=kept ...". */
static const char *states(struct fsbox *b)
{
	static const char *const word[] = {"living", "kept", "left"};
	static char text[512];
	struct vec manifests, list;
	struct err e = ERR_INIT;
	t_ok_e(manifest_list(b->store, &manifests, &e), &e);
	t_ok_e(record_list(b->store, &manifests, &list, &e), &e);
	text[0] = '\0';
	vec_each(struct record, r, &list) {
		size_t n = strlen(text);
		snprintf(text + n, sizeof(text) - n, "%s%s=%s", n ? " " : "", r->name,
			 word[r->state]);
	}
	record_list_deinit(&list);
	manifest_list_deinit(&manifests);
	return text;
}

static size_t delete(struct fsbox *b, const char *name)
{
	struct vec manifests, list;
	struct err e = ERR_INIT;
	size_t n = 0;
	t_ok_e(manifest_list(b->store, &manifests, &e), &e);
	t_ok_e(record_list(b->store, &manifests, &list, &e), &e);
	vec_each(struct record, r, &list) if (!strcmp(r->name, name))
		t_ok_e(record_delete(b->store, r, &list, &manifests, &n, &e), &e);
	record_list_deinit(&list);
	manifest_list_deinit(&manifests);
	return n;
}

static void keep(struct fsbox *b)
{
	struct err e = ERR_INIT;
	int fds = count_fds();
	int one = living(b, "one", "F", false);
	int fork = living(b, "fork", "F", false);
	int bare = living(b, "bare", "G", false);
	t_str_eq(states(b), "bare=living fork=living one=living");
	t_eq(record_claim(b->store, "one", &e), -EEXIST);
	t_assert(strstr(e.cause, "lives"));
	write_one(b, "c1", "one", "F");
	/* a fork dies that took no checkpoint: nothing is lost with it */
	close(fork);
	t_str_eq(states(b), "bare=living fork=left one=living");
	close(one);
	close(bare);
	t_str_eq(states(b), "bare=left fork=left one=kept");
	t_eq(record_claim(b->store, "one", &e), -EEXIST);
	t_assert(strstr(e.cause, "kept") && strstr(e.remedy, "mulligan rm one"));
	t_eq(record_check_free(b->store, "one", &e), -EEXIST);
	/* a name that is left over can be taken again */
	t_ok_e(record_check_free(b->store, "bare", &e), &e);
	bare = living(b, "bare", "H", false);
	t_str_eq(states(b), "bare=living fork=left one=kept");
	t_eq(delete (b, "bare"), 0); /* it lives */
	close(bare);
	t_eq(delete (b, "fork"), 0);
	t_eq(delete (b, "one"), 1);
	t_eq(delete (b, "bare"), 0);
	t_str_eq(states(b), "");
	t_eq(count_entries(b, "checkpoints"), 0);
	t_eq(count_fds(), fds);
}
TEST(dead_sandboxes_with_checkpoints_are_kept, .timeout_s = 60)
{
	fsbox_each(keep);
}

static void last(struct fsbox *b)
{
	int one = living(b, "one", "F", false);
	int fork = living(b, "fork", "F", false);
	write_one(b, "c1", "one", "F");
	close(one);
	t_eq(delete (b, "one"), 0); /* the fork has it, too */
	close(fork);
	t_str_eq(states(b), "fork=kept");
	t_eq(delete (b, "fork"), 1);
	t_eq(count_entries(b, "checkpoints"), 0);
}
TEST(the_last_of_a_family_stands_for_its_checkpoints, .timeout_s = 60)
{
	fsbox_each(last);
}

static void over(struct fsbox *b)
{
	close(living(b, "owned", "F", true));
	write_one(b, "c1", "owned", "F");
	t_str_eq(states(b), "owned=left");
	t_eq(delete (b, "owned"), 1);
	/* a record that was lost: the checkpoint can be reached all the same */
	write_one(b, "c2", "nobody", "G");
	t_str_eq(states(b), "nobody=kept");
	int taken = living(b, "nobody", "H", false);
	t_str_eq(states(b), "nobody=living lost-G=kept");
	close(taken);
	t_eq(delete (b, "lost-G"), 1);
	t_eq(delete (b, "nobody"), 0);
	t_str_eq(states(b), "");
}
TEST(what_had_an_owner_is_not_kept, .timeout_s = 60)
{
	fsbox_each(over);
}
