#include "sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/fault.h"

static long result(long r)
{
	return r < 0 ? -errno : r;
}

int sys_memfd(const char *name, unsigned int flags)
{
	int r = sys_fault("memfd_create");
	return r ? r : (int)result(memfd_create(name, MFD_CLOEXEC | flags));
}

int sys_ftruncate(int fd, uint64_t len)
{
	int r = sys_fault("ftruncate");
	return r ? r : (int)result(ftruncate(fd, (off_t)len));
}

int64_t sys_lseek(int fd, int64_t offset, int whence)
{
	int r = sys_fault("lseek");
	return r ? r : result(lseek(fd, offset, whence));
}

ssize_t sys_read(int fd, void *bytes, size_t len)
{
	int r = sys_fault("read");
	return r ? r : result(read(fd, bytes, len));
}

ssize_t sys_write(int fd, const void *bytes, size_t len)
{
	int r = sys_fault("write");
	return r ? r : result(write(fd, bytes, len));
}

ssize_t sys_pread(int fd, void *bytes, size_t len, uint64_t at)
{
	int r = sys_fault("pread64");
	return r ? r : result(pread(fd, bytes, len, (off_t)at));
}

ssize_t sys_pwrite(int fd, const void *bytes, size_t len, uint64_t at)
{
	int r = sys_fault("pwrite64");
	return r ? r : result(pwrite(fd, bytes, len, (off_t)at));
}

int sys_fcntl(int fd, int command, long argument)
{
	int r = sys_fault("fcntl");
	return r ? r : (int)result(fcntl(fd, command, argument));
}

int sys_fcntl_lock(int fd, int command, void *lock)
{
	int r = sys_fault("fcntl(lock)");
	return r ? r : (int)result(fcntl(fd, command, lock));
}

int sys_dup(int fd)
{
	int r = sys_fault("fcntl(F_DUPFD)");
	return r ? r : (int)result(fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

int sys_pipe_with(int ends[2], int flags)
{
	int r = sys_fault("pipe2");
	return r ? r : (int)result(pipe2(ends, O_CLOEXEC | flags));
}

int sys_queued(int fd)
{
	int r = sys_fault("ioctl(FIONREAD)");
	int n = 0;
	if (!r)
		r = (int)result(ioctl(fd, FIONREAD, &n));
	return r ? r : n;
}

ssize_t sys_tee(int from, int to, size_t len)
{
	int r = sys_fault("tee");
	return r ? r : result(tee(from, to, len, SPLICE_F_NONBLOCK));
}

int sys_eventfd(int flags)
{
	int r = sys_fault("eventfd2");
	return r ? r : (int)result(eventfd(0, EFD_CLOEXEC | flags));
}

int sys_mmap(void *at, size_t len, int prot, int flags, int fd, uint64_t offset, void **out)
{
	int r = sys_fault("mmap");
	if (r)
		return r;
	void *got = mmap(at, len, prot, flags, fd, (off_t)offset);
	if (got == MAP_FAILED)
		return -errno;
	*out = got;
	return 0;
}

int sys_openat2(int dir_fd, const char *path, uint64_t flags, uint64_t resolve)
{
	int r = sys_fault("openat2");
	struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = resolve };
	return r ? r : (int)result(syscall(SYS_openat2, dir_fd, path, &how, sizeof(how)));
}

int sys_clone(uint64_t flags)
{
	int r = sys_fault("clone3");
	struct clone_args args = { .flags = flags, .exit_signal = SIGCHLD };
	return r ? r : (int)result(syscall(SYS_clone3, &args, sizeof(args)));
}
