/* Twelve generations; a token goes down and up the tree through pipes. */
#include "guest.h"

#include <sys/wait.h>

enum { DEPTH = 12 };

/* One generation: pass tokens between the parent's pipes and the child's. */
static int generation(int depth, int in, int out)
{
	int down[2], up[2], status;
	uint64_t token, parent = (uint64_t)getppid(), mine = guest_mix(1, (uint64_t)depth);
	if (depth == DEPTH) {
		while (read(in, &token, 8) == 8) {
			token = guest_mix(token, mine);
			guest_eq(write(out, &token, 8), 8);
		}
		return parent != (uint64_t)getppid();
	}
	guest_sys(pipe(down));
	guest_sys(pipe(up));
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) {
		close(in);
		close(out);
		close(down[1]);
		close(up[0]);
		_exit(generation(depth + 1, down[0], up[1]));
	}
	close(down[0]);
	close(up[1]);
	while (read(in, &token, 8) == 8) {
		token = guest_mix(token, mine);
		guest_eq(write(down[1], &token, 8), 8);
		guest_eq(read(up[0], &token, 8), 8);
		guest_eq(write(out, &token, 8), 8);
	}
	close(down[1]);
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
	return parent != (uint64_t)getppid();
}

int main(int argc, char **argv)
{
	int down[2], up[2], status;
	uint64_t token, n = 0;
	guest_start(argc, argv);
	guest_sys(pipe(down));
	guest_sys(pipe(up));
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) {
		close(down[1]);
		close(up[0]);
		_exit(generation(1, down[0], up[1]));
	}
	close(down[0]);
	close(up[1]);
	while (!guest_go() || n < 10) {
		uint64_t want = token = n++;
		for (int i = 1; i <= DEPTH; i++)
			want = guest_mix(want, guest_mix(1, (uint64_t)i));
		guest_eq(write(down[1], &token, 8), 8);
		guest_eq(read(up[0], &token, 8), 8);
		guest_check(token == want);
		if (n == 1)
			guest_ready();
		guest_sleep_ms(1);
	}
	close(down[1]);
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
	return 0;
}
