/*
 * Mounts of an incarnation: built in new namespaces, looked at from inside.
 * Every scenario runs as the user of the test and, as root, as an ordinary
 * user, too.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

#include "base/clock.h"
#include "hosted.h"
#include "sandbox/mounts.h"
#include "sandbox/overlay.h"
#include "sandbox/userns.h"
#include "sys/fault.h"
#include "sys/mount.h"

enum { ORDINARY = 1001 };

/* A keeper with one overlay, and what it wants of the incarnation. */
struct box {
	struct spec spec;
	struct mounts *mounts;
	char dir[300];
	int root_fd, upper_fd, spot_fd; /* spot: for overlays of older kernels */
	struct mounts_run run;
	struct prog_arena arena;
	struct prog prog;
	struct hosted *hosted; /* in the arena: seen from outside */
};

static int make_dir(const char *top, const char *name)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s", top, name);
	t_sys(mkdir(path, 0755));
	return (int)t_sys(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

/* Overlay of an empty base, whose mount points are made in the base. */
static void build_root(struct box *b, bool points_in_base)
{
	struct err e = ERR_INIT;
	int base = make_dir(b->dir, "base");
	int work = make_dir(b->dir, "work");
	b->upper_fd = make_dir(b->dir, "upper");
	b->spot_fd = make_dir(b->dir, "spot");
	if (points_in_base)
		t_ok_e(mounts_make_points(b->mounts, base, &e), &e);
	const struct overlay o = {
		.lower_fds = &base,
		.n_lowers = 1,
		.upper_fd = b->upper_fd,
		.work_fd = work,
		.scratch_fd = b->spot_fd,
		.userxattr = sys_in_userns(),
	};
	b->root_fd = (int)t_ok_e(overlay_build(&o, &e), &e);
	close(base);
	close(work);
}

static void box_init(struct box *b, uid_t uid)
{
	struct err e = ERR_INIT;
	*b = (struct box){.root_fd = -1};
	snprintf(b->dir, sizeof(b->dir), "%s/%u", t_tmpdir(), uid);
	t_sys(chmod(t_tmpdir(), 0755));
	t_sys(mkdir(b->dir, 0755));
	t_sys(chown(b->dir, uid ? uid : geteuid(), (gid_t)-1));
	if (uid)
		t_become(uid, uid);
	t_ok_e(userns_enter(userns_needed(), &e), &e);
	spec_init(&b->spec);
}

static void box_build(struct box *b, bool points_in_base)
{
	struct err e = ERR_INIT;
	char scratch[400];
	snprintf(scratch, sizeof(scratch), "%s/scratch", b->dir);
	t_sys(mkdir(scratch, 0755));
	t_ok_e(mounts_new(&b->spec, scratch, &b->mounts, &e), &e);
	build_root(b, points_in_base);
	b->run.root_fd = b->root_fd;
	if (!b->run.hostname)
		b->run.hostname = "inside";
}

/* What PID 1 does: run the program, then the looker. */
static void init_main(struct box *b, uint64_t program, void (*look)(struct box *b))
{
	uint64_t start = clock_now_ns();
	long r = hosted_run(b->hosted, program);
	uint64_t took = clock_now_ns() - start;
	if (r)
		t_fail("operation emitted at line %u failed: %s", b->hosted->failed_line,
		       strerror((int)-r));
	t_note("%d operations in %llu us", b->hosted->n_ops, (unsigned long long)took / 1000);
	look(b);
	_exit(0);
}

/* Build an incarnation as the template would, and look at it as its PID 1. */
static void box_run(struct box *b, void (*look)(struct box *b))
{
	struct err e = ERR_INIT;
	struct mounts_set set = MOUNTS_SET_INIT;
	uint64_t start = clock_now_ns();
	t_ok_e(mounts_prepare(b->mounts, &b->run, &set, &e), &e);
	t_note("prepared in %llu us", (unsigned long long)(clock_now_ns() - start) / 1000);
	hosted_arena(&b->arena, 256 << 10);
	b->hosted = prog_space(&b->arena, sizeof(*b->hosted), NULL);
	prog_init(&b->prog, &b->arena);
	b->prog.next_slot = 100;
	mounts_emit(&b->prog, b->mounts, &set, 10);
	uint64_t program = prog_seal(&b->prog);
	t_assert(!b->arena.failed);
	for (size_t i = 0; i < set.n; i++)
		b->hosted->slot[10 + i] = (uint64_t)set.fds[i];
	int flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | SIGCHLD;
	if (b->spec.net == NET_NONE)
		flags |= CLONE_NEWNET;
	pid_t pid = (pid_t)t_sys(syscall(SYS_clone, flags, 0, 0, 0, 0));
	if (!pid)
		init_main(b, program, look);
	t_join(pid);
	prog_deinit(&b->prog);
	prog_arena_deinit(&b->arena);
	mounts_set_deinit(&set);
}

static void box_deinit(struct box *b)
{
	mounts_free(b->mounts);
	spec_deinit(&b->spec);
	close(b->root_fd);
	close(b->upper_fd);
	close(b->spot_fd);
}

/* The whole of a scenario in a process of its own, since it changes ids. */
static void scenario_as(uid_t uid, void (*set_up)(struct box *b), void (*look)(struct box *b))
{
	pid_t pid = t_fork();
	if (!pid) {
		struct box b;
		box_init(&b, uid);
		if (set_up)
			set_up(&b);
		box_build(&b, true);
		box_run(&b, look);
		box_deinit(&b);
		_exit(0);
	}
	t_join(pid);
}

static bool is_empty(int dir_fd)
{
	int copy = (int)t_sys(openat(dir_fd, ".", O_RDONLY | O_DIRECTORY));
	DIR *d = fdopendir(copy);
	int n = 0;
	while (readdir(d))
		n++;
	closedir(d);
	return n == 2;
}

static void read_text(const char *path, char *text, size_t bytes)
{
	int fd = (int)t_sys(open(path, O_RDONLY));
	ssize_t n = t_sys(read(fd, text, bytes - 1));
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	close(fd);
}

static int open_error(const char *path, int flags)
{
	int fd = open(path, flags);
	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static void look_basic(struct box *b)
{
	t_eq(getpid(), 1);
	struct utsname u;
	t_sys(uname(&u));
	t_str_eq(u.nodename, "inside");
	char text[256];
	read_text("/run/mulligan/generation", text, sizeof(text));
	t_str_eq(text, "7");
	t_eq(open_error("/run/mulligan/x", O_CREAT | O_WRONLY), EROFS);
	t_sys(readlink("/proc/self", text, sizeof(text)));
	t_eq(text[0], '1');
	/* nothing of the host is left */
	t_eq(open_error("/etc/passwd", O_RDONLY), ENOENT);
	t_eq(open_error("/../etc/passwd", O_RDONLY), ENOENT);
	t_sys(getcwd(text, sizeof(text)));
	t_str_eq(text, "/");
	struct ifreq lo = {.ifr_name = "lo"};
	int s = (int)t_sys(socket(AF_INET, SOCK_DGRAM, 0));
	t_sys(ioctl(s, SIOCGIFFLAGS, &lo));
	t_assert(lo.ifr_flags & IFF_UP);
	close(s);
	t_assert(is_empty(b->upper_fd));
}

static void set_generation(struct box *b)
{
	b->run.generation = 7;
}

static void basic_as(uid_t uid)
{
	scenario_as(uid, set_generation, look_basic);
}

TEST(incarnation_has_its_own_root_and_leaves_the_upper_clean)
{
	basic_as(0);
}

TEST(incarnation_works_rootless)
{
	basic_as(ORDINARY);
}

static void check_node(const char *path, unsigned int major, unsigned int minor)
{
	struct stat st;
	t_sys(stat(path, &st));
	t_assert(S_ISCHR(st.st_mode));
	t_eq(st.st_rdev, makedev(major, minor));
}

static void look_dev(struct box *b)
{
	check_node("/dev/null", 1, 3);
	check_node("/dev/zero", 1, 5);
	check_node("/dev/full", 1, 7);
	check_node("/dev/urandom", 1, 9);
	int null = (int)t_sys(open("/dev/null", O_RDWR));
	t_eq(write(null, "x", 1), 1);
	close(null);
	t_eq(chmod("/dev/null", 0600), -1);
	t_eq(errno, EROFS);
	t_eq(open_error("/dev/new", O_CREAT | O_WRONLY), EROFS);
	char text[64] = "";
	t_sys(readlink("/dev/fd", text, sizeof(text)));
	t_str_eq(text, "/proc/self/fd");
	int pty = (int)t_sys(open("/dev/ptmx", O_RDWR | O_NOCTTY));
	int unlock = 0;
	t_sys(ioctl(pty, TIOCSPTLCK, &unlock));
	int tty = (int)t_sys(open("/dev/pts/0", O_RDWR | O_NOCTTY));
	close(tty);
	close(pty);
	int shm = (int)t_sys(open("/dev/shm/x", O_CREAT | O_RDWR, 0600));
	t_eq(write(shm, "x", 1), 1);
	close(shm);
	struct statvfs vfs;
	t_sys(statvfs("/dev/mqueue", &vfs));
	DIR *d = opendir("/dev");
	for (struct dirent *it; (it = readdir(d));) {
		struct stat st;
		t_sys(fstatat(dirfd(d), it->d_name, &st, AT_SYMLINK_NOFOLLOW));
		t_assert(!S_ISBLK(st.st_mode));
	}
	closedir(d);
}

TEST(dev_has_the_usual_nodes_and_cannot_be_changed)
{
	scenario_as(0, NULL, look_dev);
}

TEST(dev_works_rootless)
{
	scenario_as(ORDINARY, NULL, look_dev);
}

static void look_masks(struct box *b)
{
	static const char *const unwritable[] = {
		"/proc/sys/kernel/hostname",     "/proc/sys/vm/swappiness",
		"/proc/sys/net/ipv4/ip_forward", "/proc/sysrq-trigger",
		"/sys/class/net/lo/mtu",
	};
	for (size_t i = 0; i < sizeof(unwritable) / sizeof(*unwritable); i++) {
		int r = open_error(unwritable[i], O_WRONLY);
		if (r != EROFS && r != EACCES && r != ENOENT)
			t_fail("%s: %s", unwritable[i], strerror(r));
	}
	static const char *const files[] = {"/proc/timer_list", "/proc/keys", "/proc/interrupts",
					    "/proc/kcore"};
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		struct stat st;
		if (!stat(files[i], &st))
			t_eq(st.st_rdev, makedev(1, 3));
	}
	static const char *const dirs[] = {"/proc/acpi", "/sys/firmware"};
	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
		int fd = open(dirs[i], O_RDONLY | O_DIRECTORY);
		if (fd < 0)
			continue;
		t_assert(is_empty(fd));
		t_eq(mkdirat(fd, "x", 0700), -1);
		t_eq(errno, EROFS);
		close(fd);
	}
	/* the rest of /proc stays writable */
	t_eq(open_error("/proc/self/oom_score_adj", O_WRONLY), 0);
	t_eq(open_error("/sys/class/net/lo/address", O_RDONLY), 0);
}

