/* pagemap.c - PAGEMAP_SCAN and userfaultfd for the tests of their facts. */
#include "kernel/pagemap.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REQUEST_SCAN _IOWR('f', 16, struct scan)

enum { FEATURE_WP_UNPOPULATED = 1 << 13, FEATURE_WP_ASYNC = 1 << 15 };

long pagemap_scan(int fd, struct scan *s)
{
	s->size = sizeof(*s);
	return ioctl(fd, REQUEST_SCAN, s);
}

long pagemap_written(int fd, void *start, size_t len, struct page_run *runs, size_t n_runs,
		     uint64_t flags)
{
	struct scan s = {.flags = flags,
			 .start = (uintptr_t)start,
			 .end = (uintptr_t)start + len,
			 .vec = (uintptr_t)runs,
			 .vec_len = n_runs,
			 .category_mask = PAGE_WRITTEN,
			 .return_mask = PAGE_WRITTEN};
	return pagemap_scan(fd, &s);
}

int pagemap_open_self(void)
{
	struct scan s = {0};
	int fd = (int)t_sys(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
	if (pagemap_scan(fd, &s) < 0 && errno == ENOTTY)
		t_skip("no PAGEMAP_SCAN (needs Linux 6.7)");
	return fd;
}

int uffd_open(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (fd < 0)
		t_skip("userfaultfd: %s", strerror(errno));
	struct uffdio_api api = {.api = UFFD_API,
				 .features = FEATURE_WP_ASYNC | FEATURE_WP_UNPOPULATED};
	if (ioctl(fd, UFFDIO_API, &api) < 0)
		t_skip("no asynchronous write protection (needs Linux 6.7)");
	return fd;
}

int uffd_register(int fd, void *start, size_t len)
{
	struct uffdio_register r = {.range = {(uintptr_t)start, len},
				    .mode = UFFDIO_REGISTER_MODE_WP};
	return ioctl(fd, UFFDIO_REGISTER, &r);
}

int uffd_protect(int fd, void *start, size_t len)
{
	struct uffdio_writeprotect w = {.range = {(uintptr_t)start, len},
					.mode = UFFDIO_WRITEPROTECT_MODE_WP};
	return ioctl(fd, UFFDIO_WRITEPROTECT, &w);
}
