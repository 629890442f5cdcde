#include "sys/pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "sys/fault.h"

int sys_pipe(int ends[2])
{
	int r = sys_fault("pipe2");
	if (r)
		return r;
	return pipe2(ends, O_CLOEXEC) ? -errno : 0;
}

int sys_memfd_with(const char *name, const void *bytes, size_t len)
{
	int r = sys_fault("memfd_create");
	if (r)
		return r;
	scoped_fd int fd = memfd_create(name, MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	const char *from = bytes;
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(fd, from + done, len - done, (off_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return take_fd(&fd);
}
