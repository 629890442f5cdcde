#include "sys/proc.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "sys/fault.h"

/* linux/nsfs.h of 6.11: translate our pid into the namespace's. */
#define NSFS_PID_IN_PIDNS _IOR(0xb7, 0x8, int)

enum { IOV_BATCH = 256 };	/* ranges a call; the kernel takes 1024 */

static int sys_return(long r)
{
	return r < 0 ? -errno : (int)r;
}

int sys_pidfd_open(pid_t pid)
{
	int r = sys_fault("pidfd_open");
	if (r)
		return r;
	return sys_return(syscall(SYS_pidfd_open, pid, 0));
}

int sys_pidfd_getfd(int pidfd, int fd)
{
	int r = sys_fault("pidfd_getfd");
	if (r)
		return r;
	return sys_return(syscall(SYS_pidfd_getfd, pidfd, fd, 0));
}

/* struct pidfd_info of linux/pidfd.h as it was first, 6.13; exits since 6.15. */
struct exit_info {
	uint64_t mask, cgroup;
	uint32_t ids[11];
	int32_t exit_code;
};
#define GET_INFO _IOWR(0xff, 11, struct exit_info)
enum { INFO_EXIT = 8 };

int sys_pidfd_exit_status(int pidfd, int *status)
{
	int r = sys_fault("ioctl PIDFD_GET_INFO");
	if (r)
		return r;
	struct exit_info info = { .mask = INFO_EXIT };
	if (ioctl(pidfd, GET_INFO, &info))
		return errno == ENOTTY || errno == EINVAL || errno == ESRCH ? -EOPNOTSUPP : -errno;
	if (!(info.mask & INFO_EXIT))
		return -EOPNOTSUPP;
	*status = info.exit_code;
	return 0;
}

int sys_pidfd_send_signal(int pidfd, int sig)
{
	int r = sys_fault("pidfd_send_signal");
	if (r)
		return r;
	return sys_return(syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0));
}

int sys_pidfd_wait(int pidfd, int timeout_ms)
{
	int r = sys_fault("poll");
	if (r)
		return r;
	struct pollfd poll_fd = { .fd = pidfd, .events = POLLIN };
	return sys_return(poll(&poll_fd, 1, timeout_ms));
}

int sys_kcmp(pid_t a, pid_t b, enum sys_kcmp what, unsigned long ia,
	     unsigned long ib)
{
	int r = sys_fault("kcmp");
	if (r)
		return r;
	return sys_return(syscall(SYS_kcmp, a, b, what, ia, ib));
}

int sys_kcmp_epoll(pid_t pid, int fd, const struct sys_epoll_slot *slot, pid_t epoll_pid)
{
	int r = sys_fault("kcmp");
	if (r)
		return r;
	/* struct kcmp_epoll_slot, linux/kcmp.h */
	uint32_t where[3] = { (uint32_t)slot->epoll_fd, (uint32_t)slot->number, slot->nth };
	return sys_return(syscall(SYS_kcmp, pid, epoll_pid, 7 /* KCMP_EPOLL_TFD */, fd, where));
}

int sys_prlimit(pid_t pid, int resource, const struct rlimit *set,
		struct rlimit *get)
{
	int r = sys_fault("prlimit");
	if (r)
		return r;
	return sys_return(prlimit(pid, resource, set, get));
}

int sys_vm_read(pid_t pid, uint64_t remote, void *local, size_t len)
{
	return sys_vm_readv(
		pid, &(struct sys_vm_range){ remote, local, len }, 1);
}

int sys_vm_write(pid_t pid, uint64_t remote, const void *local, size_t len)
{
	int r = sys_fault("process_vm_writev");
	if (r)
		return r;
	size_t done = 0;
	while (done < len) {
		struct iovec from = { (char *)local + done, len - done };
		struct iovec to = { (void *)(remote + done), len - done };
		ssize_t n = process_vm_writev(pid, &from, 1, &to, 1, 0);
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EFAULT;
		done += (size_t)n;
	}
	return 0;
}

/* A short count means that the next page of `from` could not be read. */
static int vm_read_batch(pid_t pid, struct iovec *to, struct iovec *from,
			 size_t n)
{
	size_t want = 0;
	for (size_t i = 0; i < n; i++)
		want += to[i].iov_len;
	ssize_t got = process_vm_readv(pid, to, n, from, n, 0);
	if (got < 0)
		return -errno;
	if ((size_t)got == want)
		return 0;
	/* calls are cut at 2 GB (MAX_RW_COUNT): go on behind that */
	if (got < INT_MAX - 4096)
		return -EFAULT;
	while (n && (size_t)got >= to->iov_len) {
		got -= (ssize_t)to->iov_len;
		to++, from++, n--;
	}
	to->iov_base = (char *)to->iov_base + got;
	to->iov_len -= (size_t)got;
	from->iov_base = (char *)from->iov_base + got;
	from->iov_len -= (size_t)got;
	return vm_read_batch(pid, to, from, n);
}

int sys_vm_readv(pid_t pid, const struct sys_vm_range *range, size_t n)
{
	int r = sys_fault("process_vm_readv");
	if (r)
		return r;
	struct iovec to[IOV_BATCH], from[IOV_BATCH];
	while (n) {
		size_t batch = n < IOV_BATCH ? n : IOV_BATCH;
		for (size_t i = 0; i < batch; i++) {
			to[i] = (struct iovec){ range[i].local, range[i].len };
			from[i] = (struct iovec){ (void *)range[i].remote,
						  range[i].len };
		}
		r = vm_read_batch(pid, to, from, batch);
		if (r)
			return r;
		range += batch;
		n -= batch;
	}
	return 0;
}

int sys_get_robust_list(pid_t tid, uint64_t *head, uint64_t *len)
{
	int r = sys_fault("get_robust_list");
	if (r)
		return r;
	return sys_return(syscall(SYS_get_robust_list, tid, head, len));
}

int sys_tgkill(pid_t pid, pid_t tid, int sig)
{
	int r = sys_fault("tgkill");
	if (r)
		return r;
	return sys_return(syscall(SYS_tgkill, pid, tid, sig));
}

int sys_pid_in_pidns(int ns_fd, pid_t tid)
{
	int r = sys_fault("ioctl(NS_GET_PID_IN_PIDNS)");
	if (r)
		return r;
	return sys_return(ioctl(ns_fd, NSFS_PID_IN_PIDNS, tid));
}
