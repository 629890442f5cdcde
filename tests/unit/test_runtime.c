#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/harness.h"
#include "wire/runtime.h"

static int open_runtime(void)
{
	char path[4096];
	struct err e = ERR_INIT;
	snprintf(path, sizeof(path), "%s/run", t_tmpdir());
	t_sys(setenv("MULLIGAN_RUNTIME", path, 1));
	return (int)t_ok_e(runtime_open(&e), &e);
}

TEST(names_that_are_paths_are_refused)
{
	static const char *const bad[] = { "", ".", "..", "a/b", "../a", "/a", "-a", "a b", "a:b",
					   "a@b", "\xc3\xa4", ".hidden" };
	struct err e = ERR_INIT;
	char name[RUNTIME_NAME_BYTES + 1];
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		t_eq(runtime_check_name(bad[i], &e), -EINVAL);
	memset(name, 'x', sizeof(name));
	name[RUNTIME_NAME_BYTES] = '\0';
	t_eq(runtime_check_name(name, &e), -EINVAL);
	name[RUNTIME_NAME_BYTES - 1] = '\0';
	t_ok_e(runtime_check_name(name, &e), &e);
	t_ok_e(runtime_check_name("a-1.b_C", &e), &e);
}

TEST(a_name_is_claimed_once_and_freed)
{
	struct err e = ERR_INIT;
	struct runtime_place a, b;
	struct runtime_entry entry;
	int fd = open_runtime();
	t_ok_e(runtime_claim(fd, "a", &a, &e), &e);
	t_eq(runtime_claim(fd, "a", &b, &e), -EEXIST);
	t_assert(e.remedy[0]);
	t_ok_e(runtime_find(fd, "a", &entry, &e), &e);
	t_assert(entry.alive);
	t_eq(entry.pid, getpid());
	t_eq(runtime_clear(fd, "a", &e), 0); /* it lives */
	runtime_place_release(fd, &a);
	t_eq(runtime_find(fd, "a", &entry, &e), -ENOENT);
	t_ok_e(runtime_claim(fd, "a", &b, &e), &e);
	runtime_place_release(fd, &b);
	close(fd);
}

TEST(of_many_claims_at_once_one_wins)
{
	enum { N = 16 };
	int go[2], done[2];
	int fd = open_runtime();
	pid_t pids[N];
	t_sys(pipe(go));
	t_sys(pipe(done));
	for (int i = 0; i < N; i++) {
		pids[i] = t_fork();
		if (pids[i])
			continue;
		struct runtime_place p;
		struct err e = ERR_INIT;
		char c;
		close(go[1]);
		close(done[1]);
		t_sys(read(go[0], &c, 1)); /* end of file: all at once */
		int r = runtime_claim(fd, "same", &p, &e);
		if (!r)
			t_sys(read(done[0], &c, 1)); /* keep it */
		_exit(r == 0 ? 0 : r == -EEXIST ? 3 : 4);
	}
	close(go[1]);
	int won = 0, lost = 0;
	for (int left = N; left > 1; left--) {
		/* the losers end by themselves */
		int status;
		t_sys(waitpid(-1, &status, 0));
		lost += WIFEXITED(status) && WEXITSTATUS(status) == 3;
	}
	close(done[1]);
	int status;
	t_sys(waitpid(-1, &status, 0));
	won = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	t_eq(lost, N - 1);
	t_eq(won, 1);
	close(go[0]);
	close(done[0]);
	close(fd);
}

TEST(what_a_killed_keeper_left_is_told_and_cleared)
{
	struct err e = ERR_INIT;
	struct runtime_entry entry;
	struct runtime_place p;
	int ready[2], fd = open_runtime();
	char c;
	t_sys(pipe(ready));
	pid_t pid = t_fork();
	if (!pid) {
		t_ok_e(runtime_claim(fd, "k", &p, &e), &e);
		t_sys(write(ready[1], "x", 1));
		pause();
	}
	t_eq(read(ready[0], &c, 1), 1);
	t_ok_e(runtime_find(fd, "k", &entry, &e), &e);
	t_assert(entry.alive && entry.pid == pid);
	t_sys(kill(pid, SIGKILL));
	t_wait(pid);
	t_ok_e(runtime_find(fd, "k", &entry, &e), &e);
	t_assert(!entry.alive);
	t_eq(runtime_connect(fd, "k", &e), -ECONNREFUSED);
	t_assert(strstr(e.cause, "died"));
	t_eq(t_ok_e(runtime_clear(fd, "k", &e), &e), 1);
	t_eq(runtime_find(fd, "k", &entry, &e), -ENOENT);
	t_eq(runtime_connect(fd, "k", &e), -ENOENT);
	close(ready[0]);
	close(ready[1]);
	close(fd);
}

TEST(a_directory_of_others_is_refused)
{
	struct err e = ERR_INIT;
	char path[4096];
	int fd = open_runtime();
	t_sys(fchmod(fd, 0777));
	t_eq(runtime_open(&e), -EPERM);
	t_sys(fchmod(fd, 0700));
	if (!geteuid()) {
		t_sys(fchown(fd, 12345, 12345));
		t_eq(runtime_open(&e), -EPERM);
		t_assert(strstr(e.cause, "someone else"));
	}
	close(fd);
	snprintf(path, sizeof(path), "%s/file", t_tmpdir());
	close((int)t_sys(open(path, O_CREAT | O_WRONLY, 0600)));
	t_sys(setenv("MULLIGAN_RUNTIME", path, 1));
	t_assert(runtime_open(&e) < 0);
	t_sys(setenv("MULLIGAN_RUNTIME", "relative", 1));
	t_eq(runtime_open(&e), -EINVAL);
}
