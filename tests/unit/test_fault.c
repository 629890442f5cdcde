#include "sys/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/harness.h"
#include "sys/proc.h"

TEST(calls_are_counted_and_pass)
{
	sys_fault_arm(0, 0);
	for (int i = 0; i < 5; i++)
		t_eq(sys_fault("any"), 0);
	t_eq(sys_fault_count(), 5);
	t_assert(!sys_fault_fired());
}

TEST(the_nth_call_fails_once)
{
	sys_fault_arm(3, ENOSPC);
	t_eq(sys_fault("one"), 0);
	t_eq(sys_fault("two"), 0);
	t_eq(sys_fault("three"), -ENOSPC);
	t_str_eq(sys_fault_fired(), "three");
	t_eq(sys_fault("four"), 0);
	t_eq(sys_fault_count(), 4);
	sys_fault_arm(0, 0);
	t_assert(!sys_fault_fired());
}

TEST(the_nth_call_of_a_name_fails_once)
{
	sys_fault_arm_only("one", 2, ENOSPC);
	t_eq(sys_fault("one"), 0);
	t_eq(sys_fault("two"), 0);
	t_eq(sys_fault("one"), -ENOSPC);
	t_eq(sys_fault("one"), 0);
	t_eq(sys_fault_count(), 3);
	sys_fault_arm(1, EIO);
	t_eq(sys_fault("two"), -EIO);
	sys_fault_arm(0, 0);
}

TEST(a_wrapper_fails_before_it_calls)
{
	sys_fault_arm(1, EMFILE);
	t_eq(sys_pidfd_open(getpid()), -EMFILE);
	t_eq(sys_fault_count(), 1);
	int fd = (int)t_ok(sys_pidfd_open(getpid()));
	close(fd);
	sys_fault_arm(0, 0);
}

/* What the process does that was started again with MULLIGAN_FAULT. */
static int started_again(void)
{
	int calls = 0;
	int r = 0;
	while (r == 0 && calls < 10) {
		r = sys_fault("call");
		calls++;
	}
	return calls * 16 + (r == -ENOSPC ? 1 : r == -EIO ? 2 :
			     r == -13 ? 3 : 0);
}

static __attribute__((constructor(65000))) void maybe_started_again(void)
{
	if (getenv("TEST_FAULT_CHILD"))
		_exit(started_again());
}

static int start_with(const char *value)
{
	pid_t pid = t_fork();
	if (pid == 0) {
		setenv("TEST_FAULT_CHILD", "1", 1);
		setenv("MULLIGAN_FAULT", value, 1);
		execl("/proc/self/exe", "test_fault", (char *)NULL);
		_exit(127);
	}
	return t_wait(pid);
}

TEST(the_environment_arms_a_new_process)
{
	t_eq(start_with("2:ENOSPC"), 2 * 16 + 1);
	t_eq(start_with("5"), 5 * 16 + 2);
	t_eq(start_with("1:13"), 1 * 16 + 3);
	t_eq(start_with("0"), 10 * 16);
	t_eq(start_with("rubbish"), 10 * 16);
}
