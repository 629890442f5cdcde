/* victim.c - tests that go wrong in every way; test_harness.c runs them. */
#include "harness/harness.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(passes)
{
	t_eq(1 + 1, 2);
}

TEST(fails)
{
	t_eq(1 + 1, 3);
}

TEST(fails_in_a_child)
{
	pid_t pid = t_fork();
	if (pid == 0) {
		t_assert(false);
		_exit(0);
	}
	t_join(pid);
}

TEST(skips)
{
	t_skip("no %s here", "moon");
}

TEST(crashes)
{
	raise(SIGSEGV);
}

TEST(hangs, .timeout_s = 1)
{
	if (fork() == 0)
		setsid();
	for (;;)
		pause();
}

TEST(leaks_fd)
{
	t_sys(open("/dev/null", O_RDONLY));
}

TEST(leaks_zombie)
{
	if (t_fork() == 0)
		_exit(0);
	siginfo_t info;
	t_sys(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT));
}

TEST(leaks_daemon)
{
	pid_t pid = t_fork();
	if (pid == 0) {
		setsid();
		if (fork() == 0)
			for (;;)
				pause();
		_exit(0);
	}
	t_join(pid);
}

TEST(leaks_mount)
{
	if (geteuid() != 0)
		t_skip("mounts need root");
	t_sys(mount("none", t_tmpdir(), "tmpfs", 0, NULL));
}

TEST(uses_tmpdir)
{
	t_sys(chdir(t_tmpdir()));
	close((int)t_sys(open("file", O_CREAT | O_WRONLY, 0600)));
}
