/*
 * confine_calls.c - which system calls the default filter lets through.
 *
 * An allow list: what is in none of these tables answers ENOSYS, as an older
 * kernel would, so that programs fall back. That covers calls newer than this
 * list, and these, on purpose:
 *	clone3			its flags lie in memory; libc falls back to clone
 *	io_uring_*, io_*	rings cannot be checkpointed; callers fall back
 *	landlock_*, memfd_secret, mseal, modify_ldt, pkey_*
 *				state that cannot be read back or restored
 *	mq_*			queues outlive their processes, and no file of
 *				/proc tells of them
 * Calls that are refused because they are dangerous answer EPERM, which is
 * what they answer without the privilege.
 */
#include "sandbox/confine_internal.h"

#include <fcntl.h>
#include <seccomp.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define C(name) SCMP_SYS(name)

/* clang-format off */

const int confine_allowed[] = {
	/* files */
	C(access), C(chdir), C(chmod), C(chown), C(chroot), C(close),
	C(close_range), C(copy_file_range), C(creat), C(dup), C(dup2), C(dup3),
	C(faccessat), C(faccessat2), C(fadvise64), C(fallocate), C(fchdir),
	C(fchmod), C(fchmodat), C(fchown), C(fchownat), C(fcntl), C(fdatasync),
	C(fgetxattr), C(flistxattr), C(flock), C(fremovexattr), C(fsetxattr),
	C(fstat), C(fstatfs), C(fsync), C(ftruncate), C(futimesat), C(getcwd),
	C(getdents), C(getdents64), C(getxattr), C(ioctl), C(lchown),
	C(lgetxattr), C(link), C(linkat), C(listxattr), C(llistxattr),
	C(lremovexattr), C(lseek), C(lsetxattr), C(lstat), C(mkdir),
	C(mkdirat), C(mknod), C(mknodat), C(name_to_handle_at), C(newfstatat),
	C(open), C(openat), C(openat2), C(pread64), C(preadv), C(preadv2),
	C(pwrite64), C(pwritev), C(pwritev2), C(read), C(readahead),
	C(readlink), C(readlinkat), C(readv), C(removexattr), C(rename),
	C(renameat), C(renameat2), C(rmdir), C(sendfile), C(setxattr),
	C(splice), C(stat), C(statfs), C(statx), C(symlink), C(symlinkat),
	C(sync), C(sync_file_range), C(syncfs), C(tee), C(truncate), C(umask),
	C(unlink), C(unlinkat), C(utime), C(utimensat), C(utimes),
	C(vmsplice), C(write), C(writev),
	/* waiting and events */
	C(epoll_create), C(epoll_create1), C(epoll_ctl), C(epoll_ctl_old),
	C(epoll_pwait), C(epoll_pwait2), C(epoll_wait), C(epoll_wait_old),
	C(eventfd), C(eventfd2), C(inotify_add_watch), C(inotify_init),
	C(inotify_init1), C(inotify_rm_watch), C(pipe), C(pipe2), C(poll),
	C(ppoll), C(pselect6), C(select), C(signalfd), C(signalfd4),
	C(timerfd_create), C(timerfd_gettime), C(timerfd_settime),
	/* memory */
	C(brk), C(madvise), C(membarrier), C(memfd_create), C(mincore),
	C(mlock), C(mlock2), C(mlockall), C(mmap), C(mprotect), C(mremap),
	C(msync), C(munlock), C(munlockall), C(munmap), C(process_madvise),
	C(process_mrelease), C(remap_file_pages),
	/* processes and threads */
	C(arch_prctl), C(capget), C(capset), C(execve), C(execveat), C(exit),
	C(exit_group), C(fork), C(futex), C(futex_waitv), C(get_robust_list),
	C(get_thread_area), C(getegid), C(geteuid), C(getgid), C(getgroups),
	C(getpgid), C(getpgrp), C(getpid), C(getppid), C(getpriority),
	C(getresgid), C(getresuid), C(getrlimit), C(getrusage), C(getsid),
	C(gettid), C(getuid), C(ioprio_get), C(ioprio_set), C(kcmp), C(kill),
	C(pidfd_getfd), C(pidfd_open), C(pidfd_send_signal), C(prctl),
	C(prlimit64), C(process_vm_readv), C(process_vm_writev), C(ptrace),
	C(restart_syscall), C(rseq), C(seccomp), C(set_robust_list),
	C(set_thread_area), C(set_tid_address), C(setfsgid), C(setfsuid),
	C(setgid), C(setgroups), C(setpgid), C(setpriority), C(setregid),
	C(setresgid), C(setresuid), C(setreuid), C(setrlimit), C(setsid),
	C(setuid), C(tgkill), C(times), C(tkill), C(uname), C(vfork),
	C(wait4), C(waitid),
	/* scheduling */
	C(getcpu), C(sched_get_priority_max), C(sched_get_priority_min),
	C(sched_getaffinity), C(sched_getattr), C(sched_getparam),
	C(sched_getscheduler), C(sched_rr_get_interval),
	C(sched_setaffinity), C(sched_setattr), C(sched_setparam),
	C(sched_setscheduler), C(sched_yield),
	/* signals */
	C(pause), C(rt_sigaction), C(rt_sigpending), C(rt_sigprocmask),
	C(rt_sigqueueinfo), C(rt_sigreturn), C(rt_sigsuspend),
	C(rt_sigtimedwait), C(rt_tgsigqueueinfo), C(sigaltstack),
	/* time */
	C(adjtimex), C(alarm), C(clock_adjtime), C(clock_getres),
	C(clock_gettime), C(clock_nanosleep), C(getitimer), C(gettimeofday),
	C(nanosleep), C(setitimer), C(time), C(timer_create),
	C(timer_delete), C(timer_getoverrun), C(timer_gettime),
	C(timer_settime),
	/* sockets; families are looked at before this list */
	C(accept), C(accept4), C(bind), C(connect), C(getpeername),
	C(getsockname), C(getsockopt), C(listen), C(recvfrom), C(recvmmsg),
	C(recvmsg), C(sendmmsg), C(sendmsg), C(sendto), C(setsockopt),
	C(shutdown), C(socket), C(socketpair),
	/* System V IPC */
	C(msgctl), C(msgget), C(msgrcv),
	C(msgsnd), C(semctl), C(semget), C(semop), C(semtimedop), C(shmat),
	C(shmctl), C(shmdt), C(shmget),
	/* the machine */
	C(getrandom), C(sysinfo),
};
const size_t confine_n_allowed = sizeof(confine_allowed) / sizeof(int);

