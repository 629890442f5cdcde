#include "sys/ns.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/fault.h"

static int negative(long ret)
{
	return ret < 0 ? -errno : (int)ret;
}

int sys_unshare(int flags)
{
	int r = sys_fault("unshare");
	if (r)
		return r;
	return negative(unshare(flags));
}

/* One write(2): the kernel takes an id map whole or not at all. */
static int write_once(const char *path, const char *text)
{
	int r = sys_fault("write");
	if (r)
		return r;
	scoped_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	size_t len = strlen(text);
	ssize_t n = write(fd, text, len);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

static int write_map(pid_t pid, const char *file, const char *text)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	return write_once(path, text);
}

int sys_write_uid_map(pid_t pid, const char *text)
{
	return write_map(pid, "uid_map", text);
}

int sys_write_gid_map(pid_t pid, const char *text)
{
	return write_map(pid, "gid_map", text);
}

int sys_deny_setgroups(void)
{
	return write_once("/proc/self/setgroups", "deny");
}

bool sys_setgroups_denied(void)
{
	char text[8] = "";
	scoped_fd int fd = open("/proc/self/setgroups", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	return n >= 4 && !strncmp(text, "deny", 4);
}

int sys_drop_groups(void)
{
	int r = sys_fault("setgroups");
	if (r)
		return r;
	return negative(setgroups(0, NULL));
}

int sys_read_id_map(bool gids, struct sys_id_range *ranges, size_t max)
{
	int r = sys_fault("open");
	if (r)
		return r;
	FILE *f = fopen(gids ? "/proc/self/gid_map" : "/proc/self/uid_map", "re");
	if (!f)
		return -errno;
	size_t n = 0;
	while (n < max &&
	       fscanf(f, "%u %u %u", &ranges[n].inside, &ranges[n].outside, &ranges[n].count) == 3)
		n++;
	fclose(f);
	return (int)n;
}

int sys_caps_effective(uint64_t *caps)
{
	int r = sys_fault("capget");
	if (r)
		return r;
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];
	if (syscall(SYS_capget, &head, data))
		return -errno;
	*caps = data[0].effective | (uint64_t)data[1].effective << 32;
	return 0;
}
