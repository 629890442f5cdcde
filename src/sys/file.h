/*
 * file.h - the file system calls that need care: exchange, reflink, bounded
 * lookup, attributes.
 *
 * Every function returns 0, a count or a new descriptor (close-on-exec), or
 * -errno.
 */
#pragma once

/* This name hides libc's header, so it comes along with it. */
#include_next <sys/file.h>

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/cleanup.h"

must_check int sys_openat(int dir_fd, const char *path, int flags, mode_t mode);

/*
 * Open path below dir_fd and nowhere else: no symbolic link, no "..", no
 * other mount is followed (openat2, Linux 5.6). O_NOFOLLOW is implied.
 */
must_check int sys_open_beneath(int dir_fd, const char *path, int flags, mode_t mode);

must_check int sys_mkdirat(int dir_fd, const char *path, mode_t mode);
must_check int sys_unlinkat(int dir_fd, const char *path, int flags);
must_check int sys_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
must_check int sys_symlinkat(const char *text, int dir_fd, const char *path);
/* Text of a symbolic link, NUL-terminated and malloced. */
must_check int sys_readlinkat(int dir_fd, const char *path, char **text);
must_check int sys_mknodat(int dir_fd, const char *path, mode_t mode, dev_t dev);

/* flags: RENAME_NOREPLACE, RENAME_EXCHANGE, 0. */
must_check int sys_renameat2(int from_fd, const char *from, int to_fd, const char *to,
			     unsigned int flags);

must_check int sys_fstatat(int dir_fd, const char *path, struct stat *st, int flags);
must_check int sys_fstat(int fd, struct stat *st);
must_check int sys_fchownat(int dir_fd, const char *path, uid_t uid, gid_t gid, int flags);
must_check int sys_fchmod(int fd, mode_t mode);
must_check int sys_fchmodat(int dir_fd, const char *path, mode_t mode);
must_check int sys_utimensat(int dir_fd, const char *path, const struct timespec times[2],
			     int flags);

/* Share the extents of a whole file; -EOPNOTSUPP, -EXDEV, -EINVAL: cannot. */
must_check int sys_ficlone(int to_fd, int from_fd);

/*
 * Make the empty file to_fd hold what from_fd holds: by reflink, else by
 * copying its data ranges (holes stay holes). Returns 1 when reflinked, 0.
 */
must_check int sys_copy_contents(int to_fd, int from_fd);

/*
 * Make the extended attributes of to_fd those of from_fd (neither may be
 * O_PATH), except those whose name begins with skip_prefix (NULL: none), which
 * are left alone on both. One of namespace "security." that the file system or
 * a missing privilege refuses is not an error.
 */
must_check int sys_copy_xattrs(int to_fd, int from_fd, const char *skip_prefix);

must_check int sys_fsetxattr(int fd, const char *name, const void *value, size_t len);
/* Length of the value, at most len bytes of it in value. */
must_check ssize_t sys_fgetxattr(int fd, const char *name, void *value, size_t len);

must_check int sys_fremovexattr(int fd, const char *name);

/* Inode flags (FS_*_FL): of a file system that has none they are 0. */
must_check int sys_get_inode_flags(int fd, unsigned int *flags);
must_check int sys_set_inode_flags(int fd, unsigned int flags);

/*
 * Call each for every extended attribute of an entry, which is not followed
 * and may be of any type. Of those that may not be read the value is empty.
 */
must_check int sys_each_xattr(int dir_fd, const char *name,
			      void (*each)(void *ctx, const char *key, const void *value,
					   size_t len),
			      void *ctx);

must_check int sys_flock(int fd, int operation);
/*
 * Lock a whole file, open for writing, until its description is closed; it
 * lives in all descriptors that fork() and dup() made of this one. -EAGAIN:
 * somebody else has it.
 */
must_check int sys_ofd_lock(int fd);
/* Has anybody else locked it so? 1 or 0. Asking takes nothing. */
must_check int sys_ofd_locked(int fd);

must_check int sys_fsync(int fd);
must_check int sys_syncfs(int fd);

/* Start writing a file's dirty pages without waiting for them. */
must_check int sys_start_writeback(int fd);

/* Write all len bytes. */
must_check int sys_write_all(int fd, const void *bytes, size_t len);

/* Clear the inode flags that forbid removal (immutable, append-only). */
must_check int sys_clear_protection(int fd);

/*
 * Tell the file system that what is made in this directory does not belong
 * together (the inode flag T, chattr(1)): ext4 spreads it over its groups.
 * -ENOTTY and the like where there are no such flags.
 */
must_check int sys_spread(int fd);

/* Read the whole of a small file: *text is NUL-terminated and malloced. */
must_check int sys_read_file(int dir_fd, const char *path, size_t max_bytes, char **text);

/* DIR stream of a directory descriptor, which stays the caller's. */
must_check int sys_opendir_fd(int fd, DIR **dir);

/* The same of a descriptor that it takes: *fd is -1 then. No second open. */
must_check int sys_opendir_take(int *fd, DIR **dir);

/* The next entry that is not "." or "..": 1; 0: there are no more. */
must_check int sys_readdir(DIR *dir, struct dirent **entry);

static inline void cleanup_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

#define scoped_dir scoped(cleanup_dir)

/*
 * Open for reading below dir_fd as sys_open_beneath() does, and leave the
 * time of last access alone where that is allowed.
 */
must_check int sys_open_quietly(int dir_fd, const char *path, int flags);
