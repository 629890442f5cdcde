/* After the wait, the ordinary life of a program: fork, exec, threads, pipes. */
#include "guest.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

static void *square(void *arg)
{
	uintptr_t n = (uintptr_t)arg;
	return (void *)(n * n);
}

int main(int argc, char **argv)
{
	char line[64];
	pthread_t thread;
	void *result;
	guest_start(argc, argv);
	guest_ready();
	guest_wait_go();
	for (int i = 0; i < 3; i++) {
		FILE *f = popen("echo one; echo two | tr a-z A-Z; exit 3", "r");
		guest_check(f && fgets(line, sizeof(line), f) && strcmp(line, "one\n") == 0);
		guest_check(fgets(line, sizeof(line), f) && strcmp(line, "TWO\n") == 0);
		int status = pclose(f);
		guest_check(WIFEXITED(status) && WEXITSTATUS(status) == 3);
	}
	guest_eq(pthread_create(&thread, NULL, square, (void *)12), 0);
	guest_eq(pthread_join(thread, &result), 0);
	guest_eq((uintptr_t)result, 144);
	char *const args[] = {"sh", "-c", "exit 0", NULL};
	execv("/bin/sh", args);
	guest_bad("execv: %s", strerror(errno));
}
