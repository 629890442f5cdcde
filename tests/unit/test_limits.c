/*
 * Limits: a fork bomb and a memory hog are contained by what this machine
 * offers, and nothing is left behind.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "harness/harness.h"
#include "sandbox/limits.h"
#include "sandbox/userns.h"
#include "sys/fault.h"
#include "sys/sandboxing.h"

static struct limits *new_limits(struct spec *spec)
{
	struct err e = ERR_INIT;
	struct limits *l;
	t_ok_e(limits_create(spec, &l, &e), &e);
	if (limits_kind(l) == LIMITS_NONE) {
		const char *missing = limits_missing(l);
		t_assert(missing[0]);
		char why[400];
		snprintf(why, sizeof(why), "%s", missing);
		limits_destroy(l);
		t_skip("no limits by cgroups: %s", why);
	}
	return l;
}

static void new_spec(struct spec *spec)
{
	struct err e = ERR_INIT;
	char name[64];
	snprintf(name, sizeof(name), "test-limits-%d", getpid());
	spec_init(spec);
	t_ok_e(spec_set_name(spec, name, &e), &e);
}

/* A process that waits in the group until it is let go; runs fn then. */
static pid_t start_in(struct limits_group *g, int (*fn)(void))
{
	struct err e = ERR_INIT;
	int go[2];
	t_sys(pipe2(go, O_CLOEXEC));
	pid_t pid = t_fork();
	if (!pid) {
		char c;
		close(go[1]);
		if (read(go[0], &c, 1) != 1)
			_exit(99);
		_exit(fn());
	}
	close(go[0]);
	t_ok_e(limits_group_attach(g, pid, &e), &e);
	t_eq(write(go[1], "g", 1), 1);
	close(go[1]);
	return pid;
}

/* Fork until it fails; how many there were. All end with this process. */
static int bomb(void)
{
	int hold[2];
	if (pipe(hold))
		return 99;
	int n = 0;
	for (; n < 90; n++) {
		pid_t pid = fork();
		if (pid < 0)
			break;
		if (!pid) {
			char c;
			close(hold[1]);
			_exit((int)read(hold[0], &c, 1));
		}
	}
	close(hold[1]);
	while (wait(NULL) > 0)
		;
	return n;
}

static struct limits_group *take(struct limits *l)
{
	struct err e = ERR_INIT;
	struct limits_group *g;
	t_ok_e(limits_group_take(l, &g, &e), &e);
	return g;
}

TEST(fork_bomb_is_contained)
{
	struct spec spec;
	new_spec(&spec);
	spec.pids_max = 20;
	struct limits *l = new_limits(&spec);
	struct limits_group *g = take(l);
	t_eq(t_wait(start_in(g, bomb)), 19);
	/* another incarnation has a budget of its own */
	struct limits_group *next = take(l);
	t_eq(t_wait(start_in(next, bomb)), 19);
	limits_group_give(l, g);
	limits_group_give(l, next);
	limits_destroy(l);
	spec_deinit(&spec);
}

static int hog(void)
{
	const size_t bytes = 64 << 20;
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; i < bytes; i += 4096)
		p[i] = 1;
	return 0;
}

TEST(memory_hog_is_killed_and_counted)
{
	struct spec spec;
	new_spec(&spec);
	spec.memory_bytes = 16 << 20;
	struct limits *l = new_limits(&spec);
	struct limits_group *g = take(l);
	t_eq(t_wait(start_in(g, hog)), 128 + SIGKILL);
	struct limits_usage u;
	t_ok(limits_group_usage(g, &u));
	t_assert(u.oom_kills >= 1);
	t_assert(u.memory_peak_bytes > (8 << 20));
	t_eq(u.pids, 0);
	limits_group_give(l, g);
	/* taken again, it begins at nothing */
	struct limits_group *again = take(l);
	t_assert(again == g);
	t_ok(limits_group_usage(again, &u));
	t_eq(u.oom_kills, 0);
	limits_destroy(l);
	spec_deinit(&spec);
}

