/* Two processes append to one log; every line is there once and in order. */
#include "guest.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Append numbered lines until told to stop; how many. */
static unsigned append_lines(int fd, unsigned who)
{
	char line[32];
	unsigned n = 0;
	for (; !guest_go() || n < 10; n++) {
		int len = snprintf(line, sizeof(line), "%u %08u\n", who, n);
		guest_eq(write(fd, line, (size_t)len), len);
		guest_sleep_ms(1);
	}
	return n;
}

int main(int argc, char **argv)
{
	int up[2];
	unsigned lines[2], seen[2] = {0, 0}, who, n;
	struct stat by_fd, by_name;
	guest_start(argc, argv);
	guest_sys(pipe(up));
	int fd = (int)guest_sys(open("log", O_CREAT | O_WRONLY | O_APPEND | O_TRUNC, 0644));
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) {
		close(fd);
		fd = (int)guest_sys(open("log", O_WRONLY | O_APPEND));
		n = append_lines(fd, 1);
		_exit(write(up[1], &n, sizeof(n)) != sizeof(n));
	}
	guest_ready();
	lines[0] = append_lines(fd, 0);
	guest_eq(read(up[0], &lines[1], sizeof(n)), sizeof(n));
	guest_eq(waitpid(pid, NULL, 0), pid);
	guest_eq(fcntl(fd, F_GETFL) & (O_APPEND | O_ACCMODE), O_APPEND | O_WRONLY);
	guest_sys(fstat(fd, &by_fd));
	guest_sys(stat("log", &by_name));
	guest_eq(by_fd.st_ino, by_name.st_ino);
	guest_eq(by_fd.st_dev, by_name.st_dev);
	guest_eq(by_fd.st_size, (lines[0] + lines[1]) * 11);
	FILE *f = fopen("log", "re");
	while (fscanf(f, "%u %u\n", &who, &n) == 2) {
		guest_check(who < 2);
		guest_eq(n, seen[who]);
		seen[who]++;
	}
	fclose(f);
	guest_eq(seen[0], lines[0]);
	guest_eq(seen[1], lines[1]);
	return 0;
}
