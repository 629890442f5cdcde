/* The state directory and its layers: who may, who holds, what is collected. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "fsbox.h"
#include "harness/harness.h"
#include "store/layer.h"
#include "store/manifest.h"
#include "store/tree.h"
#include "sys/fault.h"

static void store_refused(const char *path, int code, const char *word)
{
	struct store *s;
	struct err e = ERR_INIT;
	t_eq(store_open(path, &s, &e), -code);
	t_note("%s; remedy: %s", e.cause, e.remedy);
	t_assert(strstr(e.cause, word));
	t_assert(e.remedy[0]);
}

TEST(store_open_makes_a_private_directory)
{
	char path[256];
	struct store *s;
	struct stat st;
	struct err e = ERR_INIT;
	snprintf(path, sizeof(path), "%s/a/b/state", t_tmpdir());
	t_ok_e(store_open(path, &s, &e), &e);
	t_sys(stat(path, &st));
	t_eq(st.st_mode & 07777, 0700);
	store_close(s);
	t_sys(chmod(path, 0755));
	t_ok_e(store_open(path, &s, &e), &e);
	t_sys(stat(path, &st));
	t_eq(st.st_mode & 07777, 0700);
	store_close(s);
	t_sys(setenv("MULLIGAN_STATE", path, 1));
	t_ok_e(store_open(NULL, &s, &e), &e);
	t_str_eq(store_path(s), path);
	store_close(s);
}

TEST(default_path_follows_the_environment)
{
	char *path;
	struct err e = ERR_INIT;
	unsetenv("MULLIGAN_STATE");
	if (geteuid() == 0) {
		t_ok_e(store_default_path(&path, &e), &e);
		t_str_eq(path, "/var/lib/mulligan");
		free(path);
		t_become(12345, 12345);
	}
	setenv("XDG_STATE_HOME", "/x/state", 1);
	t_ok_e(store_default_path(&path, &e), &e);
	t_str_eq(path, "/x/state/mulligan");
	free(path);
	unsetenv("XDG_STATE_HOME");
	setenv("HOME", "/h", 1);
	t_ok_e(store_default_path(&path, &e), &e);
	t_str_eq(path, "/h/.local/state/mulligan");
	free(path);
	unsetenv("HOME");
	t_eq(store_default_path(&path, &e), -ENOENT);
	t_assert(e.remedy[0]);
}

TEST(store_open_refuses_what_is_not_a_directory_of_ours)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/file", t_tmpdir());
	close(t_sys(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)));
	store_refused(path, ENOTDIR, path);
	snprintf(path, sizeof(path), "%s/file/below", t_tmpdir());
	store_refused(path, ENOTDIR, path);
	if (geteuid() != 0)
		t_skip("only root can make a directory of another user");
	snprintf(path, sizeof(path), "%s/other", t_tmpdir());
	t_sys(mkdir(path, 0777));
	t_sys(chown(path, 4242, 4242));
	store_refused(path, EPERM, "4242");
	t_sys(chmod(t_tmpdir(), 0755));
	t_become(12345, 12345);
	store_refused("/proc/nowhere", ENOENT, "/proc/nowhere");
	snprintf(path, sizeof(path), "/root-of-nobody");
	store_refused(path, EACCES, path);
}

static void hold(struct fsbox *b)
{
	struct layer *live, *kept, *lost, *again;
	struct err e = ERR_INIT;
	struct store_gc gc;
	t_ok_e(layer_new(b->store, &live, &e), &e);
	t_ok_e(layer_new(b->store, &kept, &e), &e);
	t_ok_e(layer_new(b->store, &lost, &e), &e);
	char lost_id[STORE_ID_BYTES], kept_id[STORE_ID_BYTES];
	memcpy(lost_id, lost->id, sizeof(lost_id));
	memcpy(kept_id, kept->id, sizeof(kept_id));
	t_assert(strcmp(lost_id, kept_id));
	struct manifest m;
	manifest_init(&m);
	m.id = strdup("c1");
	m.sandbox = strdup("box");
	m.family = strdup("f");
	m.base = strdup("host");
	t_ok(manifest_add_layer(manifest_add_mount(&m, "/", b->root), kept_id, NULL));
	t_ok_e(manifest_write(b->store, &m, &e), &e);
	manifest_deinit(&m);
	layer_unref(kept);
	layer_ref(lost);
	layer_unref(lost);
	layer_unref(lost);
	/* Manifests that could not be read to the end may name all of them. */
	sys_fault_arm_only("getdents64", 1, EIO);
	t_eq(store_gc(b->store, &gc, &e), -EIO);
	sys_fault_arm(0, 0);
	t_assert(e.cause[0]);
	t_eq(count_entries(b, "layers"), 3);
	/* One is held, one is named, one is neither. */
	t_ok_e(store_gc(b->store, &gc, &e), &e);
	t_eq(gc.layers, 1);
	t_eq(count_entries(b, "layers"), 2);
	t_eq(count_entries(b, "trash"), 0);
	t_eq(layer_open(b->store, lost_id, &again, &e), -ENOENT);
	t_eq(layer_open(b->store, "../../etc", &again, &e), -EINVAL);
	t_ok_e(layer_open(b->store, kept_id, &again, &e), &e);
	t_eq(again->state, LAYER_SEALED);
	layer_unref(again);
	/* Held by another process: as good as here. */
	char live_id[STORE_ID_BYTES];
	memcpy(live_id, live->id, sizeof(live_id));
	int go[2], held[2];
	char c;
	t_sys(pipe2(go, O_CLOEXEC));
	t_sys(pipe2(held, O_CLOEXEC));
	pid_t pid = t_fork();
	if (pid == 0) {
		close(go[1]);
		t_ok_e(layer_open(b->store, live_id, &again, &e), &e);
		layer_unref(live);
		t_eq(write(held[1], "", 1), 1);
		_exit(read(go[0], &c, 1) != 0);
	}
	close(go[0]);
	layer_unref(live);
	t_eq(read(held[0], &c, 1), 1);
	close(held[0]);
	close(held[1]);
	t_ok_e(store_gc(b->store, &gc, &e), &e);
	t_eq(gc.layers, 0);
	close(go[1]);
	t_join(pid);
	t_ok_e(store_gc(b->store, &gc, &e), &e);
	t_eq(gc.layers, 1);
	t_ok_e(manifest_remove(b->store, "c1", &e), &e);
	t_ok_e(store_gc(b->store, &gc, &e), &e);
	t_eq(gc.layers, 1);
	t_eq(count_entries(b, "layers"), 0);
}
TEST(gc_takes_what_nobody_holds_or_names, .timeout_s = 60)
{
	fsbox_each(hold);
}

