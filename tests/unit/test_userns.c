/* Entering the keeper's namespaces, as root and as an ordinary user. */
#include <fcntl.h>
#include <grp.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/harness.h"
#include "sandbox/userns.h"
#include "sys/fault.h"
#include "sys/mount.h"
#include "sys/ns.h"

/* Run fn in a process of its own, as uid (0: as is). */
static void as(uid_t uid, void (*fn)(void))
{
	pid_t pid = t_fork();
	if (!pid) {
		if (uid)
			t_become(uid, uid);
		fn();
		_exit(0);
	}
	t_join(pid);
}

static void enter_user(void)
{
	struct err e = ERR_INIT;
	uid_t before = getuid();
	t_assert(userns_needed());
	t_ok_e(userns_enter(true, &e), &e);
	t_eq(getuid(), 0);
	t_eq(getgid(), 0);
	t_assert(!userns_needed());
	t_assert(sys_in_userns());
	struct sys_id_range range[4];
	t_assert(t_ok(sys_read_id_map(false, range, 4)) >= 1);
	t_eq(range[0].outside, before);
	t_note("%lu ids, setgroups %s", userns_uid_count(),
	       sys_setgroups_denied() ? "denied" : "allowed");
	t_eq(userns_gid_mapped(5), userns_uid_count() > 5);
	if (!sys_setgroups_denied())
		t_eq(getgroups(0, NULL), 0);
	/* a mount here is possible and stays here */
	t_ok(sys_mount("none", "/tmp", "tmpfs", 0, NULL));
	/* what we own outside is still ours */
	t_sys(open("/proc/self/mem", O_RDWR | O_CLOEXEC));
}

TEST(ordinary_user_becomes_root_in_a_namespace, .leaves_fds = true)
{
	as(1001, enter_user);
}

TEST(user_without_subordinate_ids_gets_its_own_id, .leaves_fds = true)
{
	as(1999, enter_user);
}

static void enter_root(void)
{
	struct err e = ERR_INIT;
	struct stat before, after;
	t_sys(stat("/proc/self/ns/user", &before));
	t_ok_e(userns_enter(false, &e), &e);
	t_sys(stat("/proc/self/ns/user", &after));
	t_eq(before.st_ino, after.st_ino);
	t_ok(sys_mount("none", "/tmp", "tmpfs", 0, NULL));
	t_assert(userns_uid_mapped(12345));
}

TEST(root_needs_no_user_namespace)
{
	if (userns_needed())
		t_skip("needs root");
	as(0, enter_root);
}

static void enter_root_userns(void)
{
	struct err e = ERR_INIT;
	t_ok_e(userns_enter(true, &e), &e);
	t_assert(sys_in_userns());
	t_assert(userns_uid_mapped(1000));
	t_assert(userns_gid_mapped(5));
}

TEST(root_gets_a_user_namespace_when_asked)
{
	if (userns_needed())
		t_skip("needs root");
	as(0, enter_root_userns);
}

static void propagation_is_off(void)
{
	struct err e = ERR_INIT;
	t_ok_e(userns_enter(userns_needed(), &e), &e);
	FILE *f = fopen("/proc/self/mountinfo", "re");
	t_assert(f);
	char line[4096];
	while (fgets(line, sizeof(line), f))
		if (strstr(line, " shared:") || strstr(line, " master:"))
			t_fail("not private: %s", line);
	fclose(f);
}

TEST(all_mounts_are_private)
{
	as(0, propagation_is_off);
	as(1001, propagation_is_off);
}

/* Namespaces are used up in a namespace whose limit is 0. */
static void no_more_namespaces(void)
{
	struct err e = ERR_INIT;
	t_ok_e(userns_enter(true, &e), &e);
	int fd = open("/proc/sys/user/max_user_namespaces", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		_exit(0); /* older kernels: only the real root may */
	t_eq(write(fd, "0", 1), 1);
	close(fd);
	int r = userns_enter(true, &e);
	t_eq(r, -ENOSPC);
	t_assert(strstr(e.cause, "user namespace"));
	t_assert(strstr(e.remedy, "user.max_user_namespaces"));
}

TEST(refusal_names_the_knob)
{
	as(1001, no_more_namespaces);
}

/* Every kernel call fails once: an error with a cause each time. */
static void sweep(void)
{
	struct err e = ERR_INIT;
	for (unsigned int n = 1;; n++) {
		pid_t pid = t_fork();
		if (!pid) {
			sys_fault_arm(n, EIO);
			int r = userns_enter(true, &e);
			if (!sys_fault_fired())
				_exit(r ? T_FAILED : 42);
			/* looking for knobs and groups may fail unharmed */
			t_assert(!r || e.cause[0]);
			_exit(0);
		}
		int status = t_wait(pid);
		if (status == 42) {
			t_note("%u calls", n - 1);
			return;
		}
		t_eq(status, 0);
	}
}

TEST(every_failing_call_is_reported)
{
	as(1001, sweep);
	as(1999, sweep);
}
