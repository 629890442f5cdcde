/* A stopped child stays stopped until SIGCONT, then goes on where it was. */
#include "guest.h"

#include <signal.h>
#include <sys/wait.h>

static char state_of(pid_t pid)
{
	char path[64], state = 0;
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	FILE *f = fopen(path, "re");
	guest_check(f && fscanf(f, "%*d (%*[^)]) %c", &state) == 1);
	fclose(f);
	return state;
}

static void __attribute__((noreturn)) child_main(int fd)
{
	uint64_t n = 0;
	for (;;) {
		if (write(fd, &n, sizeof(n)) != sizeof(n))
			_exit(n < 3 ? 1 : 9);
		n++;
		usleep(2000);
	}
}

int main(int argc, char **argv)
{
	int fds[2], status;
	uint64_t want = 0, n;
	guest_start(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	guest_sys(pipe(fds));
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) {
		close(fds[0]);
		child_main(fds[1]);
	}
	close(fds[1]);
	for (; want < 5; want++) {
		guest_eq(read(fds[0], &n, sizeof(n)), sizeof(n));
		guest_eq(n, want);
	}
	guest_sys(kill(pid, SIGSTOP));
	guest_eq(waitpid(pid, &status, WUNTRACED), pid);
	guest_check(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	guest_ready();
	guest_wait_go();
	guest_eq(state_of(pid), 'T');
	guest_sys(kill(pid, SIGCONT));
	guest_eq(waitpid(pid, &status, WCONTINUED), pid);
	guest_check(WIFCONTINUED(status));
	for (int i = 0; i < 5; i++, want++) {
		guest_eq(read(fds[0], &n, sizeof(n)), sizeof(n));
		guest_eq(n, want);
	}
	close(fds[0]);
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_check(WIFEXITED(status) && WEXITSTATUS(status) == 9);
	return 0;
}
