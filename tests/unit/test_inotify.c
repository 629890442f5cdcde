/* A live inotify, looked at and made again: equal, and as it was, whichever kernel call fails. */
#include "parts/inotify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/harness.h"
#include "parts/kind.h"
#include "sys/fault.h"
#include "sys/proc.h"

/* This process, looked at as if it were frozen; its root is a new directory. */
struct scene {
	struct frozen frozen;
	struct procfs procfs;
	struct tree_image parent;
	int root_fd;
	struct part_mount mount;
};

/* One look, and what it saw. */
struct saved {
	struct look look;
	struct tree_image image;
};

static void scene_open(struct scene *s)
{
	struct stat st;
	const char *dir = t_tmpdir();
	t_sys(chdir(dir));
	s->root_fd = (int)t_sys(open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC));
	t_sys(fstat(s->root_fd, &st));
	s->mount = (struct part_mount){ .target = "/", .dev = st.st_dev, .upper_fd = -1 };
	s->frozen = (struct frozen){ .procs = VEC_INIT(struct frozen_proc) };
	struct frozen_proc *fp = vec_add(&s->frozen.procs);
	*fp = (struct frozen_proc){ .pid = getpid(), .ns_pid = 7 };
	fp->pidfd = (int)t_ok(sys_pidfd_open(getpid()));
	t_ok(procfs_open(&s->procfs, "/proc"));
	image_init(&s->parent);
}

static void scene_close(struct scene *s)
{
	close(frozen_proc(&s->frozen, 0)->pidfd);
	vec_deinit(&s->frozen.procs);
	procfs_close(&s->procfs);
	image_deinit(&s->parent);
	close(s->root_fd);
}

static int look_at(const struct scene *s, struct look *l, int fd, struct err *e)
{
	struct procfs_fdinfo info;
	int r = files_look_begin(l, e);
	if (r == 0)
		r = inotify_look_begin(l, e);
	if (r)
		return r;
	r = procfs_fdinfo(l->procfs, getpid(), fd, &info);
	if (r)
		return r;
	struct image_file *f = vec_add(&l->image->files);
	struct image_proc *p = vec_add(&l->image->procs);
	t_assert(f && p);
	*f = (struct image_file){ .kind = FILE_INOTIFY,
				  .flags = (int)info.flags & ~O_CLOEXEC,
				  .path = strdup("anon_inode:inotify"),
				  .locks = VEC_INIT(struct image_lock) };
	*p = (struct image_proc){ .pid = 7, .cwd = IMAGE_NONE, .fds = VEC_INIT(struct image_fd) };
	struct image_fd *has = vec_add(&p->fds);
	*has = (struct image_fd){ .fd = fd };
	const struct procfs_fd st = { .fd = fd };
	const struct kind_look at = { .l = l, .p = p, .fp = frozen_proc(&s->frozen, 0),
				      .fd = &st, .link = f->path, .info = &info };
	t_assert(kind_inotify.is(&at, f));
	r = kind_inotify.look(&at, f, e);
	return r ? r : kind_inotify.look_end(l, 0, e);
}

static int save(struct scene *s, int fd, struct saved *out, struct err *e)
{
	image_init(&out->image);
	look_init(&out->look);
	out->look.frozen = &s->frozen;
	out->look.procfs = &s->procfs;
	out->look.image = &out->image;
	out->look.parent = &s->parent;
	out->look.root_fd = s->root_fd;
	*(struct part_mount *)vec_add(&out->look.mounts) = s->mount;
	int r = look_at(s, &out->look, fd, e);
	inotify_quiet_live(&out->look);
	look_deinit(&out->look);
	if (r)
		image_deinit(&out->image);
	return r;
}

/* The new one, or -errno. */
static int load(const struct scene *s, const struct saved *from)
{
	struct files_open o = { .image = &from->image,
				.root_fd = s->root_fd,
				.fds = VEC_INIT(int),
				.inotifys = VEC_INIT(int) };
	int *fd = vec_add(&o.fds), file;
	*fd = -1;
	int r = kind_inotify.open(&o, 0);
	r = r ? r : inotify_join(&o, &file);
	inotify_quiet(&o.inotifys);
	if (r)
		cleanup_fd(fd);
	r = r ? r : *fd;
	vec_deinit(&o.fds);
	return r;
}

static void t_alike(const struct saved *a, const struct saved *b)
{
	const struct inotify *x = inotify_of(image_file(&a->image, 0));
	const struct inotify *y = inotify_of(image_file(&b->image, 0));
	t_eq(image_file(&a->image, 0)->flags, image_file(&b->image, 0)->flags);
	t_eq(x->next, y->next);
	t_eq(x->watches.n, y->watches.n);
	for (size_t i = 0; i < x->watches.n; i++) {
		const struct inotify_watch *v = vec_at(&x->watches, i);
		const struct inotify_watch *w = vec_at(&y->watches, i);
		t_eq(v->number, w->number);
		t_eq(v->mask, w->mask);
		t_eq(v->mount, w->mount);
		t_str_eq(v->path, w->path);
	}
}

static void make_dir(const char *path)
{
	t_sys(mkdir(path, 0755));
}

static void make_file(const char *path)
{
	close((int)t_sys(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644)));
}

static void drop(int fd, int number)
{
	char bytes[4096];
	t_sys(inotify_rm_watch(fd, number));
	t_assert(read(fd, bytes, sizeof(bytes)) > 0);
}