static int nap(void)
{
	return (int)pause();
}

TEST(group_still_populated_is_not_taken_again)
{
	struct spec spec;
	new_spec(&spec);
	struct limits *l = new_limits(&spec);
	struct limits_group *g = take(l);
	pid_t pid = start_in(g, nap);
	struct limits_usage u;
	t_ok(limits_group_usage(g, &u));
	t_eq(u.pids, 1);
	limits_group_give(l, g);
	struct limits_group *other = take(l);
	t_assert(other != g);
	t_sys(kill(pid, SIGKILL));
	t_wait(pid);
	t_assert(take(l) == g);
	limits_destroy(l);
	spec_deinit(&spec);
}

static volatile int *beats;

static int beat(void)
{
	for (pid_t parent = getppid(); getppid() == parent;) {
		(*beats)++;
		t_sleep_ms(1);
	}
	return 0;
}

TEST(group_can_be_frozen)
{
	struct spec spec;
	new_spec(&spec);
	struct limits *l = new_limits(&spec);
	struct limits_group *g = take(l);
	beats = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = start_in(g, beat);
	while (!*beats)
		t_sleep_ms(1);
	t_ok(limits_group_freeze(g, true));
	int before;
	do {	/* it takes a moment */
		before = *beats;
		t_sleep_ms(50);
	} while (*beats != before);
	t_ok(limits_group_freeze(g, false));
	while (*beats == before)
		t_sleep_ms(1);
	t_sys(kill(pid, SIGKILL));
	t_wait(pid);
	limits_destroy(l);
	spec_deinit(&spec);
}

TEST(gc_removes_what_a_dead_keeper_left_and_nothing_else)
{
	struct spec spec;
	struct err e = ERR_INIT;
	new_spec(&spec);
	struct limits *mine = new_limits(&spec);
	struct limits_group *g = take(mine);
	pid_t dead = t_fork();
	if (!dead) {
		struct limits *l = new_limits(&spec);
		take(l);
		_exit(0);
	}
	t_join(dead);
	t_eq(t_ok_e(limits_gc(spec.name, &e), &e), 0);
	dead = t_fork();
	if (!dead) {
		struct limits *l = new_limits(&spec);
		take(l);
		_exit(0);
	}
	t_join(dead);
	t_ok_e(limits_gc(NULL, &e), &e);
	/* mine is in use: still whole */
	pid_t pid = start_in(g, nap);
	t_sys(kill(pid, SIGKILL));
	t_wait(pid);
	limits_destroy(mine);
	t_eq(t_ok_e(limits_gc(spec.name, &e), &e), 0);
	char command[256];
	snprintf(command, sizeof(command),
		 "test -z \"$(find /sys/fs/cgroup -name '%s.*' 2>/dev/null)\"", spec.name);
	t_eq(system(command), 0);
	spec_deinit(&spec);
}

TEST(forked_keeper_can_forget_its_parents_limits)
{
	struct spec spec;
	new_spec(&spec);
	struct limits *l = new_limits(&spec);
	struct limits_group *g = take(l);
	pid_t pid = t_fork();
	if (!pid) {
		limits_forget(l);
		_exit(0);
	}
	t_join(pid);
	/* its directories are still there, and locked */
	struct err e = ERR_INIT;
	t_eq(t_ok_e(limits_gc(spec.name, &e), &e), 0);
	t_eq(t_wait(start_in(g, hog)), 0);
	limits_destroy(l);
	spec_deinit(&spec);
}

