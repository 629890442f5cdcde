#include "sys/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <linux/stat.h>

#include "sys/fault.h"

/* Mount ids came to statx with Linux 5.8; older headers lack the bit. */
#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000u
#endif

static int result(long r)
{
	return r < 0 ? -errno : (int)r;
}

int sys_fsopen(const char *fstype)
{
	int r = sys_fault("fsopen");
	return r ? r : result(fsopen(fstype, FSOPEN_CLOEXEC));
}

int sys_fspick(int dir_fd, const char *path, unsigned int flags)
{
	int r = sys_fault("fspick");
	return r ? r : result(fspick(dir_fd, path, flags | FSPICK_CLOEXEC));
}

static int config(int fs_fd, unsigned int cmd, const char *key, const void *value, int aux)
{
	int r = sys_fault("fsconfig");
	return r ? r : result(fsconfig(fs_fd, cmd, key, value, aux));
}

int sys_fsconfig_flag(int fs_fd, const char *key)
{
	return config(fs_fd, FSCONFIG_SET_FLAG, key, NULL, 0);
}

int sys_fsconfig_string(int fs_fd, const char *key, const char *value)
{
	return config(fs_fd, FSCONFIG_SET_STRING, key, value, 0);
}

int sys_fsconfig_fd(int fs_fd, const char *key, int value_fd)
{
	return config(fs_fd, FSCONFIG_SET_FD, key, NULL, value_fd);
}

