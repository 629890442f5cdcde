/* Which flags PID 1 can be made with, sharing the template's memory. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "kernel/facts.h"

static void nothing(void *arg)
{
}

/* clone3 with CLONE_VM and more flags: 0 or the errno. */
static int clone_errno(uint64_t flags)
{
	static char stack[16384] __attribute__((aligned(16)));
	struct fact_clone c = {.flags = CLONE_VM | flags,
			       .exit_signal = SIGCHLD,
			       .stack = (uintptr_t)stack,
			       .stack_bytes = sizeof(stack)};
	pid_t pid = fact_clone3_vm(&c, nothing, NULL);
	if (pid < 0)
		return errno;
	t_eq(t_wait(pid), 0);
	return 0;
}

TEST(clone_vm_goes_with_new_namespaces)
{
	fact_enter_userns();
	t_eq(clone_errno(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET),
	     0);
	t_eq(clone_errno(CLONE_FILES | CLONE_NEWPID | CLONE_NEWNS), 0);
	t_eq(clone_errno(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS), 0);
}

TEST(clone_fs_and_sysvsem_do_not_go_with_new_namespaces)
{
	fact_enter_userns();
	t_eq(clone_errno(CLONE_FS | CLONE_NEWNS), EINVAL);
	t_eq(clone_errno(CLONE_SYSVSEM | CLONE_NEWIPC), EINVAL);
}

/* Why a family of sandboxes lives in one user namespace. */
TEST(user_namespace_of_a_sibling_cannot_be_joined)
{
	int up[2], down[2];
	t_become(ORDINARY_UID, ORDINARY_UID);
	t_sys(pipe(up));
	t_sys(pipe(down));
	pid_t sibling = t_fork();
	if (sibling == 0) {
		char error = unshare(CLONE_NEWUSER) ? (char)errno : 0;
		t_sys(write(up[1], &error, 1));
		close(down[1]);
		_exit(read(down[0], &error, 1) != 0);
	}
	char error;
	t_eq(read(up[0], &error, 1), 1);
	if (error)
		t_skip("no user namespaces for ordinary users: %s", strerror(error));
	pid_t us = t_fork();
	if (us == 0) {
		char path[64];
		t_sys(unshare(CLONE_NEWUSER));
		snprintf(path, sizeof(path), "/proc/%d/ns/user", sibling);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		_exit(fd >= 0 && setns(fd, CLONE_NEWUSER) == 0);
	}
	t_join(us);
	close(down[1]);
	t_join(sibling);
	close(up[0]);
	close(up[1]);
	close(down[0]);
}

TEST(set_tid_gives_the_pid_and_does_not_move_the_cursor)
{
	fact_enter_userns();
	t_sys(unshare(CLONE_NEWPID));
	pid_t pid1 = t_fork();
	if (pid1 == 0) {
		pid_t want = 500;
		struct fact_clone c = {
			.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&want, .n_set_tid = 1};
		pid_t pid = fact_clone3(&c);
		if (pid == 0)
			_exit(getpid() != 500);
		t_eq(pid, 500);
		t_join(pid);
		pid_t next = t_fork();
		if (next == 0)
			_exit(0);
		t_join(next);
		t_assert(next < 500);
		_exit(0);
	}
	t_join(pid1);
}
