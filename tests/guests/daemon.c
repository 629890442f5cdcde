/* A daemon, forked twice: its parent is the first process, it goes on working. */
#include "guest.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

static void __attribute__((noreturn)) daemon_main(void)
{
	char text[64];
	pid_t self = getpid(), sid = getsid(0), parent = getppid();
	for (unsigned n = 0;; n++) {
		guest_check(getpid() == self && getsid(0) == sid && getppid() == parent);
		int fd = open("beat.new", O_CREAT | O_WRONLY | O_TRUNC, 0644);
		guest_check(fd >= 0);
		int len = snprintf(text, sizeof(text), "%d %u\n", self, n);
		guest_eq(write(fd, text, (size_t)len), len);
		close(fd);
		guest_sys(rename("beat.new", "beat"));
		guest_sleep_ms(5);
	}
}

static unsigned beat(pid_t *pid)
{
	unsigned n = 0;
	FILE *f = fopen("beat", "re");
	if (!f)
		return 0;
	guest_eq(fscanf(f, "%d %u", pid, &n), 2);
	fclose(f);
	return n;
}

static pid_t parent_of(pid_t pid)
{
	char path[64];
	pid_t ppid = -1;
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	FILE *f = fopen(path, "re");
	guest_check(f && fscanf(f, "%*d (%*[^)]) %*c %d", &ppid) == 1);
	fclose(f);
	return ppid;
}

int main(int argc, char **argv)
{
	pid_t pid = 0, now;
	guest_start(argc, argv);
	if (fork() == 0) {
		setsid();
		if (fork() == 0) {
			/* the first parent must be gone before we look at it */
			guest_sleep_ms(20);
			daemon_main();
		}
		_exit(0);
	}
	while (beat(&pid) < 3)
		guest_sleep_ms(2);
	pid_t parent = parent_of(pid);
	guest_ready();
	guest_wait_go();
	guest_eq(parent_of(pid), parent);
	unsigned first = beat(&now);
	guest_eq(now, pid);
	for (int i = 0; beat(&now) < first + 5; i++) {
		guest_check(i < 1000);
		guest_sleep_ms(5);
	}
	guest_eq(now, pid);
	guest_sys(kill(pid, SIGKILL));
	return 0;
}
