/*
 * probe.c - the yardsticks: what this machine takes for fork+exit+wait of a
 * trivial process (F) and for fork+exec+wait of /bin/true (E). Prints one
 * JSON line each, all runs in microseconds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_us(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static double run_once(int exec)
{
	double start = now_us();
	pid_t pid = fork();
	if (pid == 0) {
		if (exec)
			execl("/bin/true", "true", (char *)NULL);
		_exit(exec);
	}
	if (pid < 0 || waitpid(pid, NULL, 0) != pid) {
		perror("fork");
		exit(1);
	}
	return now_us() - start;
}

static void run(const char *name, int exec, int n)
{
	for (int i = 0; i < 20; i++)
		run_once(exec);
	printf("{\"name\": \"%s\", \"us\": [", name);
	for (int i = 0; i < n; i++)
		printf("%s%.1f", i ? ", " : "", run_once(exec));
	puts("]}");
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 200;
	run("F", 0, n);
	run("E", 1, n);
	return 0;
}
