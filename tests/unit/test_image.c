/* Bases: a directory, and the skeleton of this machine. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "fsbox.h"
#include "harness/harness.h"
#include "image/image.h"
#include "sys/fault.h"
#include "sys/mount.h"

static void refused(struct fsbox *b, const char *path, int code)
{
	struct image image;
	struct err e = ERR_INIT;
	t_eq(image_open_rootfs(b->store, path, &image, &e), -code);
	t_note("%s; remedy: %s", e.cause, e.remedy);
	t_assert(e.remedy[0] && e.path[0]);
}

static void rootfs(struct fsbox *b)
{
	struct image image;
	struct err e = ERR_INIT;
	char path[256];
	snprintf(path, sizeof(path), "%s/etc/hosts", b->root);
	refused(b, path, ENOTDIR);
	refused(b, "/no/such/directory", ENOENT);
	refused(b, "/", EINVAL);
	refused(b, b->dir, ELOOP);
	snprintf(path, sizeof(path), "%s/empty", b->dir);
	t_sys(mkdir(path, 0755));
	refused(b, path, ENODATA);
	snprintf(path, sizeof(path), "%s/data/..", b->root);
	t_ok_e(image_open_rootfs(b->store, path, &image, &e), &e);
	t_str_eq(image.root, b->root);
	t_eq(image.mounts.n, 0);
	struct image again;
	t_ok_e(image_open_again(b->store, image.name, image.root, &again, &e), &e);
	t_str_eq(again.root, b->root);
	image_close(&again);
	image_close(&image);
}
TEST(rootfs_must_be_a_directory_with_contents, .timeout_s = 60)
{
	fsbox_each(rootfs);
}

static bool has(const struct image *image, const char *path)
{
	char full[512];
	struct stat st;
	snprintf(full, sizeof(full), "%s/%s", image->root, path);
	return lstat(full, &st) == 0;
}

/* Nothing in there came from a file that not everybody may read. */
static void no_secrets(const struct image *image)
{
	static const char *const path[] = {"etc/sudoers",     "etc/shadow-",
					   "etc/gshadow-",    "etc/ssh/ssh_host_rsa_key",
					   "etc/ssl/private", "etc/security/opasswd"};
	for (size_t i = 0; i < sizeof(path) / sizeof(path[0]); i++)
		if (has(image, path[i]))
			t_fail("%s is in the skeleton", path[i]);
	char command[1024];
	snprintf(command, sizeof(command),
		 "cd %s/etc && ! cut -d: -f2 shadow | grep -qv '^[*]$' && test ! -s machine-id",
		 image->root);
	t_eq(system(command), 0);
}

static void host(struct fsbox *b)
{
	struct image image, second, again;
	struct err e = ERR_INIT;
	/* Two callers at once make one base. */
	uint64_t start_ns = clock_now_ns();
	pid_t pid[3];
	for (int i = 0; i < 3; i++) {
		pid[i] = t_fork();
		if (pid[i] == 0) {
			t_ok_e(image_open_host(b->store, &image, &e), &e);
			_exit(0);
		}
	}
	for (int i = 0; i < 3; i++)
		t_join(pid[i]);
	uint64_t made_ns = clock_now_ns();
	t_ok_e(image_open_host(b->store, &image, &e), &e);
	t_note("%s: made by three in %llu ms, found in %llu us", b->fs,
	       (unsigned long long)(made_ns - start_ns) / 1000000,
	       (unsigned long long)(clock_now_ns() - made_ns) / 1000);
	t_eq(count_entries(b, "bases"), b->userns ? 2 : 1);
	static const char *const path[] = {
		"usr", "etc/passwd", "etc/group", "etc/shadow", "tmp",     "proc",           "sys",
		"dev", "home",       "root",      "run",        "var/tmp", "etc/machine-id", "lib",
		"bin"};
	for (size_t i = 0; i < sizeof(path) / sizeof(path[0]); i++)
		if (!has(&image, path[i]))
			t_fail("%s is not in the skeleton", path[i]);
	char home[300];
	snprintf(home, sizeof(home), "bases%s/home", strrchr(image.root, '/'));
	t_eq(count_entries(b, home), 0);
	no_secrets(&image);
	bool usr = false;
	vec_each(struct image_mount, m, &image.mounts) usr |=
		!strcmp(m->target, "/usr") && !m->readonly;
	t_assert(usr);
	if (image.notice)
		t_note("%s", image.notice);
	t_ok_e(image_open_host(b->store, &second, &e), &e);
	t_str_eq(second.root, image.root);
	t_ok_e(image_open_again(b->store, image.name, image.root, &again, &e), &e);
	t_str_eq(again.root, image.root);
	/* gc keeps it: it is held, and then it is the newest. */
	struct store_gc gc;
	t_ok_e(store_gc(b->store, &gc, &e), &e);
	image_close(&again);
	image_close(&second);
	image_close(&image);
	/* A skin without its base is a left-over. */
	t_sys(mkdirat(store_bases_fd(b->store), "host-0.skin", 0700));
	t_ok_e(store_gc(b->store, &gc, &e), &e);
	t_eq(count_entries(b, "bases"), b->userns ? 2 : 1);
}
TEST(host_skeleton_is_made_once_without_secrets, .timeout_s = 120)
{
	fsbox_each(host);
}

