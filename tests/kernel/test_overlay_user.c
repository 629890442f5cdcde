/*
 * Layers as an ordinary user, in a user namespace: the stack is built with
 * fsopen/fsconfig, its lowers given as descriptors; a rotation attaches the
 * next overlay, whose newest lower is the live upper, and pivots into it.
 */
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/facts.h"
#include "kernel/stack.h"

/* <sys/mount.h> clashes with <linux/mount.h> in glibc 2.36 */
int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);

enum { DETACH = 2, BIND = 4096, RUNS = 20, HIGHEST = 128 };

static void attach(int mnt, const char *to)
{
	t_sys(syscall(SYS_move_mount, mnt, "", AT_FDCWD, to, MOVE_MOUNT_F_EMPTY_PATH));
}

static void enter(void)
{
	t_tmpdir();
	fact_enter_userns();
	t_sys(unshare(CLONE_NEWNS));
	t_sys(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
}

static void print_figures(const char *what, double *us, size_t n)
{
	double p50 = fact_quantile(us, n, 0.5);
	t_note("%s: p50 %.2f ms, p95 %.2f ms", what, p50 / 1e3, fact_quantile(us, n, 0.95) / 1e3);
}

TEST(stack_of_layers_mounts_as_ordinary_user, .timeout_s = 60)
{
	static const int heights[] = {1, 8, 32, HIGHEST};
	double us[RUNS];
	char what[64];
	enter();
	for (int n = 1; n <= HIGHEST + 4 * RUNS; n++)
		stack_layer_make(n);
	int upper = HIGHEST + 1;
	for (int h = 0; h < 4; h++) {
		for (int i = 0; i < RUNS; i++) {
			double start = fact_now_us();
			int mnt = (int)t_sys(stack_overlay(upper++, HIGHEST, heights[h], NULL));
			us[i] = fact_now_us() - start;
			close(mnt);
		}
		snprintf(what, sizeof(what), "overlay over %3d layers", heights[h]);
		print_figures(what, us, RUNS);
	}
}

/* The guest of the rotation: its root is an overlay; it writes when told. */
struct guest {
	pid_t pid;
	int to_fd, from_fd;
	int mntns_fd;
};

static void put_under(int mnt, const char *root)
{
	attach(mnt, root);
	close(mnt);
	t_sys(chdir(root));
	t_sys(mount("/proc", "proc", NULL, BIND | MS_REC, NULL));
	t_sys(syscall(SYS_pivot_root, ".", "."));
	t_sys(umount2(".", DETACH));
	t_sys(chdir("/"));
}

static void __attribute__((noreturn)) guest_main(int in_fd, int out_fd)
{
	char c, name[32], text[32];
	for (int i = 1; read(in_fd, &c, 1) == 1; i++) {
		snprintf(name, sizeof(name), "/area/file%d", i);
		snprintf(text, sizeof(text), "layer %d", i);
		stack_write(name, text);
		/* all that earlier layers hold is seen through the stack */
		for (int k = 1; k <= i; k++) {
			snprintf(name, sizeof(name), "/area/file%d", k);
			snprintf(text, sizeof(text), "layer %d", k);
			c = stack_says(name, text) ? c : 'n';
		}
		c = access("/proc/self/stat", R_OK) == 0 ? c : 'p';
		t_sys(write(out_fd, &c, 1));
	}
	_exit(0);
}

static struct guest guest_start(int mnt, const char *root)
{
	struct guest g;
	int to[2], from[2];
	char path[64];
	t_sys(pipe2(to, O_CLOEXEC));
	t_sys(pipe2(from, O_CLOEXEC));
	g.pid = t_fork();
	if (g.pid == 0) {
		close(to[1]);
		t_sys(unshare(CLONE_NEWNS));
		put_under(mnt, root);
		t_sys(write(from[1], "r", 1));
		guest_main(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	close(mnt);
	g.to_fd = to[1];
	g.from_fd = from[0];
	char c;
	t_eq(read(g.from_fd, &c, 1), 1);
	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", g.pid);
	g.mntns_fd = (int)t_sys(open(path, O_RDONLY | O_CLOEXEC));
	return g;
}

/* Let the guest write its next file and look at all of them. */
static void guest_write(struct guest *g)
{
	char c = 'w';
	t_eq(write(g->to_fd, &c, 1), 1);
	t_eq(read(g->from_fd, &c, 1), 1);
	t_eq(c, 'w');
}

/* Put overlay mnt in the place of the guest's root, /proc with it. */
static void rotate(struct guest *g, int own_mntns_fd, int mnt)
{
	t_sys(setns(g->mntns_fd, CLONE_NEWNS));
	int proc = (int)t_sys(syscall(SYS_open_tree, AT_FDCWD, "/proc", OPEN_TREE_CLOEXEC));
	attach(mnt, "/");
	t_sys(syscall(SYS_move_mount, proc, "", mnt, "proc", MOVE_MOUNT_F_EMPTY_PATH));
	t_sys(fchdir(mnt));
	t_sys(syscall(SYS_pivot_root, ".", "."));
	t_sys(umount2(".", DETACH));
	close(proc);
	t_sys(setns(own_mntns_fd, CLONE_NEWNS));
}

static void check_layers(int n)
{
	char path[600], part[64], text[32];
	for (int i = 1; i <= n; i++)
		for (int k = 1; k <= n; k++) {
			snprintf(part, sizeof(part), "fs/area/file%d", k);
			snprintf(text, sizeof(text), "layer %d", k);
			bool there = stack_says(stack_layer_path(path, sizeof(path), i, part), text);
			if (there != (i == k))
				t_fail("layer %d: file%d is %s", i, k, there ? "there" : "missing");
		}
}

TEST(rotation_under_a_live_root_as_ordinary_user, .timeout_s = 60)
{
	char root[600], path[600];
	double prepare_us[RUNS], swap_us[RUNS];
	enter();
	for (int n = 0; n <= RUNS + 1; n++)
		stack_layer_make(n);
	snprintf(root, sizeof(root), "%s/root", t_tmpdir());
	t_sys(mkdir(root, 0755));
	t_sys(mkdir(stack_layer_path(path, sizeof(path), 0, "fs/proc"), 0755));
	t_sys(mkdir(stack_layer_path(path, sizeof(path), 0, "fs/area"), 0755));
	int own_mntns_fd = (int)t_sys(open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
	struct guest g = guest_start((int)t_sys(stack_overlay(1, 0, 1, NULL)), root);
	for (int i = 0; i < RUNS; i++) {
		guest_write(&g);
		double start = fact_now_us();
		int mnt = (int)t_sys(stack_overlay(i + 2, i + 1, i + 2, NULL));
		prepare_us[i] = fact_now_us() - start;
		start = fact_now_us();
		rotate(&g, own_mntns_fd, mnt);
		swap_us[i] = fact_now_us() - start;
		close(mnt);
	}
	guest_write(&g);
	close(g.to_fd);
	t_join(g.pid);
	check_layers(RUNS + 1);
	print_figures("prepare the next overlay", prepare_us, RUNS);
	print_figures("swap it under the live root", swap_us, RUNS);
	close(g.from_fd);
	close(g.mntns_fd);
	close(own_mntns_fd);
}

TEST(root_of_the_host_is_no_lower_for_ordinary_users)
{
	enter();
	stack_layer_make(0);
	int mnt = stack_overlay(0, 0, 0, "/");
	if (mnt >= 0)
		t_skip("'/' has no submounts here");
	t_note("lower \"/\": %s", strerror(errno));
	t_eq(errno, EINVAL);
}

/*
 * --host: /usr of the machine as the lower. Its owner (root) is not mapped in
 * an ordinary user's namespace, and an unmapped owner's permissions cannot be
 * overridden there: such a /usr can be read and run, and not changed.
 */
TEST(usr_of_the_host_is_a_lower_and_stays_unwritable_for_ordinary_users)
{
	char path[700], root[600];
	double us[RUNS];
	enter();
	snprintf(root, sizeof(root), "%s/usr", t_tmpdir());
	t_sys(mkdir(root, 0755));
	for (int i = 0; i < RUNS; i++)
		stack_layer_make(i);
	for (int i = 0; i < RUNS; i++) {
		double start = fact_now_us();
		int mnt = stack_overlay(i, 0, 0, "/usr");
		if (mnt < 0 && errno == EINVAL)
			t_skip("/usr has locked submounts here");
		t_sys(mnt);
		us[i] = fact_now_us() - start;
		if (i == 0)
			attach(mnt, root);
		close(mnt);
	}
	print_figures("overlay over /usr", us, RUNS);
	snprintf(path, sizeof(path), "%s/bin/env", root);
	t_eq(access(path, X_OK), 0);
	t_eq(open(path, O_WRONLY | O_CLOEXEC), -1);
	t_eq(errno, EACCES);
	snprintf(path, sizeof(path), "%s/bin/new", root);
	t_eq(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644), -1);
	t_eq(errno, EACCES);
}
