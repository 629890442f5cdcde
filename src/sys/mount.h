/*
 * mount.h - the mount system calls, typed.
 *
 * Every function returns 0 or a new descriptor, or -errno. Descriptors are
 * close-on-exec. No policy: what is mounted where is decided above.
 */
#pragma once

/* This name hides libc's header, so it comes along with it. */
#include_next <sys/mount.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/vec.h"

/* A new file system context for fsconfig (fsopen(2), Linux 5.2). */
must_check int sys_fsopen(const char *fstype);

/* A context for changing the superblock behind a mount (fspick(2)). */
must_check int sys_fspick(int dir_fd, const char *path, unsigned int flags);

must_check int sys_fsconfig_flag(int fs_fd, const char *key);
must_check int sys_fsconfig_string(int fs_fd, const char *key, const char *value);
/* Linux 6.13 for overlayfs' layers; -EINVAL before. */
must_check int sys_fsconfig_fd(int fs_fd, const char *key, int value_fd);
must_check int sys_fsconfig_create(int fs_fd);
must_check int sys_fsconfig_reconfigure(int fs_fd);

/* Detached mount of a created context; attrs: MOUNT_ATTR_*. */
must_check int sys_fsmount(int fs_fd, unsigned int attrs);

/*
 * The kernel's messages about a context, joined by "; ", into text (always
 * terminated). Returns text, "" when the kernel said nothing.
 */
const char *sys_fslog(int fs_fd, char *text, size_t text_bytes);

/* flags: OPEN_TREE_CLONE, AT_RECURSIVE, AT_EMPTY_PATH ... */
must_check int sys_open_tree(int dir_fd, const char *path, unsigned int flags);

/* flags: MOVE_MOUNT_*. */
must_check int sys_move_mount(int from_fd, const char *from, int to_fd, const char *to,
			      unsigned int flags);

/* Attach or move the mount at from_fd's root onto the inode of to_fd. */
must_check int sys_move_mount_fd(int from_fd, int to_fd);

/* Set and clear MOUNT_ATTR_* of a mount (flags: AT_EMPTY_PATH, AT_RECURSIVE). */
must_check int sys_mount_setattr(int dir_fd, const char *path, unsigned int flags, uint64_t set,
				 uint64_t clear);
/* The same for propagation: MS_PRIVATE, MS_SLAVE ... */
must_check int sys_mount_propagation(int dir_fd, const char *path, unsigned int flags,
				     uint64_t propagation);

must_check int sys_mount(const char *source, const char *target, const char *fstype,
			 unsigned long flags, const char *data);
must_check int sys_umount2(const char *target, int flags);
must_check int sys_pivot_root(const char *new_root, const char *put_old);
must_check int sys_setns(int ns_fd, int nstype);
must_check int sys_fchdir(int dir_fd);
must_check int sys_chroot(const char *path);

/* Identifier of the mount a descriptor is on (statx, Linux 5.8). */
must_check int sys_mnt_id(int fd, uint64_t *mnt_id);

/* A line of mountinfo. */
struct mount_line {
	uint64_t mnt_id;
	uint64_t parent_id;
	uint64_t dev; /* makedev(major, minor) of the superblock */
	char *root;   /* of the mount inside its file system */
	char *target; /* as the caller's root sees it */
	char *fstype;
};

/*
 * Parse `mountinfo` of the process directory proc_fd (/proc/self opened
 * before a setns gives the namespace entered). *lines becomes a vector of
 * struct mount_line, freed with mount_lines_deinit().
 */
must_check int sys_mountinfo(int proc_fd, struct vec *lines);
void mount_lines_deinit(struct vec *lines);

/* true: this process is in a user namespace other than the initial one. */
bool sys_in_userns(void);
