/*
 * probe.c - each feature has one function that tries it in the smallest way
 * that tells "not there" from "not now". Those that need another user
 * namespace, or leave something behind, try it in a child.
 */
#include "sys/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sys/proc.h"
#include "sys/ptrace.h"

enum {
	PAGE = 4096,
	/* newer than Debian 12's headers */
	PROBE_MADV_POPULATE_READ = 22,
	PROBE_MADV_COLLAPSE = 25,
	PROBE_FSCONFIG_SET_STRING = 1,
	PROBE_FSCONFIG_SET_FD = 5,
	PROBE_UFFD_USER_MODE_ONLY = 1,
};

const struct sys_feature_text sys_feature_table[SYS_F_COUNT] = {
	[SYS_F_PAGEMAP_SCAN] = { "pagemap_scan", "finds dirty pages at once",
		"dirty pages are found by comparing: slower", false },
	[SYS_F_PROCMAP_QUERY] = { "procmap_query", "reads mappings fast",
		"mappings are parsed from text", false },
	[SYS_F_MULTI_MREMAP] = { "multi_mremap", "moves many mappings a call",
		"mappings are moved one by one", false },
	[SYS_F_LOWERDIR_PATH] = { "lowerdir_path", "stacks many layers",
		"layers are named in one short mount option", false },
	[SYS_F_LOWERDIR_FD] = { "lowerdir_fd", "stacks layers by descriptor",
		"layers are stacked by path", false },
	[SYS_F_UFFD] = { "uffd", "userfaultfd for this user",
		"dirty pages are found by comparing: slower", false },
	[SYS_F_UFFD_KERNEL] = { "uffd_kernel", "userfaultfd in system calls",
		"nothing is missing: user mode is enough", false },
	[SYS_F_UFFD_WP] = { "uffd_wp", "tracks written pages",
		"dirty pages are found by comparing: slower", false },
	[SYS_F_SET_TID] = { "set_tid", "processes come back with their pids",
		"rollback of processes is impossible", true },
	[SYS_F_PIDFD_GETFD] = { "pidfd_getfd", "fetches descriptors",
		"processes cannot be saved", true },
	[SYS_F_PROCESS_MADVISE] = { "process_madvise", "advises other memory",
		"advice is given from inside", false },
	[SYS_F_MADV_POPULATE] = { "madv_populate", "fills page tables ahead",
		"the first accesses after a rollback are slower", false },
	[SYS_F_MADV_COLLAPSE] = { "madv_collapse", "makes huge pages",
		"forks of large memories are slower", false },
	[SYS_F_KCMP] = { "kcmp", "tells shared descriptors",
		"processes cannot be saved", true },
	[SYS_F_MEMBARRIER_GET] = { "membarrier_get", "asks for memory barriers",
		"memory barriers are tried", false },
	[SYS_F_TIMER_IDS] = { "timer_ids", "makes POSIX timers with any number",
		"those with a number above 200 cannot be saved", false },
	[SYS_F_PROC_CHILDREN] = { "proc_children", "walks the process tree",
		"processes cannot be frozen", true },
	[SYS_F_PIDNS_IOCTL] = { "pidns_ioctl", "translates pids fast",
		"pids are read from /proc/<pid>/status", false },
	[SYS_F_CGROUP] = { "cgroup", "limits memory and processes",
		"limits are per process only", false },
	[SYS_F_CGROUP_V2] = { "cgroup_v2", "the unified hierarchy",
		"version 1 hierarchies, or limits per process only", false },
	[SYS_F_CGROUP_V1] = { "cgroup_v1", "version 1 hierarchies",
		"the unified hierarchy, or limits per process only", false },
	[SYS_F_USERNS] = { "userns", "sandboxes for ordinary users",
		"only root can make sandboxes", false },
	[SYS_F_ID_RANGES] = { "id_ranges", "several users in sandboxes of ordinary users",
		"every user in such a sandbox is its root", false },
	[SYS_F_SUSPEND_SECCOMP] = { "suspend_seccomp",
		"looks at processes with seccomp filters of their own",
		"nothing is missing: such processes are refused anyhow", false },
};

