/* leaks.c - compares /proc before and after a test. */
#include "harness/leaks.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char *read_fds(void)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	DIR *d = opendir("/proc/self/fd");
	if (!out || !d)
		abort();
	for (struct dirent *e; (e = readdir(d));) {
		char target[PATH_MAX] = "";
		int fd = atoi(e->d_name);
		if (e->d_name[0] == '.' || fd == dirfd(d))
			continue;
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = 0;
		fprintf(out, "%d %s\n", fd, target);
	}
	closedir(d);
	fclose(out);
	return text;
}

static char *read_mounts(void)
{
	char *text = NULL, line[8192];
	size_t len;
	FILE *out = open_memstream(&text, &len);
	FILE *in = fopen("/proc/self/mountinfo", "re");
	while (out && in && fgets(line, sizeof(line), in))
		fputs(line, out);
	if (in)
		fclose(in);
	if (out)
		fclose(out);
	return text;
}

static unsigned long mount_namespace(void)
{
	struct stat st;
	return stat("/proc/self/ns/mnt", &st) < 0 ? 0 : st.st_ino;
}

void leaks_note(struct leaks *before, bool mounts)
{
	before->fds = read_fds();
	before->mounts = mounts ? read_mounts() : NULL;
	before->mount_namespace = mount_namespace();
}

void leaks_free(struct leaks *before)
{
	free(before->fds);
	free(before->mounts);
}

static bool has_line(const char *text, const char *line, size_t len)
{
	for (const char *p = text; *p;) {
		size_t n = strcspn(p, "\n");
		if (n == len && memcmp(p, line, len) == 0)
			return true;
		p += n + (p[n] == '\n');
	}
	return false;
}

/* Print the lines of now that before lacks. */
static bool report_new(const char *what, const char *before, const char *now)
{
	bool any = false;
	for (const char *p = now; *p;) {
		size_t n = strcspn(p, "\n");
		if (!has_line(before, p, n)) {
			printf("leaked %s: %.*s\n", what, (int)n, p);
			any = true;
		}
		p += n + (p[n] == '\n');
	}
	return any;
}

static bool report_children(void)
{
	siginfo_t info = {0};
	if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0)
		return false;
	if (info.si_pid)
		printf("leaked child: %d has ended and was not reaped\n", info.si_pid);
	else
		printf("leaked child: at least one still runs\n");
	return true;
}

bool leaks_report(const struct leaks *before, bool mounts, bool fds)
{
	bool leaked = report_children();
	if (fds) {
		char *now = read_fds();
		leaked |= report_new("descriptor", before->fds, now);
		free(now);
	}
	/* a test that entered another namespace leaves nothing in ours */
	if (mounts && mount_namespace() == before->mount_namespace) {
		char *now = read_mounts();
		leaked |= report_new("mount", before->mounts, now);
		free(now);
	}
	return leaked;
}

/* Send SIGKILL to the children of this process. Returns how many ran. */
static unsigned kill_children(void)
{
	char path[64];
	unsigned n = 0;
	int pid;
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	FILE *f = fopen(path, "re");
	while (f && fscanf(f, "%d", &pid) == 1) {
		siginfo_t info = {0};
		waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL);
		n += info.si_pid == 0;
		kill(pid, SIGKILL);
	}
	if (f)
		fclose(f);
	return n;
}

unsigned leaks_kill_children(void)
{
	unsigned n = 0;
	for (;;) {
		n += kill_children();
		/* the dead child's children come to us: until there are none */
		if (waitpid(-1, NULL, __WALL) < 0 && errno == ECHILD)
			return n;
	}
}