TEST(proc_and_sys_are_masked)
{
	scenario_as(0, NULL, look_masks);
}

TEST(proc_and_sys_are_masked_rootless)
{
	scenario_as(ORDINARY, NULL, look_masks);
}

static void look_last_pid(struct box *b)
{
	pid_t pid = t_fork();
	if (!pid)
		_exit(getpid() == 1234 ? 0 : 1);
	t_join(pid);
}

static void set_last_pid(struct box *b)
{
	b->run.last_pid = 1233;
}

TEST(pid_cursor_is_set)
{
	scenario_as(0, set_last_pid, look_last_pid);
	scenario_as(ORDINARY, set_last_pid, look_last_pid);
}

static void make_file(const char *dir, const char *name, const char *text)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	int fd = (int)t_sys(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
	t_eq(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void add_volume(struct box *b, const char *src, const char *rest)
{
	struct err e = ERR_INIT;
	char text[700];
	snprintf(text, sizeof(text), "%s/%s:%s", b->dir, src, rest);
	t_ok_e(spec_add_volume(&b->spec, text, &e), &e);
}

static void set_volumes(struct box *b)
{
	struct err e = ERR_INIT;
	close(make_dir(b->dir, "ro"));
	close(make_dir(b->dir, "rw"));
	close(make_dir(b->dir, "rw/nested"));
	make_file(b->dir, "ro/hello", "hello");
	make_file(b->dir, "one", "single");
	add_volume(b, "rw", "/area/dir:rw");
	add_volume(b, "ro", "/data:ro");
	add_volume(b, "one", "/etc/one:ro");
	add_volume(b, "ro", "/area/dir/nested:ro");
	t_ok_e(spec_add_tmpfs(&b->spec, "/tmp", &e), &e);
	add_volume(b, "ro", "/tmp/a/b:ro");
	add_volume(b, "one", "/tmp/a/one:rw");
	t_ok_e(spec_check(&b->spec, &e), &e);
}

static void look_volumes(struct box *b)
{
	char text[64];
	read_text("/data/hello", text, sizeof(text));
	t_str_eq(text, "hello");
	t_eq(open_error("/data/new", O_CREAT | O_WRONLY), EROFS);
	t_eq(open_error("/area/dir/new", O_CREAT | O_WRONLY), 0);
	read_text("/etc/one", text, sizeof(text));
	t_str_eq(text, "single");
	read_text("/area/dir/nested/hello", text, sizeof(text));
	read_text("/tmp/a/b/hello", text, sizeof(text));
	read_text("/tmp/a/one", text, sizeof(text));
	t_str_eq(text, "single");
	t_eq(open_error("/tmp/new", O_CREAT | O_WRONLY), 0);
	t_assert(is_empty(b->upper_fd));
}

TEST(volumes_and_tmpfs_are_mounted)
{
	scenario_as(0, set_volumes, look_volumes);
}

TEST(volumes_and_tmpfs_are_mounted_rootless)
{
	scenario_as(ORDINARY, set_volumes, look_volumes);
}

static void set_read_only(struct box *b)
{
	b->spec.read_only = true;
}

static void look_read_only(struct box *b)
{
	t_eq(open_error("/new", O_CREAT | O_WRONLY), EROFS);
	t_eq(open_error("/dev/shm/new", O_CREAT | O_WRONLY), 0);
}

TEST(read_only_root_cannot_be_written)
{
	scenario_as(0, set_read_only, look_read_only);
	scenario_as(ORDINARY, set_read_only, look_read_only);
}

static void set_net_host(struct box *b)
{
	b->spec.net = NET_HOST;
}

static void look_net_host(struct box *b)
{
	t_eq(open_error("/sys/class/net", O_RDONLY), 0);
	int r = open_error("/sys/class/net/lo/mtu", O_WRONLY);
	t_assert(r == EROFS || r == EACCES);
}

TEST(host_network_keeps_sys_read_only)
{
	scenario_as(0, set_net_host, look_net_host);
	scenario_as(ORDINARY, set_net_host, look_net_host);
}

/*
 * What a guest can leave behind in its root for the next incarnation: links
 * that lead out of it while the old root is still stacked there.
 */
static void spoil_root(struct box *b)
{
	t_sys(mkdirat(b->root_fd, "etc", 0755));
	t_sys(symlinkat("/../../../", b->root_fd, "area"));
	t_sys(symlinkat("../../..", b->root_fd, "run"));
}

static void look_spoilt(struct box *b)
{
	char text[64];
	/* "/area" leads to "/" of the sandbox, so the volume is at /dir */
	read_text("/dir/seen", text, sizeof(text));
	t_str_eq(text, "yes");
	read_text("/mulligan/generation", text, sizeof(text));
}

static void spoilt_as(uid_t uid)
{
	pid_t pid = t_fork();
	if (!pid) {
		struct box b;
		box_init(&b, uid);
		close(make_dir(b.dir, "rw"));
		make_file(b.dir, "rw/seen", "yes");
		add_volume(&b, "rw", "/area/dir");
		box_build(&b, false);
		spoil_root(&b);
		box_run(&b, look_spoilt);
		box_deinit(&b);
		t_eq(open_error("/mulligan", O_RDONLY), ENOENT);
		t_eq(open_error("/dir", O_RDONLY), ENOENT);
		_exit(0);
	}
	t_join(pid);
}

TEST(links_of_a_guest_never_lead_out_of_its_root)
{
	spoilt_as(0);
	spoilt_as(ORDINARY);
}

static void look_nothing(struct box *b)
{
}

static void count_points(uid_t uid)
{
	pid_t pid = t_fork();
	if (!pid) {
		struct box b;
		box_init(&b, uid);
		b.run.generation = 1;
		box_build(&b, true);
		for (int i = 0; i < 5; i++) {
			box_run(&b, look_nothing);
			close(b.root_fd);
			struct err e = ERR_INIT;
			char name[16];
			snprintf(name, sizeof(name), "w%d", i);
			int base = (int)t_sys(open(b.dir, O_RDONLY | O_DIRECTORY));
			int lower = (int)t_sys(openat(base, "base", O_RDONLY));
			int work = make_dir(b.dir, name);
			const struct overlay o = {
				.lower_fds = &lower,
				.n_lowers = 1,
				.upper_fd = b.upper_fd,
				.work_fd = work,
				.scratch_fd = b.spot_fd,
				.userxattr = sys_in_userns(),
			};
			b.root_fd = (int)t_ok_e(overlay_build(&o, &e), &e);
			b.run.root_fd = b.root_fd;
			close(base);
			close(lower);
			close(work);
		}
		box_deinit(&b);
		_exit(0);
	}
	t_join(pid);
}

TEST(incarnations_follow_each_other)
{
	count_points(0);
	count_points(ORDINARY);
}

/* A forked keeper goes on when its parent has freed and removed everything. */
static void forked_keeper_as(uid_t uid)
{
	pid_t pid = t_fork();
	if (!pid) {
		struct box b;
		char scratch[400];
		box_init(&b, uid);
		box_build(&b, true);
		pid_t parent = t_fork();
		if (!parent) {
			snprintf(scratch, sizeof(scratch), "%s/scratch", b.dir);
			mounts_free(b.mounts);
			t_sys(rmdir(scratch));
			_exit(0);
		}
		t_join(parent);
		box_run(&b, look_dev);
		box_deinit(&b);
		_exit(0);
	}
	t_join(pid);
}

TEST(keepers_of_one_namespace_do_not_need_each_other)
{
	forked_keeper_as(0);
	forked_keeper_as(ORDINARY);
}

static int count_fds(void)
{
	int n = 0;
	DIR *d = opendir("/proc/self/fd");
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* The n-th call of making the mounts fails: told, and nothing left open. */
static bool survives_failure(struct box *b, unsigned int n)
{
	struct err e = ERR_INIT;
	struct mounts *m = NULL;
	struct mounts_set set = MOUNTS_SET_INIT;
	char scratch[400];
	snprintf(scratch, sizeof(scratch), "%s/scratch-%u", b->dir, n);
	t_sys(mkdir(scratch, 0755));
	int before = count_fds();
	sys_fault_arm(n, EIO);
	int r = mounts_new(&b->spec, scratch, &m, &e);
	if (!r)
		r = mounts_prepare(m, &b->run, &set, &e);
	bool fired = sys_fault_fired();
	const char *call = fired ? sys_fault_fired() : "";
	sys_fault_arm(0, 0);
	if (r && (e.code != -r || !e.cause[0]))
		t_fail("%s (call %u) failed without a cause", call, n);
	mounts_set_deinit(&set);
	mounts_free(m);
	if (count_fds() != before)
		t_fail("%s (call %u) leaked descriptors", call, n);
	return fired;
}

TEST(every_failing_call_is_undone)
{
	pid_t pid = t_fork();
	if (!pid) {
		struct box b;
		box_init(&b, ORDINARY);
		set_volumes(&b);
		box_build(&b, true);
		unsigned int n = 1;
		while (survives_failure(&b, n))
			n++;
		t_note("%u calls", n - 1);
		box_deinit(&b);
		_exit(0);
	}
	t_join(pid);
}

TEST(missing_volume_is_named)
{
	pid_t pid = t_fork();
	if (!pid) {
		struct box b;
		struct err e = ERR_INIT;
		box_init(&b, ORDINARY);
		t_ok_e(spec_add_volume(&b.spec, "/no/such/dir:/data", &e), &e);
		box_build(&b, true);
		struct mounts_set set = MOUNTS_SET_INIT;
		t_eq(mounts_prepare(b.mounts, &b.run, &set, &e), -ENOENT);
		t_assert(strstr(e.cause, "/no/such/dir"));
		t_eq(set.n, 0);
		box_deinit(&b);
		_exit(0);
	}
	t_join(pid);
}
