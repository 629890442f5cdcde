/* A named pipe with bytes in it, open at both ends by two processes. */
#include "guest.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

int main(int argc, char **argv)
{
	char text[64];
	int status;
	guest_start(argc, argv);
	guest_sys(mkfifo("queue", 0600));
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) {
		int fd = (int)guest_sys(open("queue", O_WRONLY));
		guest_eq(write(fd, "before ", 7), 7);
		guest_wait_go();
		_exit(write(fd, "after", 5) != 5);
	}
	int fd = (int)guest_sys(open("queue", O_RDONLY));
	guest_sleep_ms(20);
	guest_ready();
	guest_wait_go();
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
	guest_eq(read(fd, text, sizeof(text)), 12);
	guest_check(memcmp(text, "before after", 12) == 0);
	guest_eq(read(fd, text, sizeof(text)), 0);
	/* the name still leads to the same pipe */
	int writer = (int)guest_sys(open("queue", O_WRONLY | O_NONBLOCK));
	guest_eq(write(writer, "by name", 7), 7);
	guest_eq(read(fd, text, sizeof(text)), 7);
	return 0;
}
