#include "sys/uffd.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include "sys/fault.h"
#include "sys/probe.h"

enum {
	FEATURE_WP_UNPOPULATED = 1 << 13,	/* 6.4 */
	FEATURE_WP_ASYNC = 1 << 15,		/* 6.7 */
};

bool sys_uffd_tracks(void)
{
	return sys_has(SYS_F_UFFD_WP) && sys_has(SYS_F_PAGEMAP_SCAN);
}

int sys_uffd_start(int fd)
{
	int r = sys_fault("uffd_api");
	if (r)
		return r;
	struct uffdio_api api = { .api = UFFD_API,
				  .features = FEATURE_WP_ASYNC | FEATURE_WP_UNPOPULATED };
	return ioctl(fd, UFFDIO_API, &api) ? -errno : 0;
}

int sys_uffd_register(int fd, uint64_t start, uint64_t end)
{
	int r = sys_fault("uffd_register");
	if (r)
		return r;
	struct uffdio_register reg = { .range = { start, end - start },
				       .mode = UFFDIO_REGISTER_MODE_WP };
	return ioctl(fd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

/* A page that nothing maps: the answer is ENOENT while the memory lives. */
int sys_uffd_is_alive(int fd)
{
	struct uffdio_writeprotect wp = { .range = { 65536, 4096 } };
	return ioctl(fd, UFFDIO_WRITEPROTECT, &wp) == 0 || errno != ESRCH;
}