static void run_host(struct fsbox *b)
{
	struct image image;
	struct fs_tree *t;
	struct err e = ERR_INIT;
	t_ok_e(image_open_host(b->store, &image, &e), &e);
	vec_each(struct image_mount, m, &image.mounts)
	{
		char text[256];
		snprintf(text, sizeof(text), "%s:%s:%s", m->source, m->target,
			 m->readonly ? "ro" : "cow");
		t_ok_e(spec_add_volume(&b->spec, text, &e), &e);
	}
	t_ok_e(fs_tree_new(b->store, NULL, image.root, &b->spec, NULL, &t, &e), &e);
	pid_t pid = t_fork();
	if (pid == 0) {
		/* The machine's programs run in it, and can be changed. */
		char mnt[256], path[300];
		snprintf(mnt, sizeof(mnt), "%s/mnt", b->dir);
		t_sys(mkdir(mnt, 0755));
		vec_each(struct fs_mount, m, &t->mounts)
		{
			snprintf(path, sizeof(path), "%s%s", mnt,
				 strcmp(m->target, "/") ? m->target : "");
			t_ok(sys_move_mount(m->mnt_fd, "", AT_FDCWD, path,
					    MOVE_MOUNT_F_EMPTY_PATH));
		}
		t_sys(chroot(mnt));
		t_sys(chdir("/"));
		execl("/bin/sh", "sh", "-c",
		      "set -e; test $(id -u) = 0; test $(ls /usr/bin | wc -l) -gt 50; "
		      "echo x > /tmp/x; echo y > /root/y; touch /usr/new /usr/bin/new; "
		      "rm /usr/bin/yes; ! test -e /usr/bin/yes; "
		      "cp /usr/bin/env /usr/bin/env.new; mv /usr/bin/env.new /usr/bin/env; "
		      "/usr/bin/env true; mkdir -p /usr/local/lib/new; touch /usr/local/bin/tool; "
		      "for d in /usr/local/lib/python3*/dist-packages /usr/lib/python3/*; do "
		      "test ! -d $d || touch $d/new; done; "
		      "echo x >> /usr/bin/head || echo 'a file of the machine cannot be opened for "
		      "writing, only replaced'",
		      NULL);
		_exit(1);
	}
	t_join(pid);
	t_sys(access("/usr/bin/yes", X_OK));
	fs_tree_free(t);
	image_close(&image);
}
TEST(host_programs_run_over_the_skeleton, .timeout_s = 60)
{
	fsbox_each(run_host);
}

/* A directory that cannot be looked at is not one that is not there. */
static void fail_looks(struct fsbox *b)
{
	struct image image;
	struct err e = ERR_INIT;
	t_ok_e(image_open_host(b->store, &image, &e), &e);	/* makes the base */
	size_t mounts = image.mounts.n;
	image_close(&image);
	t_assert(mounts >= 1);
	sys_fault_arm_only("fstatat", 1u << 30, EIO);
	t_ok_e(image_open_host(b->store, &image, &e), &e);
	unsigned last = (unsigned)sys_fault_count();
	image_close(&image);
	unsigned failed = 0;
	for (unsigned n = last > 40 ? last - 40 : 1; n <= last; n++) {
		sys_fault_arm_only("fstatat", n, EIO);
		int r = image_open_host(b->store, &image, &e);
		sys_fault_arm(0, 0);
		failed += r != 0;
		if (r)
			continue;
		t_eq(image.mounts.n, mounts);
		image_close(&image);
	}
	t_assert(failed >= 9);	/* the top-level names */
}
TEST(no_directory_of_the_machine_is_left_out, .timeout_s = 120)
{
	fsbox_small(fail_looks, "100m");
}

static void sweep(struct fsbox *b)
{
	struct image image;
	struct err e = ERR_INIT;
	int fds = count_fds();
	unsigned step = 1;
	for (unsigned n = 1;; n += step) {
		sys_fault_arm(n, ENOSPC);
		int r = image_open_host(b->store, &image, &e);
		const char *fired = sys_fault_fired();
		sys_fault_arm(0, 0);
		if (r == 0)
			image_close(&image);
		else
			t_assert(e.cause[0]);
		t_eq(count_fds(), fds);
		char command[400];
		snprintf(command, sizeof(command),
			 "test $(ls -A %s/bases | grep -vc '[.]skin$') = %d && rm -rf %s/bases/*",
			 store_path(b->store), r == 0, store_path(b->store));
		if ((r == 0 || n % 97 == 0) && system(command))
			t_fail("call %u (%s): result %d, other things are left", n, fired, r);
		if (!fired)
			break;
		/* Thousands of calls, alike in the middle. */
		step = n < 100 ? 1 : 61;
	}
}
TEST(a_skeleton_that_fails_leaves_nothing, .timeout_s = 120)
{
	fsbox_small(sweep, "100m");
}
