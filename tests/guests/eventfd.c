/* Event counters, plain and semaphore, shared with a child that blocks on one. */
#include "guest.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

int main(int argc, char **argv)
{
	uint64_t value;
	int status;
	guest_start(argc, argv);
	int plain = (int)guest_sys(eventfd(41, EFD_NONBLOCK));
	int semaphore = (int)guest_sys(eventfd(3, EFD_SEMAPHORE | EFD_CLOEXEC));
	int bell = (int)guest_sys(eventfd(0, 0));
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) {
		guest_eq(read(bell, &value, 8), 8);
		guest_eq(value, 5);
		value = 1;
		guest_eq(write(plain, &value, 8), 8);
		_exit(0);
	}
	guest_sleep_ms(20);
	guest_ready();
	guest_wait_go();
	value = 5;
	guest_eq(write(bell, &value, 8), 8);
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
	guest_eq(read(plain, &value, 8), 8);
	guest_eq(value, 42);
	guest_eq(read(plain, &value, 8), -1);
	guest_eq(errno, EAGAIN);
	for (int i = 0; i < 3; i++) {
		guest_eq(read(semaphore, &value, 8), 8);
		guest_eq(value, 1);
	}
	guest_eq(fcntl(semaphore, F_GETFD), FD_CLOEXEC);
	guest_sys(fcntl(semaphore, F_SETFL, O_NONBLOCK));
	guest_eq(read(semaphore, &value, 8), -1);
	return 0;
}