/* Gaps in front, between and behind; every sort of file and mask. */
static int make_inotify(void)
{
	int fd = (int)t_sys(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
	make_dir("a");
	make_dir("a/b");
	make_dir("a/b/c");
	make_file("a/b/file");
	make_file("other");
	t_sys(symlink("nowhere", "a/link"));
	for (int i = 0; i < 3; i++)
		drop(fd, (int)t_sys(inotify_add_watch(fd, "other", IN_MODIFY)));
	t_eq(inotify_add_watch(fd, "a/b/c", IN_ALL_EVENTS), 4);
	t_eq(inotify_add_watch(fd, "a/b/file", IN_MODIFY | IN_ONESHOT), 5);
	drop(fd, (int)t_sys(inotify_add_watch(fd, "other", IN_MODIFY)));
	t_eq(inotify_add_watch(fd, "a/link", IN_ATTRIB | IN_DONT_FOLLOW | IN_EXCL_UNLINK), 7);
	t_eq(inotify_add_watch(fd, ".", IN_CREATE), 8);
	t_eq(inotify_add_watch(fd, "a", IN_ONLYDIR), 9);
	for (int i = 0; i < 2; i++)
		drop(fd, (int)t_sys(inotify_add_watch(fd, "other", IN_MODIFY)));
	return fd;
}

static void t_untouched(int fd)
{
	struct vec now = VEC_INIT(struct inotify_watch);
	char path[64], text[8192];
	int n;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	int info = (int)t_sys(open(path, O_RDONLY | O_CLOEXEC));
	ssize_t len = t_sys(read(info, text, sizeof(text) - 1));
	close(info);
	text[len] = '\0';
	t_ok(inotify_parse(strstr(text, "inotify "), &now));
	t_eq(now.n, 5);
	inotify_watches_deinit(&now);
	t_sys(ioctl(fd, FIONREAD, &n));
	t_eq(n, 0);
}

TEST(inotify_that_was_made_again_is_looked_at_alike)
{
	struct scene s = { 0 };
	struct saved first, second;
	struct err e = ERR_INIT;
	scene_open(&s);
	int live = make_inotify();
	t_ok_e(save(&s, live, &first, &e), &e);
	t_untouched(live);
	const struct inotify *in = inotify_of(image_file(&first.image, 0));
	t_eq(in->next, 12);
	t_str_eq(((struct inotify_watch *)vec_at(&in->watches, 0))->path, "/a/b/c");
	t_str_eq(((struct inotify_watch *)vec_at(&in->watches, 3))->path, "/");
	int again = (int)t_ok(load(&s, &first));
	t_untouched(again);
	close(live);
	t_ok_e(save(&s, again, &second, &e), &e);
	t_alike(&first, &second);
	t_eq(inotify_add_watch(again, "other", IN_MODIFY), 13);
	close(again);
	image_deinit(&first.image);
	image_deinit(&second.image);
	scene_close(&s);
}

TEST(inotify_survives_each_failing_call_of_a_look, .timeout_s = 60)
{
	struct scene s = { 0 };
	struct saved saved;
	struct err e = ERR_INIT;
	scene_open(&s);
	int live = make_inotify();
	uint64_t n = 0;
	bool fired = true;
	while (fired) {
		sys_fault_arm(++n, ENOMEM);
		int r = save(&s, live, &saved, &e);
		fired = sys_fault_fired();
		sys_fault_arm(0, 0);
		if (r == 0)
			image_deinit(&saved.image);
		t_untouched(live);
	}
	t_assert(n > 20);
	close(live);
	scene_close(&s);
}

TEST(inotify_is_made_whole_or_not_at_all, .timeout_s = 60)
{
	struct scene s = { 0 };
	struct saved saved;
	struct err e = ERR_INIT;
	scene_open(&s);
	int live = make_inotify();
	t_ok_e(save(&s, live, &saved, &e), &e);
	uint64_t n = 0;
	bool fired = true;
	while (fired) {
		sys_fault_arm(++n, ENOMEM);
		int again = load(&s, &saved);
		fired = sys_fault_fired();
		sys_fault_arm(0, 0);
		if (again < 0)
			continue;
		t_untouched(again);
		close(again);
	}
	t_assert(n > 20);
	close(live);
	image_deinit(&saved.image);
	scene_close(&s);
}

static void t_refused(struct scene *s, int fd, const char *why)
{
	struct saved saved;
	struct err e = ERR_INIT;
	t_assert(save(s, fd, &saved, &e) < 0);
	t_assert(strstr(e.cause, why));
	t_eq(e.pid, 7);
}

TEST(inotify_that_cannot_be_saved_is_refused_by_name)
{
	struct scene s = { 0 };
	char bytes[4096];
	scene_open(&s);
	make_file("one");
	int fd = (int)t_sys(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
	int number = (int)t_sys(inotify_add_watch(fd, ".", IN_CREATE));
	make_file("two");
	t_refused(&s, fd, "events that were not read");
	t_assert(read(fd, bytes, sizeof(bytes)) > 0);
	drop(fd, number);
	t_sys(link("one", "three"));
	number = (int)t_sys(inotify_add_watch(fd, "one", IN_MODIFY));
	t_refused(&s, fd, "a file with several names");
	drop(fd, number);
	number = (int)t_sys(inotify_add_watch(fd, "/proc/self/status", IN_MODIFY));
	t_refused(&s, fd, "neither in the root");
	drop(fd, number);
	int gone = (int)t_sys(open("two", O_RDONLY | O_CLOEXEC));
	t_sys(inotify_add_watch(fd, "two", IN_MODIFY));
	t_sys(unlink("two"));
	t_refused(&s, fd, "to which no path was found");
	close(gone);
	close(fd);
	scene_close(&s);
}
