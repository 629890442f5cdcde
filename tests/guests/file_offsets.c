/* Offsets and flags: shared by dup and fork, not by a second open. */
#include "guest.h"

#include <fcntl.h>
#include <sys/wait.h>

int main(int argc, char **argv)
{
	int status;
	char text[8] = "";
	guest_start(argc, argv);
	int fd = (int)guest_sys(open("offsets", O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0640));
	guest_eq(write(fd, "0123456789abcdef", 16), 16);
	int same = dup2(fd, 40);
	int own = (int)guest_sys(open("offsets", O_RDONLY | O_NONBLOCK | O_NOATIME));
	int path = (int)guest_sys(open("offsets", O_PATH));
	int writer = (int)guest_sys(open("offsets", O_WRONLY));
	guest_eq(lseek(fd, 4, SEEK_SET), 4);
	guest_eq(lseek(own, 9, SEEK_SET), 9);
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) {
		guest_wait_go();
		guest_eq(lseek(same, 2, SEEK_CUR), 6);
		guest_eq(lseek(own, 1, SEEK_CUR), 10);
		close(own);
		own = (int)guest_sys(open("offsets", O_RDONLY));
		_exit(lseek(own, 0, SEEK_CUR) != 0);
	}
	guest_ready();
	guest_wait_go();
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
	guest_eq(lseek(fd, 0, SEEK_CUR), 6);
	guest_eq(lseek(40, 1, SEEK_CUR), 7);
	guest_eq(lseek(own, 0, SEEK_CUR), 10);
	guest_eq(read(fd, text, 3), 3);
	guest_check(memcmp(text, "789", 3) == 0);
	guest_eq(pwrite(writer, "X", 1, 0), 1);
	guest_eq(pread(own, text, 1, 0), 1);
	guest_eq(text[0], 'X');
	guest_eq(read(writer, text, 1), -1);
	guest_eq(errno, EBADF);
	guest_eq(read(path, text, 1), -1);
	guest_eq(errno, EBADF);
	guest_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	guest_eq(fcntl(same, F_GETFD), 0);
	guest_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
	guest_eq(fcntl(own, F_GETFL) & (O_ACCMODE | O_NONBLOCK | O_NOATIME),
		 O_RDONLY | O_NONBLOCK | O_NOATIME);
	guest_eq(fcntl(path, F_GETFL) & O_PATH, O_PATH);
	return 0;
}