const int confine_refused[] = {
	/* the mount family, and namespaces */
	C(mount), C(umount2), C(pivot_root), C(open_tree), C(move_mount),
	C(fsopen), C(fsconfig), C(fsmount), C(fspick), C(mount_setattr),
	C(setns), C(unshare), C(sethostname), C(setdomainname),
	/* the kernel and the machine */
	C(acct), C(bpf), C(clock_settime), C(delete_module), C(fanotify_init),
	C(fanotify_mark), C(finit_module), C(init_module), C(ioperm), C(iopl),
	C(kexec_file_load), C(kexec_load), C(lookup_dcookie),
	C(perf_event_open), C(quotactl), C(quotactl_fd), C(reboot),
	C(settimeofday), C(swapoff), C(swapon), C(syslog), C(vhangup),
	/* what has no namespace */
	C(add_key), C(keyctl), C(request_key), C(open_by_handle_at),
	/* where memory lies: hints that a restore would lose */
	C(get_mempolicy), C(mbind), C(migrate_pages), C(move_pages),
	C(set_mempolicy),
};
/* clang-format on */
const size_t confine_n_refused = sizeof(confine_refused) / sizeof(int);

enum { USER_MODE_ONLY = 1 }; /* UFFD_USER_MODE_ONLY, Linux 5.11 */

#define P(name, ...)                                                                               \
	{                                                                                          \
#name, SYS_##name,                                                                 \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}
/* clang-format off */
const struct confine_call confine_puppet_calls[] = {
	P(arch_prctl, 0x1003),
	P(brk, 0),
	P(close, 3),
	P(close_range, 3, ~0u),
	P(dup3, 3, 4, O_CLOEXEC),
	P(exit, 0),
	P(exit_group, 0),
	P(fchdir, 3),
	P(fcntl, 3, F_GETFL),
	P(flock, 3),
	P(futex, 0),
	P(get_robust_list, 0),
	P(getitimer, 0),
	P(getpid, 0),
	P(getsockopt, 3),
	P(gettid, 0),
	P(ioctl, 3, 0x541b),
	P(lseek, 3),
	P(madvise, 0, 4096, 4),
	P(mincore, 0, 4096),
	P(mmap, 0, 4096, 3, 0x22, ~0u),
	P(mprotect, 0, 4096, 1),
	P(mremap, 0, 4096, 4096, 3),
	P(munmap, 0, 4096),
	P(prctl, 15),
	P(pread64, 3),
	P(process_vm_readv, 1),
	P(pwrite64, 3),
	P(read, 3),
	P(recvmsg, 3),
	P(rseq, 0),
	P(rt_sigaction, 1),
	P(rt_sigprocmask, 0),
	P(rt_sigreturn, 0),
	P(sendmsg, 3),
	P(set_robust_list, 0),
	P(setitimer, 0),
	P(sigaltstack, 0),
	P(socketpair, AF_UNIX),
	P(timer_create, 0),
	P(timer_delete, 0),
	P(timer_getoverrun, 0),
	P(timer_gettime, 0),
	P(timer_settime, 0),
	P(umask, 0),
	P(userfaultfd, USER_MODE_ONLY | O_CLOEXEC | O_NONBLOCK),
	P(write, 3),
};
/* clang-format on */
const size_t confine_n_puppet_calls = sizeof(confine_puppet_calls) / sizeof(*confine_puppet_calls);
