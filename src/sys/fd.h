/*
 * fd.h - what is done with descriptors: the calls that libc wraps, with the
 * fault seam (fault.h).
 *
 * Every function returns 0, a count or a new descriptor (close-on-exec), or
 * -errno. Interrupted reads and writes are not begun again: nothing here is
 * used on what can block.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/cleanup.h"

/* flags besides MFD_CLOEXEC. */
must_check int sys_memfd(const char *name, unsigned int flags);
must_check int sys_ftruncate(int fd, uint64_t len);
must_check int64_t sys_lseek(int fd, int64_t offset, int whence);

/* At most len bytes. */
must_check ssize_t sys_read(int fd, void *bytes, size_t len);
must_check ssize_t sys_write(int fd, const void *bytes, size_t len);
must_check ssize_t sys_pread(int fd, void *bytes, size_t len, uint64_t at);
must_check ssize_t sys_pwrite(int fd, const void *bytes, size_t len, uint64_t at);

/* For commands whose argument is a number. */
must_check int sys_fcntl(int fd, int command, long argument);
/* A record lock: F_SETLK, F_OFD_SETLK; struct flock. */
must_check int sys_fcntl_lock(int fd, int command, void *lock);

must_check int sys_dup(int fd);

/* flags besides O_CLOEXEC: O_NONBLOCK, O_DIRECT. */
must_check int sys_pipe_with(int ends[2], int flags);

/* Bytes queued in a pipe. */
must_check int sys_queued(int fd);
/* Copy what is queued in one pipe to another, without taking it. */
must_check ssize_t sys_tee(int from, int to, size_t len);

/* flags: EFD_NONBLOCK, EFD_SEMAPHORE. */
must_check int sys_eventfd(int flags);

/* Map; at NULL the kernel chooses. -errno. */
must_check int sys_mmap(void *at, size_t len, int prot, int flags, int fd, uint64_t offset,
			void **out);

/* Open as openat2(2) does; resolve: RESOLVE_*. */
must_check int sys_openat2(int dir_fd, const char *path, uint64_t flags, uint64_t resolve);

/* One process as clone3(2) makes it; 0 in the child. */
must_check int sys_clone(uint64_t flags);
