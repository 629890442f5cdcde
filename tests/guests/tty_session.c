/*
 * A session with a controlling terminal: a leader, a foreground group that
 * blocks in read(2), a group in the background, one that gave the terminal up.
 */
#include "guest.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <termios.h>

static volatile sig_atomic_t interrupts, hangups, sizes;

static void on_signal(int sig)
{
	interrupts += sig == SIGINT;
	hangups += sig == SIGHUP || sig == SIGCONT;
	sizes += sig == SIGWINCH;
}

struct told {
	int tty_nr, tpgid, pgrp, sid;
};

static struct told stat_of(pid_t pid)
{
	char path[64];
	struct told t = { 0 };
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	FILE *f = fopen(path, "re");
	guest_check(f && fscanf(f, "%*d (%*[^)]) %*c %*d %d %d %d %d", &t.pgrp, &t.sid, &t.tty_nr,
				&t.tpgid) == 4);
	fclose(f);
	return t;
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	for (int sig = 1; sig < 32; sig++)
		if (sig == SIGINT || sig == SIGHUP || sig == SIGCONT || sig == SIGWINCH)
			guest_sys(sigaction(sig, &action, NULL));
}

/* Reads lines from the terminal and says to the pipe what it read. */
static void __attribute__((noreturn)) foreground(int tty, int tell)
{
	char line[64];
	while (tcgetpgrp(tty) != getpgrp())
		guest_sleep_ms(1);
	for (;;) {
		ssize_t n = read(tty, line, sizeof(line) - 1);
		guest_check(n > 0);
		line[n] = 0;
		if (!strcmp(line, "signals\n"))
			n = snprintf(line, sizeof(line), "%d %d %d\n", interrupts, hangups, sizes);
		guest_eq(write(tell, line, (size_t)n), n);
		if (!strcmp(line, "end\n"))
			_exit(5);
	}
}

static pid_t in_group(void (*run)(int, int), int a, int b)
{
	pid_t pid = (pid_t)guest_sys(fork());
	if (pid == 0) {
		setpgid(0, 0);
		run(a, b);
	}
	setpgid(pid, pid);
	return pid;
}

static void background(int tty, int give_up)
{
	if (give_up)
		guest_sys(ioctl(tty, TIOCNOTTY));
	for (;;)
		pause();
}

static void __attribute__((noreturn)) leader(const char *slave, int tell, pid_t *pids)
{
	guest_sys(setsid());
	int tty = (int)guest_sys(open(slave, O_RDWR));
	int current = (int)guest_sys(open("/dev/tty", O_RDWR));
	signal(SIGTTOU, SIG_IGN);
	pids[1] = in_group(background, tty, 0);
	pids[2] = in_group(background, tty, 1);
	pids[0] = in_group(foreground, current, tell);
	guest_sys(tcsetpgrp(tty, pids[0]));
	int status;
	guest_eq(waitpid(pids[0], &status, 0), pids[0]);
	guest_check(WIFEXITED(status) && WEXITSTATUS(status) == 5);
	guest_sys(tcsetpgrp(tty, getpgrp()));
	guest_sys(kill(pids[1], SIGKILL));
	guest_sys(kill(pids[2], SIGKILL));
	guest_eq(interrupts, 0);
	guest_eq(hangups, 0);
	_exit(6);
}

static void expect(int fd, const char *text)
{
	char line[64] = "";
	guest_check(read(fd, line, sizeof(line) - 1) > 0);
	if (strcmp(line, text))
		guest_bad("heard '%s', not '%s'", line, text);
}

/* Comes in pieces. */
static void hear(int master, const char *text)
{
	char heard[64] = "";
	size_t len = strlen(text), n = 0;
	while (n < len)
		n += (size_t)guest_sys(read(master, heard + n, len - n));
	if (strcmp(heard, text))
		guest_bad("heard '%s', not '%s'", heard, text);
}

static void type(int master, const char *text)
{
	guest_eq(write(master, text, strlen(text)), strlen(text));
}

int main(int argc, char **argv)
{
	int unlock = 0, number, pipe_fds[2], status;
	char slave[32];
	guest_start(argc, argv);
	int master = (int)guest_sys(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
	guest_sys(ioctl(master, TIOCSPTLCK, &unlock));
	guest_sys(ioctl(master, TIOCGPTN, &number));
	snprintf(slave, sizeof(slave), "/dev/pts/%d", number);
	guest_sys(pipe(pipe_fds));
	pid_t *pids = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	guest_check(pids != MAP_FAILED);
	catch_signals();
	pid_t pid = (pid_t)guest_sys(fork());
	if (pid == 0)
		leader(slave, pipe_fds[1], pids);
	type(master, "first\n");
	expect(pipe_fds[0], "first\n");
	guest_sleep_ms(20);
	guest_ready();
	guest_wait_go();

	int dev = (136 << 8) + number;
	struct told t = stat_of(pid);
	guest_eq(t.tty_nr, dev);
	guest_eq(t.tpgid, pids[0]);
	guest_eq(stat_of(pids[0]).tty_nr, dev);
	guest_eq(stat_of(pids[0]).pgrp, pids[0]);
	guest_eq(stat_of(pids[0]).sid, pid);
	guest_eq(stat_of(pids[1]).tty_nr, dev);
	guest_eq(stat_of(pids[1]).tpgid, pids[0]);
	guest_eq(stat_of(pids[2]).tty_nr, 0);
	guest_eq(stat_of(pids[2]).sid, pid);
	pid_t group;
	guest_sys(ioctl(master, TIOCGPGRP, &group));
	guest_eq(group, pids[0]);
	guest_sys(ioctl(master, TIOCGSID, &group));
	guest_eq(group, pid);
	char link[64] = "", path[64];
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pids[0], pipe_fds[1] + 2);
	guest_check(readlink(path, link, sizeof(link) - 1) > 0);
	if (strcmp(link, "/dev/tty"))
		guest_bad("%s is %s", path, link);

	type(master, "second\n");
	expect(pipe_fds[0], "second\n");
	/* ^C, and the leader's end, drop what is still on its way to the master */
	hear(master, "first\r\nsecond\r\n");
	type(master, "\x03signals\n");
	expect(pipe_fds[0], "1 0 0\n");
	struct winsize size = { 10, 20, 0, 0 };
	guest_sys(ioctl(master, TIOCSWINSZ, &size));
	type(master, "signals\n");
	expect(pipe_fds[0], "1 0 1\n");
	type(master, "end");
	hear(master, "^Csignals\r\nsignals\r\nend");
	type(master, "\n");
	expect(pipe_fds[0], "end\n");
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_check(WIFEXITED(status) && WEXITSTATUS(status) == 6);
	return 0;
}
