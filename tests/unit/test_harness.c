/* The harness notices what goes wrong in a test, and nothing else. */
#include "harness/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Run one test of the victim; its output and whether it failed. */
static bool victim(const char *test, char *out, size_t len)
{
	char command[512];
	const char *path = getenv("HARNESS_VICTIM");
	if (!path)
		t_skip("HARNESS_VICTIM does not name the victim program");
	snprintf(command, sizeof(command), "'%s' %s", path, test);
	fflush(NULL);
	FILE *f = popen(command, "re");
	t_assert(f);
	size_t n = fread(out, 1, len - 1, f);
	out[n] = 0;
	return pclose(f) != 0;
}

static void expect(const char *test, bool fails, const char *words)
{
	char out[4096];
	t_eq(victim(test, out, sizeof(out)), fails);
	if (!strstr(out, words))
		t_fail("'%s' is not in:\n%s", words, out);
}

TEST(passing_test_is_ok)
{
	expect("passes", false, "ok 1 - passes\n");
	expect("uses_tmpdir", false, "ok 1 - uses_tmpdir\n");
}

TEST(failed_check_says_values)
{
	expect("fails", true, "1 + 1 is 2, not 3 (3)");
	expect("fails_in_a_child", true, "not true: false");
}

TEST(skip_gives_its_reason)
{
	expect("skips", false, "# SKIP no moon here");
}

TEST(crash_is_a_failure)
{
	expect("crashes", true, "killed by signal 11");
}

TEST(hang_is_killed_with_its_descendants)
{
	expect("hangs", true, "did not end within 1 s");
}

TEST(leaks_are_failures)
{
	expect("leaks_fd", true, "leaked descriptor: 3 /dev/null");
	expect("leaks_zombie", true, "leaked child");
	expect("leaks_daemon", true, "leaked child: at least one still runs");
}

TEST(leaked_mount_is_a_failure)
{
	if (geteuid() != 0)
		t_skip("mounts need root");
	expect("leaks_mount", true, "leaked mount");
}

TEST(patterns_choose_tests)
{
	char out[4096];
	t_eq(victim("'pas*' 'uses_*'", out, sizeof(out)), false);
	t_assert(strstr(out, "1..2\nok 1 - passes\nok 2 - uses_tmpdir\n"));
}
