/* The small devices that every program opens. */
#include "guest.h"

#include <fcntl.h>
#include <sys/mman.h>

int main(int argc, char **argv)
{
	char bytes[64];
	guest_start(argc, argv);
	int null_fd = (int)guest_sys(open("/dev/null", O_RDWR));
	int zero_fd = (int)guest_sys(open("/dev/zero", O_RDONLY));
	int random_fd = (int)guest_sys(open("/dev/urandom", O_RDONLY | O_CLOEXEC));
	int full_fd = (int)guest_sys(open("/dev/full", O_WRONLY));
	char *mapped = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero_fd, 0);
	guest_check(mapped != MAP_FAILED);
	mapped[5] = 'x';
	guest_ready();
	guest_wait_go();
	guest_eq(write(null_fd, bytes, 64), 64);
	guest_eq(read(null_fd, bytes, 64), 0);
	guest_eq(read(zero_fd, bytes, 64), 64);
	guest_check(guest_zeros(bytes, 64));
	guest_eq(read(random_fd, bytes, 64), 64);
	guest_check(!guest_zeros(bytes, 64));
	guest_eq(write(full_fd, "x", 1), -1);
	guest_eq(errno, ENOSPC);
	guest_eq(mapped[5], 'x');
	guest_eq(mapped[4096], 0);
	guest_eq(fcntl(random_fd, F_GETFD), FD_CLOEXEC);
	return 0;
}
