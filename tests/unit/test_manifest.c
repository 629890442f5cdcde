/* Manifests: there and back, whole or not at all, damaged ones. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsbox.h"
#include "harness/harness.h"
#include "store/manifest.h"
#include "sys/fault.h"

static const char *const layer_id[] = {"0123456789abcdef0123456789abcdef",
				       "ffffffffffffffffffffffffffffffff"};

static void fill(struct manifest *m, const char *id, uint64_t created_ns)
{
	manifest_init(m);
	m->id = strdup(id);
	m->tag = strdup("a \"tag\" with \xc3\xa4");
	m->sandbox = strdup("box");
	m->family = strdup("family");
	m->base = strdup("rootfs:/x");
	m->created_ns = created_ns;
	m->processes = 7;
	struct manifest_mount *mm = manifest_add_mount(m, "/", "/base");
	t_ok(manifest_add_layer(mm, layer_id[0], NULL));
	t_ok(manifest_add_layer(mm, layer_id[1], NULL));
	t_eq(manifest_add_layer(mm, "short", NULL), -EINVAL);
	t_eq(manifest_add_layer(mm, "ABCDEF6789abcdef0123456789abcdef", NULL), -EINVAL);
	t_assert(manifest_add_mount(m, "/vol", "/elsewhere"));
}

static void there_and_back(struct fsbox *b)
{
	struct manifest m, back;
	struct err e = ERR_INIT;
	struct vec list;
	fill(&m, "c2", 1700000000123456789u);
	t_ok_e(manifest_write(b->store, &m, &e), &e);
	t_ok_e(manifest_read(b->store, "c2", &back, &e), &e);
	t_str_eq(back.id, "c2");
	t_str_eq(back.tag, m.tag);
	t_assert(!back.parent);
	t_str_eq(back.base, "rootfs:/x");
	t_eq(back.created_ns, 1700000000123456789u);
	t_eq(back.processes, 7);
	t_eq(back.mounts.n, 2);
	struct manifest_mount *mm = vec_at(&back.mounts, 0);
	t_str_eq(mm->target, "/");
	t_str_eq(mm->source, "/base");
	t_eq(mm->layers.n, 2);
	t_str_eq(vec_at(&mm->layers, 1), layer_id[1]);
	manifest_deinit(&back);
	/* Again under the same id: replaced. */
	free(m.tag);
	m.tag = NULL;
	m.parent = strdup("c1");
	t_ok_e(manifest_write(b->store, &m, &e), &e);
	t_ok_e(manifest_read(b->store, "c2", &back, &e), &e);
	t_assert(!back.tag);
	t_str_eq(back.parent, "c1");
	manifest_deinit(&back);
	manifest_deinit(&m);
	fill(&m, "c1", 5);
	t_ok_e(manifest_write(b->store, &m, &e), &e);
	manifest_deinit(&m);
	t_ok_e(manifest_list(b->store, &list, &e), &e);
	t_eq(list.n, 2);
	t_str_eq(((struct manifest *)vec_at(&list, 0))->id, "c1");
	manifest_list_deinit(&list);
	t_ok_e(manifest_remove(b->store, "c1", &e), &e);
	t_eq(manifest_remove(b->store, "c1", &e), -ENOENT);
	t_eq(manifest_read(b->store, "c1", &back, &e), -ENOENT);
	t_eq(manifest_read(b->store, "../x", &back, &e), -EINVAL);
	t_ok_e(manifest_remove(b->store, "c2", &e), &e);
}
TEST(manifests_come_back_as_written, .timeout_s = 60)
{
	fsbox_each(there_and_back);
}

static void put(struct fsbox *b, const char *name, const char *text, size_t len)
{
	int fd = t_sys(openat(store_checkpoints_fd(b->store), name,
			      O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600));
	t_eq(write(fd, text, len), len);
	close(fd);
}