/* Each returns 0 for yes, or the errno value that said no. */

struct pm_scan_arg {		/* linux/fs.h of 6.7 */
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask;
	uint64_t return_mask;
};

static int probe_pagemap_scan(void)
{
	scoped_fd int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	uint64_t region[3];
	uint64_t page = (uint64_t)&region & ~(uint64_t)(PAGE - 1);
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = page,
		.end = page + PAGE,
		.vec = (uint64_t)region,
		.vec_len = 1,
		.category_mask = 1 << 3,	/* PAGE_IS_PRESENT */
		.return_mask = 1 << 3,
	};
	return ioctl(fd, _IOWR('f', 16, struct pm_scan_arg), &arg) < 0 ? errno :
									 0;
}

static int probe_procmap_query(void)
{
	scoped_fd int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	uint64_t query[13] = { sizeof(query), 0, (uint64_t)&query };
	return ioctl(fd, _IOWR('f', 17, uint64_t[13]), query) ? errno : 0;
}

static int probe_multi_mremap(void)
{
	char *area = mmap(NULL, 6 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	if (area == MAP_FAILED)
		return errno;
	char *to = area + 3 * PAGE;
	int error = 0;
	/* two kinds of mapping that cannot be one VMA */
	if (mprotect(area, PAGE, PROT_NONE) ||
	    mremap(area, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		   to) != to)
		error = errno;
	munmap(area, 6 * PAGE);
	return error;
}

/* Run try in a child that may break things; its result is an errno value. */
static int in_child(int (*try)(void))
{
	pid_t pid = fork();
	if (pid < 0)
		return errno;
	if (pid == 0)
		_exit(try());
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

static int own_mount_namespace(void)
{
	if (!unshare(CLONE_NEWNS))
		return 0;
	return unshare(CLONE_NEWUSER | CLONE_NEWNS) ? errno : 0;
}

static int try_lowerdir(bool by_fd)
{
	int error = own_mount_namespace();
	if (error)
		return error;
	int fs_fd = (int)syscall(SYS_fsopen, "overlay", 0);
	if (fs_fd < 0)
		return errno;
	long r;
	if (by_fd)
		r = syscall(SYS_fsconfig, fs_fd, PROBE_FSCONFIG_SET_FD,
			    "lowerdir+", NULL,
			    open("/usr", O_PATH | O_DIRECTORY));
	else
		r = syscall(SYS_fsconfig, fs_fd, PROBE_FSCONFIG_SET_STRING,
			    "lowerdir+", "/usr", 0);
	if (r < 0)
		return errno;
	/* before 6.5 options are text that nobody reads until the mount: where
	   nonsense is accepted, "lowerdir+" being accepted says nothing */
	r = syscall(SYS_fsconfig, fs_fd, PROBE_FSCONFIG_SET_STRING,
		    "mulligan_nonsense", "1", 0);
	return r < 0 ? 0 : EOPNOTSUPP;
}

static int try_lowerdir_path(void)
{
	return try_lowerdir(false);
}

static int try_lowerdir_fd(void)
{
	return try_lowerdir(true);
}

static int probe_lowerdir_path(void)
{
	return in_child(try_lowerdir_path);
}

static int probe_lowerdir_fd(void)
{
	return in_child(try_lowerdir_fd);
}

static int open_uffd(int flags)
{
	int fd = (int)syscall(SYS_userfaultfd,
			      O_CLOEXEC | O_NONBLOCK | flags);
	return fd < 0 ? -errno : fd;
}

static int probe_uffd(void)
{
	scoped_fd int fd = open_uffd(PROBE_UFFD_USER_MODE_ONLY);
	return fd < 0 ? -fd : 0;
}

static int probe_uffd_kernel(void)
{
	scoped_fd int fd = open_uffd(0);
	return fd < 0 ? -fd : 0;
}

static int probe_uffd_wp(void)
{
	scoped_fd int fd = open_uffd(PROBE_UFFD_USER_MODE_ONLY);
	if (fd < 0)
		return -fd;
	struct {
		uint64_t api, features, ioctls;	/* struct uffdio_api */
	} api = {
		.api = 0xaa,
		/* PAGEFAULT_FLAG_WP, WP_UNPOPULATED, WP_ASYNC */
		.features = 1 << 0 | 1 << 13 | 1 << 15,
	};
	return ioctl(fd, _IOWR(0xaa, 0x3f, uint64_t[3]), &api) ? errno : 0;
}

static int probe_set_tid(void)
{
	/* pid 0 is never free: EINVAL comes from looking at it */
	pid_t zero = 0;
	struct clone_args args = {
		.set_tid = (uint64_t)&zero,
		.set_tid_size = 1,
	};
	long pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0)
		_exit(0);
	return errno == EINVAL ? 0 : errno;
}

static int probe_pidfd_getfd(void)
{
	scoped_fd int pidfd = sys_pidfd_open(getpid());
	if (pidfd < 0)
		return -pidfd;
	scoped_fd int copy = sys_pidfd_getfd(pidfd, pidfd);
	return copy < 0 ? -copy : 0;
}

static int probe_process_madvise(void)
{
	syscall(SYS_process_madvise, -1, NULL, 0, MADV_COLD, 0);
	return errno == EBADF ? 0 : errno;
}

/* Of no bytes at all: only the advice is checked. */
static int probe_madvise(int advice)
{
	char here;
	void *page = (void *)((uint64_t)&here & ~(uint64_t)(PAGE - 1));
	return madvise(page, 0, advice) ? errno : 0;
}

static int probe_madv_populate(void)
{
	return probe_madvise(PROBE_MADV_POPULATE_READ);
}

static int probe_madv_collapse(void)
{
	return probe_madvise(PROBE_MADV_COLLAPSE);
}

static int probe_kcmp(void)
{
	int r = sys_kcmp(getpid(), getpid(), SYS_KCMP_VM, 0, 0);
	return r < 0 ? -r : 0;
}

static int probe_membarrier_get(void)
{
	enum { GET_REGISTRATIONS = 1 << 9 };	/* linux/membarrier.h of 6.3 */
	return syscall(SYS_membarrier, GET_REGISTRATIONS, 0, 0) < 0 ? errno : 0;
}

static int probe_timer_ids(void)
{
	/* PR_TIMER_CREATE_RESTORE_IDS, ..._GET: linux/prctl.h of 6.15 */
	return prctl(77, 2, 0, 0, 0) < 0 ? errno : 0;
}

static int probe_proc_children(void)
{
	return access("/proc/thread-self/children", R_OK) ? errno : 0;
}

static int probe_pidns_ioctl(void)
{
	scoped_fd int fd = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	int r = sys_pid_in_pidns(fd, getpid());
	return r < 0 ? -r : 0;
}

static int probe_cgroup_v2(void)
{
	scoped_fd int fd = open("/sys/fs/cgroup/cgroup.controllers",
				O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	char text[256];
	ssize_t n = read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	return strstr(text, "memory") && strstr(text, "pids") ? 0 : ENOTSUP;
}

static int probe_cgroup_v1(void)
{
	if (access("/sys/fs/cgroup/memory/memory.limit_in_bytes", F_OK))
		return errno;
	return access("/sys/fs/cgroup/pids/tasks", F_OK) ? errno : 0;
}

static int probe_cgroup(void)
{
	int error = probe_cgroup_v2();
	return error ? probe_cgroup_v1() : 0;
}

static int try_userns(void)
{
	return unshare(CLONE_NEWUSER) ? errno : 0;
}

static int probe_userns(void)
{
	return in_child(try_userns);
}

static bool tool_exists(const char *name)
{
	static const char *const dirs[] = { "/usr/bin", "/bin", "/usr/local/bin",
					    "/run/wrappers/bin" };
	char path[64];
	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
		snprintf(path, sizeof(path), "%s/%s", dirs[i], name);
		if (!access(path, X_OK))
			return true;
	}
	return false;
}

bool sys_has_id_tools(void)
{
	struct sys_features f = { 0 };
	const char *mask = getenv("MULLIGAN_MASK");
	if (mask)
		sys_features_mask(&f, mask);
	return !f.masked[SYS_F_ID_RANGES] && tool_exists("newuidmap") && tool_exists("newgidmap");
}

static int probe_id_ranges(void)
{
	return sys_has_id_tools() ? 0 : ENOENT;
}

static int probe_suspend_seccomp(void)
{
	pid_t pid = fork();
	if (pid < 0)
		return errno;
	if (pid == 0)
		for (;;)
			pause();
	int r = sys_ptrace_seize(pid, SYS_PTRACE_O_SUSPEND_SECCOMP);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return -r;
}

static int (*const probes[SYS_F_COUNT])(void) = {
	[SYS_F_PAGEMAP_SCAN] = probe_pagemap_scan,
	[SYS_F_PROCMAP_QUERY] = probe_procmap_query,
	[SYS_F_MULTI_MREMAP] = probe_multi_mremap,
	[SYS_F_LOWERDIR_PATH] = probe_lowerdir_path,
	[SYS_F_LOWERDIR_FD] = probe_lowerdir_fd,
	[SYS_F_UFFD] = probe_uffd,
	[SYS_F_UFFD_KERNEL] = probe_uffd_kernel,
	[SYS_F_UFFD_WP] = probe_uffd_wp,
	[SYS_F_SET_TID] = probe_set_tid,
	[SYS_F_PIDFD_GETFD] = probe_pidfd_getfd,
	[SYS_F_PROCESS_MADVISE] = probe_process_madvise,
	[SYS_F_MADV_POPULATE] = probe_madv_populate,
	[SYS_F_MADV_COLLAPSE] = probe_madv_collapse,
	[SYS_F_KCMP] = probe_kcmp,
	[SYS_F_MEMBARRIER_GET] = probe_membarrier_get,
	[SYS_F_TIMER_IDS] = probe_timer_ids,
	[SYS_F_PROC_CHILDREN] = probe_proc_children,
	[SYS_F_PIDNS_IOCTL] = probe_pidns_ioctl,
	[SYS_F_CGROUP] = probe_cgroup,
	[SYS_F_CGROUP_V2] = probe_cgroup_v2,
	[SYS_F_CGROUP_V1] = probe_cgroup_v1,
	[SYS_F_USERNS] = probe_userns,
	[SYS_F_ID_RANGES] = probe_id_ranges,
	[SYS_F_SUSPEND_SECCOMP] = probe_suspend_seccomp,
};

static bool mask_one(struct sys_features *f, const char *name, size_t len)
{
	for (int i = 0; i < SYS_F_COUNT; i++) {
		const char *known = sys_feature_table[i].name;
		if (strlen(known) != len || strncmp(known, name, len))
			continue;
		f->has[i] = false;
		f->masked[i] = true;
		f->error[i] = ENOSYS;
		return true;
	}
	return false;
}

int sys_features_mask(struct sys_features *f, const char *list)
{
	int unknown = 0;
	for (const char *s = list; *s;) {
		size_t len = strcspn(s, ",");
		if (len && !mask_one(f, s, len))
			unknown++;
		s += len + (s[len] == ',');
	}
	return unknown;
}

const struct sys_features *sys_features(void)
{
	static struct sys_features known;
	static bool probed;
	if (probed)
		return &known;
	for (int i = 0; i < SYS_F_COUNT; i++) {
		known.error[i] = probes[i]();
		known.has[i] = !known.error[i];
	}
	const char *mask = getenv("MULLIGAN_MASK");
	if (mask)
		sys_features_mask(&known, mask);
	/* no cgroups at all is what a mask of them means */
	if (known.masked[SYS_F_CGROUP])
		sys_features_mask(&known, "cgroup_v1,cgroup_v2");
	probed = true;
	return &known;
}

bool sys_has(enum sys_feature f)
{
	return sys_features()->has[f];
}
