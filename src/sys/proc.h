/*
 * proc.h - system calls about other processes. All return -errno.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "base/cleanup.h"

/* Descriptor of a process (5.3), close-on-exec. ESRCH: it is gone. */
must_check int sys_pidfd_open(pid_t pid);

/* Copy of the process' descriptor fd, close-on-exec. */
must_check int sys_pidfd_getfd(int pidfd, int fd);

/* How a reaped process ended, as wait has it. -EOPNOTSUPP: before 6.15. */
must_check int sys_pidfd_exit_status(int pidfd, int *status);

/* Signal through a pidfd; ESRCH: it is gone. */
must_check int sys_pidfd_send_signal(int pidfd, int sig);

/* Sleep until the process ends. 1: it has; 0: timeout; -1 waits for ever. */
must_check int sys_pidfd_wait(int pidfd, int timeout_ms);

enum sys_kcmp {			/* values of kcmp(2) */
	SYS_KCMP_FILE = 0,
	SYS_KCMP_VM = 1,
	SYS_KCMP_FILES = 2,
	SYS_KCMP_FS = 3,
	SYS_KCMP_SIGHAND = 4,
	SYS_KCMP_IO = 5,
	SYS_KCMP_SYSVSEM = 6,
};

/*
 * Compare two tasks' objects. 0: the same, 1 or 2: less or greater in an
 * order that is fixed until the next reboot, 3: different and not orderable.
 */
must_check int sys_kcmp(pid_t a, pid_t b, enum sys_kcmp what, unsigned long ia,
			unsigned long ib);

/* What an epoll watches: the nth entry (from 0) with that number. */
struct sys_epoll_slot {
	int epoll_fd;		/* in epoll_pid */
	int number;
	unsigned int nth;
};

/*
 * Is fd of a process the description that is watched there? As sys_kcmp();
 * -ENOENT: there is no such entry. pids of this namespace.
 */
must_check int sys_kcmp_epoll(pid_t pid, int fd, const struct sys_epoll_slot *slot,
			      pid_t epoll_pid);

/* Read or set (set != NULL) a resource limit of a process. */
must_check int sys_prlimit(pid_t pid, int resource, const struct rlimit *set,
			   struct rlimit *get);

/*
 * Copy len bytes between here and a process. Whole or not at all for the
 * caller: -EFAULT when any page of it cannot be read or written.
 */
must_check int sys_vm_read(pid_t pid, uint64_t remote, void *local, size_t len);
must_check int sys_vm_write(pid_t pid, uint64_t remote, const void *local,
			    size_t len);

/* One range of sys_vm_readv(). */
struct sys_vm_range {
	uint64_t remote;
	void *local;
	size_t len;
};

/* Copy many ranges with few calls; 0, or -EFAULT if any cannot be read. */
must_check int sys_vm_readv(pid_t pid, const struct sys_vm_range *range,
			    size_t n);

/* Robust futex list of a thread: address of its head and its length. */
must_check int sys_get_robust_list(pid_t tid, uint64_t *head, uint64_t *len);

/* Signal one thread; ESRCH: it is gone. */
must_check int sys_tgkill(pid_t pid, pid_t tid, int sig);

/*
 * Number of host task tid in the PID namespace of ns_fd (a descriptor of
 * /proc/<pid>/ns/pid; 6.11). ENOTTY: this kernel cannot, read NSpid.
 */
must_check int sys_pid_in_pidns(int ns_fd, pid_t tid);