/* The n-th call fails: told, and no directory is left behind. */
static bool survives_failure(struct spec *spec, unsigned int n)
{
	struct err e = ERR_INIT;
	struct limits *l = NULL;
	struct limits_group *g;
	sys_fault_arm(n, EIO);
	int r = limits_create(spec, &l, &e);
	if (!r)
		r = limits_group_take(l, &g, &e);
	const char *call = sys_fault_fired();
	sys_fault_arm(0, 0);
	if (r && (e.code != -r || !e.cause[0]))
		t_fail("%s (call %u) failed without a cause", call, n);
	limits_destroy(l);
	char command[256];
	snprintf(command, sizeof(command),
		 "test -z \"$(find /sys/fs/cgroup -name '%s.*' 2>/dev/null)\"", spec->name);
	if (system(command))
		t_fail("%s (call %u) left a directory", call, n);
	return call;
}

TEST(every_failing_call_is_undone, .timeout_s = 120)
{
	struct spec spec;
	new_spec(&spec);
	limits_destroy(new_limits(&spec));
	unsigned int n = 1;
	while (survives_failure(&spec, n))
		n++;
	t_note("%u calls", n - 1);
	spec_deinit(&spec);
}

TEST(defaults_are_on)
{
	struct spec spec;
	new_spec(&spec);
	struct limits *l = new_limits(&spec);
	uint64_t total;
	t_ok(sys_memory_total(&total));
	t_assert(limits_memory_bytes(l) > total / 2);
	t_assert(limits_memory_bytes(l) < total);
	t_eq(limits_pids_max(l), 2048);
	t_str_eq(limits_missing(l), "");
	uint64_t start = clock_now_ns();
	struct limits_group *g = take(l);
	uint64_t first = clock_now_ns();
	limits_group_give(l, g);
	take(l);
	t_note("new group %llu us, the same again %llu us",
	       (unsigned long long)(first - start) / 1000,
	       (unsigned long long)(clock_now_ns() - first) / 1000);
	limits_destroy(l);
	spec_deinit(&spec);
}

/* The bomb in a PID namespace that is limited by its pid_max alone. */
static void bomb_in_pidns(unsigned int pid_max)
{
	pid_t pid = (pid_t)t_sys(syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0));
	if (!pid) {
		char text[16];
		snprintf(text, sizeof(text), "%u", pid_max);
		t_ok(sys_write_small(AT_FDCWD, "/proc/sys/kernel/pid_max", text));
		signal(SIGCHLD, SIG_DFL);
		int n = 0;
		while (n < 3 * (int)pid_max) {
			pid_t child = fork();
			if (child < 0)
				break;
			if (!child) {
				pause();
				_exit(0);
			}
			n++;
		}
		t_note("%d processes", n);
		_exit(n > 100 && n < (int)pid_max ? 0 : 1);
	}
	t_join(pid);
}

static void masked_as(uid_t uid)
{
	pid_t pid = t_fork();
	if (!pid) {
		struct spec spec;
		struct err e = ERR_INIT;
		new_spec(&spec);
		spec.pids_max = 500;
		if (uid)
			t_become(uid, uid);
		t_sys(setenv("MULLIGAN_MASK", "cgroup", 1));
		struct limits *l;
		t_ok_e(limits_create(&spec, &l, &e), &e);
		t_eq(limits_kind(l), LIMITS_NONE);
		t_assert(strstr(limits_missing(l), "memory"));
		struct limits_group *g = take(l);
		t_ok_e(limits_group_attach(g, getpid(), &e), &e);
		struct limits_usage u;
		t_eq(limits_group_usage(g, &u), -EOPNOTSUPP);
		t_ok_e(userns_enter(userns_needed(), &e), &e);
		if (limits_pid_max(l))
			bomb_in_pidns(limits_pid_max(l));
		else
			t_note("pid_max is global here; nproc %llu",
			       (unsigned long long)limits_nproc(l));
		limits_destroy(l);
		spec_deinit(&spec);
		_exit(0);
	}
	t_join(pid);
}

TEST(without_cgroups_processes_are_still_bounded)
{
	masked_as(0);
}

TEST(without_cgroups_processes_are_still_bounded_rootless)
{
	masked_as(1001);
}
