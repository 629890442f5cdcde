/*
 * harness.c - runs the registered tests of one program.
 *
 * The parent never runs test code. Per test: fork; the child leads a process
 * group, writes what it prints into a memfd and its verdict into its exit
 * status; the parent waits on a pidfd, kills the group at the time limit,
 * then kills whatever was re-parented to it. Results are TAP version 13.
 */
#include "harness/harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <ftw.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <grp.h>

#include "harness/leaks.h"

enum { REASON_BYTES = 512 };

static struct t_case *cases, **cases_end = &cases;

/* Shared with the test's process: a skip's reason, the directory it made. */
static struct shared {
	char reason[REASON_BYTES];
	char tmpdir[REASON_BYTES];
} * shared;

void t_register(struct t_case *c)
{
	*cases_end = c;
	cases_end = &c->next;
}

void t_fail_at(const char *file, int line, const char *fmt, ...)
{
	va_list ap;
	fprintf(stderr, "%s:%d: ", file, line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	fflush(NULL);
	_exit(T_FAILED);
}

void t_skip(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(shared->reason, sizeof(shared->reason), fmt, ap);
	va_end(ap);
	fflush(NULL);
	_exit(T_SKIPPED);
}

void t_note(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

pid_t t_fork(void)
{
	fflush(NULL);
	pid_t pid = fork();
	if (pid < 0)
		t_fail("fork: %s", strerror(errno));
	return pid;
}

int t_wait(pid_t pid)
{
	int status;
	while (waitpid(pid, &status, __WALL) < 0)
		if (errno != EINTR)
			t_fail("waitpid(%d): %s", pid, strerror(errno));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void t_join_at(const char *file, int line, pid_t pid)
{
	int status = t_wait(pid);
	if (status == T_SKIPPED)
		_exit(T_SKIPPED);
	if (status)
		t_fail_at(file, line, "process %d ended with %d", pid, status);
}

const char *t_tmpdir(void)
{
	if (shared->tmpdir[0])
		return shared->tmpdir;
	const char *top = getenv("TMPDIR");
	snprintf(shared->tmpdir, sizeof(shared->tmpdir), "%s/mulligan-test.XXXXXX",
		 top ? top : "/tmp");
	if (!mkdtemp(shared->tmpdir))
		t_fail("mkdtemp %s: %s", shared->tmpdir, strerror(errno));
	return shared->tmpdir;
}

void t_become(uid_t uid, gid_t gid)
{
	if (geteuid() != 0)
		return;
	if (shared->tmpdir[0])
		t_sys(chown(shared->tmpdir, uid, gid));
	t_sys(setgroups(0, NULL));
	t_sys(setresgid(gid, gid, gid));
	t_sys(setresuid(uid, uid, uid));
	/* the change of uid cleared it; /proc/self must stay readable */
	t_sys(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

void t_sleep_ms(unsigned ms)
{
	struct timespec ts = {ms / 1000, (ms % 1000) * 1000000L};
	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

static int open_up(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return type == FTW_DNR ? chmod(path, 0700) : 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

/* An overlay's work directory has mode 0: that stops ordinary users. */
static void remove_tree(const char *path)
{
	for (int i = 0; i < 4; i++) {
		nftw(path, open_up, 16, FTW_PHYS | FTW_MOUNT);
		if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0)
			return;
	}
}

/* In the child: run the test and look for what it left behind. */
static void __attribute__((noreturn)) child_run(const struct t_case *c, int out_fd)
{
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	dup2(out_fd, STDOUT_FILENO);
	dup2(out_fd, STDERR_FILENO);
	close(out_fd);
	setvbuf(stdout, NULL, _IOLBF, 0);
	/* as root: mounts of a test are its own, and so countable */
	bool own_mounts =
		unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;

	struct leaks before;
	leaks_note(&before, own_mounts);
	c->run();
	fflush(NULL);
	bool leaked = leaks_report(&before, own_mounts, !c->leaves_fds);
	leaks_free(&before);
	fflush(NULL);
	_exit(leaked ? T_FAILED : 0);
}

/* Wait until the child ends or the time is up. Returns its wait status. */
static int child_wait(pid_t pid, unsigned timeout_s, bool *timed_out)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	*timed_out = poll(&p, 1, (int)timeout_s * 1000) == 0;
	if (*timed_out) {
		kill(-pid, SIGKILL);
		kill(pid, SIGKILL);
	}
	int status = 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	close(pidfd);
	kill(-pid, SIGKILL);
	return status;
}

/* Print the captured output as TAP comments. */
static void print_output(int out_fd)
{
	lseek(out_fd, 0, SEEK_SET);
	int fd = dup(out_fd);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	if (!f)
		return;
	char line[1024];
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		printf("# %s\n", line);
	}
	fclose(f);
}

static unsigned timeout_of(const struct t_case *c)
{
	const char *slower = getenv("T_SLOWER");
	unsigned times = slower ? (unsigned)atoi(slower) : 1;
	return (c->timeout_s ? c->timeout_s : T_TIMEOUT_S) * (times ? times : 1);
}

/* Run one test and print its result. Returns whether it failed. */
static bool run_case(const struct t_case *c, unsigned number)
{
	memset(shared, 0, sizeof(*shared));
	int out_fd = memfd_create("test output", MFD_CLOEXEC);
	fflush(NULL);
	pid_t pid = fork();
	if (pid < 0 || out_fd < 0) {
		printf("Bail out! fork or memfd_create: %s\n", strerror(errno));
		exit(T_FAILED);
	}
	if (pid == 0)
		child_run(c, out_fd);

	bool timed_out;
	int status = child_wait(pid, timeout_of(c), &timed_out);
	unsigned orphans = leaks_kill_children();
	if (shared->tmpdir[0])
		remove_tree(shared->tmpdir);

	bool skipped = WIFEXITED(status) && WEXITSTATUS(status) == T_SKIPPED;
	bool failed = !skipped && (status != 0 || orphans > 0);
	printf("%s %u - %s", failed ? "not ok" : "ok", number, c->name);
	printf(skipped ? " # SKIP %s\n" : "%s\n", skipped ? shared->reason : "");
	if (timed_out)
		printf("# did not end within %u s\n", timeout_of(c));
	else if (WIFSIGNALED(status))
		printf("# killed by signal %d (%s)\n", WTERMSIG(status),
		       strsignal(WTERMSIG(status)));
	if (orphans)
		printf("# left %u process(es) running\n", orphans);
	print_output(out_fd);
	close(out_fd);
	fflush(stdout);
	return failed;
}

static bool wanted(const struct t_case *c, char *const *patterns)
{
	if (!*patterns)
		return true;
	for (; *patterns; patterns++)
		if (fnmatch(*patterns, c->name, 0) == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	char **patterns = argv + 1;
	bool list = argc > 1 && strcmp(argv[1], "-l") == 0;
	unsigned n = 0, failed = 0;

	for (struct t_case *c = cases; c; c = c->next) {
		if (list)
			printf("%s\n", c->name);
		else if (wanted(c, patterns))
			n++;
	}
	if (list)
		return 0;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		return T_FAILED;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	printf("TAP version 13\n1..%u\n", n);
	n = 0;
	for (struct t_case *c = cases; c; c = c->next)
		if (wanted(c, patterns))
			failed += run_case(c, ++n);
	return failed ? T_FAILED : 0;
}
