#include "kernel/stack.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FSCONFIG_BY_FD = 5 };

static int sys_fsopen(const char *type)
{
	return (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
}

static int sys_fsconfig(int fd, unsigned command, const char *key, const void *value, int aux)
{
	return (int)syscall(SYS_fsconfig, fd, command, key, value, aux);
}

static int open_dir(const char *path)
{
	return (int)t_sys(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
}

const char *stack_layer_path(char *out, size_t len, int n, const char *part)
{
	snprintf(out, len, "%s/layer%d/%s", t_tmpdir(), n, part);
	return out;
}

void stack_layer_make(int n)
{
	char path[600];
	snprintf(path, sizeof(path), "%s/layer%d", t_tmpdir(), n);
	t_sys(mkdir(path, 0755));
	t_sys(mkdir(stack_layer_path(path, sizeof(path), n, "fs"), 0755));
	t_sys(mkdir(stack_layer_path(path, sizeof(path), n, "work"), 0755));
}

void stack_write(const char *path, const char *text)
{
	int fd = (int)t_sys(open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644));
	t_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

bool stack_says(const char *path, const char *text)
{
	char have[64] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, have, sizeof(have) - 1);
	close(fd);
	return n >= 0 && strcmp(have, text) == 0;
}

/* Give a layer to an overlay: by descriptor (6.13), else by path (6.5). */
static void add_layer(int fs, const char *key, const char *path)
{
	int fd = open_dir(path);
	int r = sys_fsconfig(fs, FSCONFIG_BY_FD, key, NULL, fd);
	if (r < 0)
		r = sys_fsconfig(fs, FSCONFIG_SET_STRING, key, path, 0);
	close(fd);
	if (r < 0 && errno == EINVAL)
		t_skip("overlayfs without '%s' (needs Linux 6.5)", key);
	t_sys(r);
}

int stack_overlay(int top, int newest, int n_lowers, const char *base)
{
	char path[600];
	int fs = sys_fsopen("overlay");
	if (fs < 0)
		t_skip("no overlayfs for ordinary users: %s", strerror(errno));
	for (int n = newest; n > newest - n_lowers; n--)
		add_layer(fs, "lowerdir+", stack_layer_path(path, sizeof(path), n, "fs"));
	if (base)
		add_layer(fs, "lowerdir+", base);
	add_layer(fs, "upperdir", stack_layer_path(path, sizeof(path), top, "fs"));
	add_layer(fs, "workdir", stack_layer_path(path, sizeof(path), top, "work"));
	t_sys(sys_fsconfig(fs, FSCONFIG_SET_FLAG, "userxattr", NULL, 0));
	t_sys(sys_fsconfig(fs, FSCONFIG_SET_FLAG, "volatile", NULL, 0));
	t_sys(sys_fsconfig(fs, FSCONFIG_SET_STRING, "index", "off", 0));
	int mnt = -1;
	if (sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		mnt = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	int saved = errno;
	close(fs);
	errno = saved;
	return mnt;
}