int sys_fsconfig_create(int fs_fd)
{
	return config(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
}

int sys_fsconfig_reconfigure(int fs_fd)
{
	return config(fs_fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0);
}

int sys_fsmount(int fs_fd, unsigned int attrs)
{
	int r = sys_fault("fsmount");
	return r ? r : result(fsmount(fs_fd, FSMOUNT_CLOEXEC, attrs));
}

const char *sys_fslog(int fs_fd, char *text, size_t text_bytes)
{
	size_t used = 0;
	text[0] = '\0';
	char line[512];
	ssize_t n;
	/* One message a read: "e overlay: text\n"; ENODATA when none is left. */
	while ((n = read(fs_fd, line, sizeof(line) - 1)) > 0) {
		line[n] = '\0';
		line[strcspn(line, "\n")] = '\0';
		const char *words = n > 2 && line[1] == ' ' ? line + 2 : line;
		int len = snprintf(text + used, text_bytes - used, "%s%s", used ? "; " : "", words);
		if (len < 0 || (size_t)len >= text_bytes - used)
			break;
		used += (size_t)len;
	}
	return text;
}

int sys_open_tree(int dir_fd, const char *path, unsigned int flags)
{
	int r = sys_fault("open_tree");
	return r ? r : result(open_tree(dir_fd, path, flags | OPEN_TREE_CLOEXEC));
}

int sys_move_mount(int from_fd, const char *from, int to_fd, const char *to, unsigned int flags)
{
	int r = sys_fault("move_mount");
	return r ? r : result(move_mount(from_fd, from, to_fd, to, flags));
}

int sys_move_mount_fd(int from_fd, int to_fd)
{
	return sys_move_mount(from_fd, "", to_fd, "",
			      MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

static int setattr(int dir_fd, const char *path, unsigned int flags, struct mount_attr *attr)
{
	int r = sys_fault("mount_setattr");
	return r ? r : result(mount_setattr(dir_fd, path, flags, attr, sizeof(*attr)));
}

int sys_mount_setattr(int dir_fd, const char *path, unsigned int flags, uint64_t set,
		      uint64_t clear)
{
	struct mount_attr attr = {.attr_set = set, .attr_clr = clear};
	return setattr(dir_fd, path, flags, &attr);
}

int sys_mount_propagation(int dir_fd, const char *path, unsigned int flags, uint64_t propagation)
{
	struct mount_attr attr = {.propagation = propagation};
	return setattr(dir_fd, path, flags, &attr);
}

int sys_mount(const char *source, const char *target, const char *fstype, unsigned long flags,
	      const char *data)
{
	int r = sys_fault("mount");
	return r ? r : result(mount(source, target, fstype, flags, data));
}

int sys_umount2(const char *target, int flags)
{
	int r = sys_fault("umount2");
	return r ? r : result(umount2(target, flags));
}

int sys_pivot_root(const char *new_root, const char *put_old)
{
	int r = sys_fault("pivot_root");
	return r ? r : result(syscall(SYS_pivot_root, new_root, put_old));
}

int sys_setns(int ns_fd, int nstype)
{
	int r = sys_fault("setns");
	return r ? r : result(setns(ns_fd, nstype));
}

int sys_fchdir(int dir_fd)
{
	int r = sys_fault("fchdir");
	return r ? r : result(fchdir(dir_fd));
}

int sys_chroot(const char *path)
{
	int r = sys_fault("chroot");
	return r ? r : result(chroot(path));
}

int sys_mnt_id(int fd, uint64_t *mnt_id)
{
	int r = sys_fault("statx");
	if (r)
		return r;
	struct statx stx;
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx))
		return -errno;
	if (!(stx.stx_mask & STATX_MNT_ID))
		return -EOPNOTSUPP;
	*mnt_id = stx.stx_mnt_id;
	return 0;
}

/* "\040" and the like in mountinfo stand for the byte; in place. */
static void unescape(char *s)
{
	char *to = s;
	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/*
 * 36 35 98:0 /root /target opts [tag...] - fstype source superopts
 * (proc(5)). line is cut up.
 */
static int parse_line(char *line, struct mount_line *m)
{
	unsigned int major, minor;
	int used = 0;
	if (sscanf(line, "%" SCNu64 " %" SCNu64 " %u:%u %n", &m->mnt_id, &m->parent_id, &major,
		   &minor, &used) < 4 ||
	    !used)
		return -EBADMSG;
	m->dev = makedev(major, minor);
	char *rest = line + used;
	char *root = strsep(&rest, " ");
	char *target = strsep(&rest, " ");
	char *type = rest ? strstr(rest, " - ") : NULL;
	if (!root || !target || !type)
		return -EBADMSG;
	type += 3;
	type[strcspn(type, " ")] = '\0';
	unescape(root);
	unescape(target);
	m->root = strdup(root);
	m->target = strdup(target);
	m->fstype = strdup(type);
	return m->root && m->target && m->fstype ? 0 : -ENOMEM;
}

static void scoped_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

int sys_mountinfo(int proc_fd, struct vec *lines)
{
	int r = sys_fault("mountinfo");
	if (r)
		return r;
	scoped_fd int fd = openat(proc_fd, "mountinfo", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	scoped(scoped_file) FILE *f = fdopen(fd, "r");
	if (!f)
		return -errno;
	fd = -1;
	struct vec found = VEC_INIT(struct mount_line);
	scoped_free char *line = NULL;
	size_t cap = 0;
	while (r == 0 && getline(&line, &cap, f) > 0) {
		line[strcspn(line, "\n")] = '\0';
		struct mount_line *m = vec_add(&found);
		r = m ? parse_line(line, m) : -ENOMEM;
	}
	if (r == 0 && ferror(f))
		r = -EIO;
	if (r) {
		mount_lines_deinit(&found);
		return r;
	}
	*lines = found;
	return 0;
}

void mount_lines_deinit(struct vec *lines)
{
	vec_each(struct mount_line, m, lines)
	{
		free(m->root);
		free(m->target);
		free(m->fstype);
	}
	vec_deinit(lines);
}

bool sys_in_userns(void)
{
	scoped(scoped_file) FILE *f = fopen("/proc/self/uid_map", "re");
	unsigned long inside, outside, count;
	if (!f || fscanf(f, "%lu %lu %lu", &inside, &outside, &count) != 3)
		return false;
	/* Only the initial namespace maps every id onto itself. */
	return inside != 0 || outside != 0 || count != UINT32_MAX;
}