static void damaged(struct fsbox *b)
{
	static const char *const text[] = {
		"",
		"{",
		"[]",
		"null",
		"{\"version\": 1}",
		"{\"version\": 99, \"id\": \"c\"}",
		"{\"version\": \"1\"}",
		"\xff\xfe",
		"{\"version\": 1, \"version\": 1}",
		"{\"version\":1,\"id\":\"other\",\"sandbox\":\"s\",\"family\":\"f\",\"base\":\"b\","
		"\"created_ns\":1,\"processes\":1,\"mounts\":[{\"target\":\"/\",\"source\":\"/\","
		"\"layers\":[]}]}",
		"{\"version\":1,\"id\":\"c\",\"sandbox\":\"s\",\"family\":\"f\",\"base\":\"b\","
		"\"created_ns\":-1,\"processes\":1,\"mounts\":[{\"target\":\"/\",\"source\":\"/\","
		"\"layers\":[]}]}",
		"{\"version\":1,\"id\":\"c\",\"sandbox\":\"s\",\"family\":\"f\",\"base\":\"b\","
		"\"created_ns\":1,\"processes\":1,\"mounts\":[{\"target\":\"/\",\"source\":\"/\","
		"\"layers\":[\"../../../../etc\"]}]}",
		"{\"version\":1,\"id\":\"c\",\"sandbox\":\"s\",\"family\":\"f\",\"base\":\"b\","
		"\"created_ns\":1,\"processes\":1,\"mounts\":[{\"target\":\"x\",\"source\":\"/\","
		"\"layers\":[]}]}",
		"{\"version\":1,\"id\":\"c\",\"sandbox\":\"s\",\"family\":\"f\",\"base\":\"b\","
		"\"created_ns\":1,\"processes\":1,\"mounts\":[]}",
		"{\"version\":1,\"id\":\"c\",\"sandbox\":\"s\",\"family\":\"f\",\"base\":\"b\","
		"\"created_ns\":1,\"processes\":1,\"mounts\":{\"a\":1}}",
	};
	struct manifest m;
	struct err e = ERR_INIT;
	struct vec list;
	struct store_gc gc;
	struct layer *l;
	int fds = count_fds();
	t_ok_e(layer_new(b->store, &l, &e), &e);
	layer_unref(l);
	for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
		put(b, "c.json", text[i], strlen(text[i]));
		e = ERR_INIT;
		t_eq(manifest_read(b->store, "c", &m, &e), -EBADMSG);
		t_assert(strstr(e.cause, "checkpoints/c.json"));
		t_assert(e.remedy[0] && e.path[0]);
		t_eq(manifest_list(b->store, &list, &e), -EBADMSG);
		/* What it named is not known: nothing may be collected. */
		t_eq(store_gc(b->store, &gc, &e), -EBADMSG);
		t_assert(strstr(e.cause, "c.json"));
		t_eq(count_entries(b, "layers"), 1);
	}
	t_sys(unlinkat(store_checkpoints_fd(b->store), "c.json", 0));
	put(b, "README", "x", 1);
	t_eq(manifest_list(b->store, &list, &e), -EBADMSG);
	t_assert(strstr(e.cause, "README"));
	t_sys(unlinkat(store_checkpoints_fd(b->store), "README", 0));
	/* A directory in its place, a huge file. */
	t_sys(mkdirat(store_checkpoints_fd(b->store), "c.json", 0700));
	t_eq(manifest_read(b->store, "c", &m, &e), -EBADMSG);
	t_sys(unlinkat(store_checkpoints_fd(b->store), "c.json", AT_REMOVEDIR));
	put(b, "c.json", "", 0);
	int fd = t_sys(openat(store_checkpoints_fd(b->store), "c.json", O_WRONLY | O_CLOEXEC));
	t_sys(ftruncate(fd, 64 << 20));
	close(fd);
	t_eq(manifest_read(b->store, "c", &m, &e), -EBADMSG);
	t_sys(unlinkat(store_checkpoints_fd(b->store), "c.json", 0));
	t_ok_e(store_gc(b->store, &gc, &e), &e);
	t_eq(gc.layers, 1);
	t_eq(count_fds(), fds);
}
TEST(damaged_manifests_are_named, .timeout_s = 60)
{
	fsbox_each(damaged);
}

static int hidden_entries(struct fsbox *b)
{
	char command[256];
	snprintf(command, sizeof(command), "exit $(ls -A %s/checkpoints | wc -l)",
		 store_path(b->store));
	return WEXITSTATUS(system(command));
}

static void sweep(struct fsbox *b)
{
	struct manifest m, back;
	struct err e = ERR_INIT;
	int fds = count_fds();
	fill(&m, "c1", 1);
	for (unsigned n = 1;; n++) {
		sys_fault_arm(n, EIO);
		int r = manifest_write(b->store, &m, &e);
		bool fired = sys_fault_fired() != NULL;
		sys_fault_arm(0, 0);
		t_eq(count_fds(), fds);
		t_eq(hidden_entries(b), r ? 0 : 1);
		if (r == 0)
			t_ok_e(manifest_remove(b->store, "c1", &e), &e);
		if (!fired)
			break;
		t_assert(r == 0 || e.cause[0]);
	}
	/* Replacing one that is there: the old or the new one. */
	t_ok_e(manifest_write(b->store, &m, &e), &e);
	m.processes = 8;
	for (unsigned n = 1;; n++) {
		sys_fault_arm(n, EIO);
		int r = manifest_write(b->store, &m, &e);
		bool fired = sys_fault_fired() != NULL;
		sys_fault_arm(0, 0);
		(void)r;
		t_eq(hidden_entries(b), 1);
		t_ok_e(manifest_read(b->store, "c1", &back, &e), &e);
		t_assert(back.processes == 7 || back.processes == 8);
		manifest_deinit(&back);
		if (!fired)
			break;
	}
	manifest_deinit(&m);
}
TEST(a_failed_write_leaves_nothing, .timeout_s = 120)
{
	fsbox_each(sweep);
}

enum { MANY = 12 };

