/* One overlay: three ways to name the layers, what is refused, the words. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "fsbox.h"
#include "harness/harness.h"
#include "sandbox/overlay.h"
#include "sys/file.h"
#include "sys/mount.h"

enum { LAYERS = 6 };

struct stack {
	struct layer *layer[LAYERS]; /* newest first; the last is the upper */
	int fd[LAYERS];
};

static void stack_make(struct stack *s, struct fsbox *b)
{
	struct err e = ERR_INIT;
	char name[16];
	for (int i = 0; i < LAYERS; i++) {
		t_ok_e(layer_new(b->store, &s->layer[i], &e), &e);
		s->fd[i] = s->layer[i]->fs_fd;
		snprintf(name, sizeof(name), "f%d", i);
		close(t_sys(openat(s->fd[i], name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644)));
		int fd = t_sys(openat(s->fd[i], "top", O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
		t_eq(write(fd, name, 2), 2);
		close(fd);
	}
}

static void stack_drop(struct stack *s, struct fsbox *b)
{
	for (int i = 0; i < LAYERS; i++)
		layer_discard(b->store, s->layer[i]);
}

static void methods(struct fsbox *b)
{
	static const enum overlay_method method[] = {OVERLAY_ANY, OVERLAY_BY_FD, OVERLAY_BY_PATH,
						     OVERLAY_BY_MOUNT};
	for (size_t i = 0; i < 4; i++) {
		struct stack s;
		struct err e = ERR_INIT;
		struct stat st;
		struct statfs fs;
		char text[8] = "";
		stack_make(&s, b);
		struct layer *upper = s.layer[LAYERS - 1];
		struct overlay o = {
			.lower_fds = s.fd,
			.n_lowers = LAYERS - 1,
			.upper_fd = upper->fs_fd,
			.work_fd = upper->work_fd,
			.scratch_fd = upper->dir_fd,
			.userxattr = b->userns,
			.method = method[i],
		};
		int fd = (int)t_ok_e(overlay_build(&o, &e), &e);
		t_sys(fstatfs(fd, &fs));
		t_eq(fs.f_type, 0x794c7630);
		for (int k = 0; k < LAYERS; k++) {
			char name[16];
			snprintf(name, sizeof(name), "f%d", k);
			t_sys(fstatat(fd, name, &st, 0));
		}
		/* The upper is on top, then the newest layer. */
		t_sys(unlinkat(upper->fs_fd, "top", 0));
		int file = t_sys(openat(fd, "top", O_RDWR | O_CLOEXEC));
		t_eq(read(file, text, 2), 2);
		t_str_eq(text, "f0");
		close(file);
		t_sys(fstatat(upper->fs_fd, "top", &st, 0));
		/* Nothing is left where it was mounted for a moment. */
		t_eq(faccessat(upper->dir_fd, "mnt", F_OK, 0), -1);
		close(fd);
		stack_drop(&s, b);
	}
}
TEST(layers_by_descriptor_path_and_mount_are_the_same, .timeout_s = 60)
{
	fsbox_each(methods);
}

static void refusals(struct fsbox *b)
{
	struct stack s;
	struct err e = ERR_INIT;
	stack_make(&s, b);
	struct layer *upper = s.layer[LAYERS - 1];
	int twice[] = {s.fd[0], s.fd[1], s.fd[0]};
	struct overlay o = {.lower_fds = twice,
			    .n_lowers = 3,
			    .upper_fd = upper->fs_fd,
			    .work_fd = upper->work_fd,
			    .scratch_fd = -1,
			    .userxattr = b->userns};
	t_eq(overlay_build(&o, &e), -EEXIST);
	int self[] = {upper->fs_fd};
	o.lower_fds = self;
	o.n_lowers = 1;
	t_eq(overlay_build(&o, &e), -EEXIST);
	static int many[OVERLAY_LOWERS_MAX + 1];
	o.lower_fds = many;
	o.n_lowers = OVERLAY_LOWERS_MAX + 1;
	t_eq(overlay_build(&o, &e), -E2BIG);
	t_assert(e.remedy[0]);
	o.n_lowers = 0;
	t_eq(overlay_build(&o, &e), -EINVAL);
	/* The kernel's own words. */
	int file = t_sys(openat(s.fd[0], "top", O_RDONLY | O_CLOEXEC));
	int odd[] = {s.fd[1], file};
	o.lower_fds = odd;
	o.n_lowers = 2;
	t_assert(overlay_build(&o, &e) < 0);
	t_note("%s", e.cause);
	t_assert(strstr(e.cause, "directory"));
	close(file);
	stack_drop(&s, b);
}
TEST(what_cannot_be_an_overlay_is_said, .timeout_s = 60)
{
	fsbox_each(refusals);
}

static void readonly(struct fsbox *b)
{
	struct stack s;
	struct err e = ERR_INIT;
	stack_make(&s, b);
	for (int i = OVERLAY_BY_FD; i <= OVERLAY_BY_MOUNT; i++) {
		struct overlay o = {.lower_fds = s.fd,
				    .n_lowers = 2,
				    .upper_fd = -1,
				    .work_fd = -1,
				    .scratch_fd = s.layer[0]->dir_fd,
				    .userxattr = b->userns,
				    .method = (enum overlay_method)i};
		int fd = (int)t_ok_e(overlay_build(&o, &e), &e);
		t_eq(openat(fd, "new", O_CREAT | O_WRONLY, 0600), -1);
		t_eq(errno, EROFS);
		close(fd);
	}
	stack_drop(&s, b);
}
TEST(without_an_upper_it_is_read_only, .timeout_s = 60)
{
	fsbox_each(readonly);
}
