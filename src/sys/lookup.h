/* lookup.h - what an O_PATH descriptor stands for. */
#pragma once

#include "base/cleanup.h"

/* Open what a descriptor (O_PATH too) stands for; never another inode. */
must_check int sys_reopen(int path_fd, int flags);

/* Is it on procfs, sysfs or another file system of the kernel's own? */
must_check int sys_is_kernel_fs(int fd);
