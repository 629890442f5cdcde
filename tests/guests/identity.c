/* What /proc/self says of us: arguments, environment, program, auxv, ids. */
#include "guest.h"

#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

enum { LEN = 16384 };

struct text {
	char bytes[LEN];
	ssize_t len;
};

static struct text slurp(const char *path)
{
	struct text t = {.len = 0};
	int fd = (int)guest_sys(open(path, O_RDONLY | O_CLOEXEC));
	ssize_t n;
	while (t.len < LEN && (n = guest_sys(read(fd, t.bytes + t.len, (size_t)(LEN - t.len)))) > 0)
		t.len += n;
	close(fd);
	return t;
}

static const char *const files[] = {"/proc/self/cmdline", "/proc/self/environ", "/proc/self/auxv",
				    "/proc/self/comm", "/proc/self/personality"};

enum { N_FILES = sizeof(files) / sizeof(*files) };

int main(int argc, char **argv)
{
	static struct text before[N_FILES];
	char exe[512] = "", now[512] = "";
	guest_start(argc, argv);
	guest_sys(setenv("GUEST_LATE", "not in /proc", 1));
	for (int i = 0; i < N_FILES; i++)
		before[i] = slurp(files[i]);
	guest_sys(readlink("/proc/self/exe", exe, sizeof(exe) - 1));
	pid_t pid = getpid(), ppid = getppid();
	unsigned long vdso = getauxval(AT_SYSINFO_EHDR);
	guest_ready();
	guest_wait_go();
	for (int i = 0; i < N_FILES; i++) {
		static struct text t;
		t = slurp(files[i]);
		if (t.len != before[i].len || memcmp(t.bytes, before[i].bytes, (size_t)t.len))
			guest_bad("%s has changed", files[i]);
	}
	guest_sys(readlink("/proc/self/exe", now, sizeof(now) - 1));
	if (strcmp(exe, now) != 0)
		guest_bad("exe was %s and is %s", exe, now);
	guest_eq(getpid(), pid);
	guest_eq(getppid(), ppid);
	guest_eq(syscall(SYS_gettid), pid);
	guest_eq(getauxval(AT_SYSINFO_EHDR), vdso);
	guest_check(strcmp(getenv("GUEST_LATE"), "not in /proc") == 0);
	return 0;
}