static void fill_many(struct manifest *m)
{
	for (int i = 0; i < MANY; i++) {
		char id[16];
		snprintf(id, sizeof(id), "c%02d", i);
		fill(&m[i], id, (uint64_t)i);
	}
}

static uint64_t calls_of_many(struct fsbox *b, const struct manifest *m, const char *call)
{
	struct err e = ERR_INIT;
	sys_fault_arm_only(call, 0, 0);
	t_ok_e(manifest_write_all(b->store, m, MANY, &e), &e);
	uint64_t n = sys_fault_count();
	sys_fault_arm(0, 0);
	return n;
}

static void many(struct fsbox *b)
{
	struct manifest m[MANY];
	struct err e = ERR_INIT;
	struct vec list;
	fill_many(m);
	t_eq(calls_of_many(b, m, "fsync") + calls_of_many(b, m, "syncfs"), 2);
	t_ok_e(manifest_list(b->store, &list, &e), &e);
	t_eq(list.n, MANY);
	manifest_list_deinit(&list);
	t_eq(hidden_entries(b), MANY);
	/* One that cannot be written keeps the others back. */
	for (int i = 0; i < MANY; i++)
		t_ok_e(manifest_remove(b->store, m[i].id, &e), &e);
	t_assert(manifest_add_mount(&m[MANY - 1], "/\xff", "/x"));
	t_eq(manifest_write_all(b->store, m, MANY, &e), -EINVAL);
	t_eq(hidden_entries(b), 0);
	t_ok_e(manifest_write_all(b->store, m, 0, &e), &e);
	for (int i = 0; i < MANY; i++)
		manifest_deinit(&m[i]);
}
TEST(many_manifests_share_their_syncs, .timeout_s = 60)
{
	fsbox_each(many);
}

/* The first one exists; all will say 8. How many say so now? */
static int written(struct fsbox *b, int *old)
{
	struct err e = ERR_INIT;
	struct vec list;
	int n = 0;
	*old = 0;
	t_ok_e(manifest_list(b->store, &list, &e), &e);
	vec_each(struct manifest, m, &list) {
		n += m->processes == 8;
		*old += m->processes == 7;
	}
	manifest_list_deinit(&list);
	return n;
}

static void sweep_many(struct fsbox *b)
{
	struct manifest m[MANY];
	struct err e = ERR_INIT;
	fill_many(m);
	for (unsigned n = 1;; n++) {
		m[0].processes = 7;
		t_ok_e(manifest_write(b->store, &m[0], &e), &e);
		for (int i = 0; i < MANY; i++)
			m[i].processes = 8;
		sys_fault_arm(n, EIO);
		int r = manifest_write_all(b->store, m, MANY, &e);
		bool fired = sys_fault_fired() != NULL;
		sys_fault_arm(0, 0);
		int old, new = written(b, &old);
		t_eq(hidden_entries(b), old + new);
		if (r == 0)
			t_eq(new, MANY);
		else
			t_eq(old + new, 1);
		for (int i = 1; r == 0 && i < MANY; i++)
			t_ok_e(manifest_remove(b->store, m[i].id, &e), &e);
		if (!fired)
			break;
	}
	for (int i = 0; i < MANY; i++)
		manifest_deinit(&m[i]);
}
TEST(a_failed_write_of_many_leaves_those_that_were_there, .timeout_s = 120)
{
	fsbox_each(sweep_many);
}

static void full(struct fsbox *b)
{
	struct manifest m;
	struct err e = ERR_INIT;
	fill(&m, "c1", 1);
	int fd = t_sys(openat(store_fd(b->store), "ballast", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	char block[4096] = {0};
	while (write(fd, block, sizeof(block)) > 0)
		;
	close(fd);
	t_eq(manifest_write(b->store, &m, &e), -ENOSPC);
	t_assert(strstr(e.remedy, "gc"));
	t_eq(hidden_entries(b), 0);
	t_sys(unlinkat(store_fd(b->store), "ballast", 0));
	t_ok_e(manifest_write(b->store, &m, &e), &e);
	manifest_deinit(&m);
}
TEST(a_full_disk_leaves_nothing, .timeout_s = 60)
{
	fsbox_small(full, "1m");
}

TEST(incomplete_manifests_are_not_written)
{
	char path[256];
	struct store *s;
	struct manifest m;
	struct err e = ERR_INIT;
	snprintf(path, sizeof(path), "%s/state", t_tmpdir());
	t_ok_e(store_open(path, &s, &e), &e);
	manifest_init(&m);
	t_eq(manifest_write(s, &m, &e), -EINVAL);
	manifest_deinit(&m);
	fill(&m, "a/b", 1);
	t_eq(manifest_write(s, &m, &e), -EINVAL);
	manifest_deinit(&m);
	fill(&m, "ok", 1);
	t_assert(manifest_add_mount(&m, "/\xff", "/x"));
	t_eq(manifest_write(s, &m, &e), -EINVAL);
	t_assert(strstr(e.cause, "UTF-8"));
	manifest_deinit(&m);
	store_close(s);
}