/* What a guest may leave behind. */
static void make_mess(int dir_fd, bool as_root)
{
	int fd = dup(dir_fd);
	t_sys(mkdirat(dir_fd, "locked", 0700));
	t_sys(mkdirat(dir_fd, "locked/in", 0700));
	close(t_sys(openat(dir_fd, "locked/in/f", O_CREAT | O_WRONLY | O_CLOEXEC, 0)));
	t_sys(fchmodat(dir_fd, "locked/in", 0, 0));
	t_sys(fchmodat(dir_fd, "locked", 0, 0));
	t_sys(symlinkat("/etc", dir_fd, "link"));
	t_sys(mknodat(dir_fd, "fifo", S_IFIFO | 0600, 0));
	if (as_root) {
		int flags = FS_IMMUTABLE_FL;
		t_sys(mkdirat(dir_fd, "fixed", 0700));
		int dir = t_sys(openat(dir_fd, "fixed", O_RDONLY | O_CLOEXEC));
		int file = t_sys(openat(dir, "f", O_CREAT | O_RDWR | O_CLOEXEC, 0600));
		if (ioctl(file, FS_IOC_SETFLAGS, &flags) == 0)
			t_sys(ioctl(dir, FS_IOC_SETFLAGS, &flags));
		close(file);
		close(dir);
	}
	/* Deeper than any path can name. */
	for (int i = 0; i < 3000; i++) {
		t_sys(mkdirat(fd, "deep", 0700));
		int next = t_sys(openat(fd, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
		close(t_sys(openat(next, "f", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)));
		if (i % 7 == 0)
			close(t_sys(openat(next, "hoisted.3", O_CREAT | O_WRONLY | O_CLOEXEC, 0)));
		close(fd);
		fd = next;
	}
	close(fd);
}

static void mess(struct fsbox *b)
{
	struct layer *l;
	struct err e = ERR_INIT;
	struct store_gc gc;
	t_ok_e(layer_new(b->store, &l, &e), &e);
	make_mess(l->fs_fd, !b->userns);
	uint64_t bytes;
	t_eq(layer_disk_bytes(l, &bytes, &e), -ENAMETOOLONG);
	layer_unref(l);
	t_ok_e(store_gc(b->store, &gc, &e), &e);
	t_eq(gc.layers, 1);
	t_eq(count_entries(b, "layers"), 0);
	t_eq(count_entries(b, "trash"), 0);
}
TEST(gc_removes_what_a_hostile_guest_left, .timeout_s = 120)
{
	fsbox_each(mess);
}

/* Keepers that live make layers and give them up while gc looks at them. */
static void come_and_go(struct fsbox *b)
{
	struct layer *l;
	struct err e = ERR_INIT;
	struct store_gc gc;
	pid_t pid = t_fork();
	while (pid == 0) {
		t_ok_e(layer_new(b->store, &l, &e), &e);
		layer_discard(b->store, l);
	}
	for (int i = 0; i < 500; i++)
		t_ok_e(store_gc(b->store, &gc, &e), &e);
	t_sys(kill(pid, SIGKILL));
	t_sys(waitpid(pid, NULL, 0));
	t_ok_e(store_gc(b->store, &gc, &e), &e);
	t_eq(count_entries(b, "layers"), 0);
	t_eq(count_entries(b, "trash"), 0);
}
TEST(gc_goes_on_while_layers_come_and_go, .timeout_s = 60)
{
	fsbox_each(come_and_go);
}

/* Until the last moment of its life a killed guest writes. */
static void __attribute__((noreturn)) write_on(int fd, int begun_fd)
{
	uint64_t end_ns = 0;
	for (unsigned int n = 0; !end_ns || clock_now_ns() < end_ns; n++) {
		char name[32], other[32];
		snprintf(name, sizeof(name), "d%u", n % 7);
		snprintf(other, sizeof(other), "e%u", n % 5);
		mkdirat(fd, name, 0700);
		int sub = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(openat(sub, other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
		mkdirat(sub, "d", 0700);
		renameat(fd, name, fd, other);
		close(sub);
		if (n == 20) {
			t_eq(write(begun_fd, "", 1), 1);
			end_ns = clock_now_ns() + 20 * 1000000;
		}
	}
	_exit(0);
}

static void remove_written(struct fsbox *b)
{
	struct layer *l;
	struct err e = ERR_INIT;
	int begun[2];
	char c;
	t_sys(pipe2(begun, O_CLOEXEC));
	for (int i = 0; i < 20; i++) {
		t_ok_e(layer_new(b->store, &l, &e), &e);
		pid_t pid = t_fork();
		if (pid == 0)
			write_on(l->fs_fd, begun[1]);
		t_eq(read(begun[0], &c, 1), 1);
		t_ok(tree_remove(l->dir_fd, "fs"));
		t_eq(faccessat(l->dir_fd, "fs", F_OK, 0), -1);
		t_join(pid);
		layer_discard(b->store, l);
	}
	close(begun[0]);
	close(begun[1]);
}
TEST(trees_are_removed_that_are_still_written, .timeout_s = 60)
{
	fsbox_each(remove_written);
}

static void discard(struct fsbox *b)
{
	struct layer *empty, *full;
	struct err e = ERR_INIT;
	size_t n = 0;
	uint64_t bytes;
	t_ok_e(layer_new(b->store, &empty, &e), &e);
	t_ok_e(layer_new(b->store, &full, &e), &e);
	int fd = t_sys(openat(full->fs_fd, "f", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	char block[8192] = {1};
	t_eq(write(fd, block, sizeof(block)), sizeof(block));
	t_sys(fsync(fd));
	close(fd);
	t_sys(linkat(full->fs_fd, "f", full->fs_fd, "g", 0));
	t_ok_e(layer_disk_bytes(full, &bytes, &e), &e);
	t_eq(bytes, 8192);
	layer_discard(b->store, empty);
	layer_discard(b->store, full);
	t_eq(count_entries(b, "layers"), 0);
	t_ok_e(store_empty_trash(b->store, &n, &e), &e);
	t_eq(n, 1);
	t_eq(count_entries(b, "trash"), 0);
}
static void measure(struct fsbox *b)
{
	struct layer *l;
	struct err e = ERR_INIT;
	uint64_t bytes;
	t_ok_e(layer_new(b->store, &l, &e), &e);
	t_sys(mkdirat(l->fs_fd, "d", 0755));
	uint64_t empty;
	t_ok_e(layer_disk_bytes(l, &empty, &e), &e);
	/* what is still written, or was not summed up, is measured every time */
	int fd = t_sys(openat(l->fs_fd, "f", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	char block[8192] = {1};
	t_eq(write(fd, block, sizeof(block)), sizeof(block));
	t_sys(fsync(fd));
	close(fd);
	t_ok_e(layer_disk_bytes(l, &bytes, &e), &e);
	t_eq(bytes, empty + 8192);
	layer_seal(l);
	for (int summed = 0; summed < 2; summed++) {
		if (summed)
			t_ok_e(layer_sum(l, &e), &e);
		t_ok_e(layer_disk_bytes(l, &bytes, &e), &e);
		sys_fault_arm(0, 0);
		t_ok_e(layer_disk_bytes(l, &bytes, &e), &e);
		t_eq(bytes, empty + 8192);
		t_eq(sys_fault_count() == 0, summed);
	}
	layer_unref(l);
}
TEST(layer_that_was_summed_up_is_measured_once, .timeout_s = 60)
{
	fsbox_each(measure);
}

TEST(discarded_layers_go_to_the_trash, .timeout_s = 60)
{
	fsbox_each(discard);
}

static void sweep(struct fsbox *b)
{
	struct layer *l;
	struct err e = ERR_INIT;
	int fds = count_fds();
	for (unsigned n = 1;; n++) {
		sys_fault_arm(n, ENOSPC);
		int r = layer_new(b->store, &l, &e);
		bool fired = sys_fault_fired() != NULL;
		sys_fault_arm(0, 0);
		if (r == 0)
			layer_discard(b->store, l);
		else
			t_assert(strstr(e.cause, "No space") && e.remedy[0]);
		t_eq(count_fds(), fds);
		t_eq(count_entries(b, "layers"), 0);
		if (!fired)
			break;
	}
}
TEST(a_layer_that_cannot_be_made_leaves_nothing, .timeout_s = 60)
{
	fsbox_each(sweep);
}

TEST(sandbox_directories_have_safe_names)
{
	char path[256];
	struct store *s;
	struct err e = ERR_INIT;
	static const char *const bad[] = {
		"",    ".",  "..",
		"a/b", "-x", ".hidden",
		"a b", "\n", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
	snprintf(path, sizeof(path), "%s/state", t_tmpdir());
	t_ok_e(store_open(path, &s, &e), &e);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		t_eq(store_sandbox_dir(s, bad[i], &e), -EINVAL);
		t_assert(e.remedy[0]);
	}
	close((int)t_ok_e(store_sandbox_dir(s, "a-B_1.x", &e), &e));
	close((int)t_ok_e(store_sandbox_dir(s, "a-B_1.x", &e), &e));
	t_ok_e(store_sandbox_remove(s, "a-B_1.x", &e), &e);
	t_ok_e(store_sandbox_remove(s, "a-B_1.x", &e), &e);
	store_close(s);
}
