/*
 * inotify.c - inotify(7): what is watched, for what, under which number.
 *
 * fdinfo tells number, inode and mask of each watch; inotify_find.c finds a
 * path that leads to the inode. Numbers are given in ascending order and none
 * twice, so a new inotify makes watches on a file of ours, and removes them,
 * until the number is the one that is wanted. Which number would be the next
 * cannot be seen: the live one is asked, by one more such watch.
 *
 * A watch is of an inode of the overlay. After a cut the live sandbox has
 * another overlay, so an inotify that watches anything there is made anew and
 * takes the old one's place, like an open file (checkpoint/rehome.c).
 *
 * Events cannot be looked at without taking them, nor be put back. So none may
 * wait; programs read them soon, and a checkpoint tries again for a moment.
 * While the tree stands still, all that comes is of our own making: before it
 * runs again it is read and forgotten. The same before a gate opens.
 */
#include "parts/inotify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/clock.h"
#include "parts/kind.h"
#include "sys/event.h"
#include "sys/fd.h"
#include "sys/proc.h"

enum {
	KERNEL_MINOR_BITS = 20,	/* of a dev_t in the kernel */
	READ_BYTES = 64 << 10,
	LINE_BYTES = 1024,	/* a handle has 128 bytes at most, MAX_HANDLE_SZ */
	/* The kernel keeps 16384 events by default; each removal is one. */
	DRAIN_EACH = 1024,
	TRIES = 3,
	/* A user may have 128, others' included: fs.inotify.max_user_instances */
	LEFT_MAX = 4,
	LEFT_NS = 50000000,
};

static bool is_link(const char *link)
{
	return !strcmp(link, "anon_inode:inotify") || !strcmp(link, "anon_inode:[inotify]");
}

static bool is_inotify(const struct kind_look *at, const struct image_file *f)
{
	(void)f;
	return is_link(at->link);
}

struct inotify *inotify_of(const struct image_file *f)
{
	return f->kind == FILE_INOTIFY ? f->own : NULL;
}

bool inotify_is_on(const struct image_file *f, int mount)
{
	const struct inotify *in = inotify_of(f);
	if (in)
		vec_each(struct inotify_watch, w, &in->watches)
			if (w->mount == mount)
				return true;
	return false;
}

void inotify_watches_deinit(struct vec *watches)
{
	vec_each(struct inotify_watch, w, watches) {
		free(w->path);
		free(w->handle);
	}
	vec_deinit(watches);
}

static int by_number(const void *a, const void *b)
{
	const struct inotify_watch *x = a, *y = b;
	return (x->number > y->number) - (x->number < y->number);
}

/* One line, alone: sscanf() looks for the end of the text each time. */
static int parse_one(const char *line, struct vec *watches)
{
	unsigned long number, ino, dev;
	unsigned int mask;
	if (strncmp(line, "inotify ", 8))
		return 0;
	if (sscanf(line, "inotify wd:%lx ino:%lx sdev:%lx mask:%x", &number, &ino, &dev, &mask) != 4)
		return -EPROTO;
	struct inotify_watch *w = vec_add(watches);
	if (!w)
		return -ENOMEM;
	const char *handle = strstr(line, "fhandle-bytes:");
	*w = (struct inotify_watch){
		.number = (int)number,
		.mask = mask,
		.mount = IMAGE_NONE,
		.dev = makedev(dev >> KERNEL_MINOR_BITS, dev & ((1u << KERNEL_MINOR_BITS) - 1)),
		.ino = ino,
		.handle = strdup(handle ? handle : ""),
	};
	return w->handle ? 0 : -ENOMEM;
}

int inotify_parse(const char *text, struct vec *watches)
{
	char line[LINE_BYTES];
	while (*text) {
		size_t bytes = strcspn(text, "\n");
		if (bytes >= sizeof(line))
			return -EPROTO;
		memcpy(line, text, bytes);
		line[bytes] = '\0';
		int r = parse_one(line, watches);
		if (r)
			return r;
		text += bytes + (text[bytes] == '\n');
	}
	if (watches->n)
		qsort(watches->data, watches->n, watches->elem_bytes, by_number);
	return 0;
}

/* Read and forget. Not more than was there: it cannot block. */
static int drain(int fd)
{
	scoped_free char *bytes = malloc(READ_BYTES);
	if (!bytes)
		return -ENOMEM;
	int n;
	while ((n = sys_queued(fd)) > 0) {
		ssize_t r = sys_read(fd, bytes, READ_BYTES);
		if (r < 0)
			return (int)r;
	}
	return n;
}

/* What fails three times leaves the program a few events more. */
static void quiet(int fd)
{
	for (int i = 0; fd >= 0 && i < TRIES; i++)
		if (drain(fd) == 0)
			break;
}

void inotify_quiet(struct vec *fds)
{
	vec_each(int, fd, fds) {
		quiet(*fd);
		cleanup_fd(fd);
	}
	vec_deinit(fds);
}

void inotify_quiet_live(struct look *l)
{
	vec_each(struct look_inotify, in, &l->inotifys)
		quiet(in->fd);
}

size_t inotify_close_left(struct vec *left, bool all)
{
	uint64_t now = clock_now_ns();
	while (left->n) {
		struct inotify_left *oldest = vec_at(left, 0);
		if (!all && left->n <= LEFT_MAX && now - oldest->since_ns < LEFT_NS)
			break;
		cleanup_fd(&oldest->fd);
		vec_remove(left, 0);
	}
	if (!left->n)
		vec_deinit(left);
	return left->n;
}

void inotify_leave(struct vec *left, int fd, const struct inotify *in)
{
	struct inotify_left *last = vec_add(left);
	if (!last) {
		cleanup_fd(&fd);
		return;
	}
	*last = (struct inotify_left){ fd, clock_now_ns() };
	if (in)
		vec_each(struct inotify_watch, w, &in->watches)
			/* EINVAL: its file is gone */
			(void)!sys_inotify_remove(fd, w->number);
	(void)inotify_close_left(left, false);
}

/* Use up the next number: by a watch on a file that is nobody else's. */
static int use_number(int fd, int blank_fd)
{
	int number = sys_inotify_add(fd, blank_fd, IN_ATTRIB | IN_MASK_CREATE);
	int r = number < 0 ? number : -EIO;
	for (int i = 0; number >= 0 && r && i < TRIES; i++)
		r = sys_inotify_remove(fd, number);
	return r ? r : number;
}

static int look_for_events(struct look *l, size_t i, int number, struct err *e)
{
	const struct frozen_proc *fp = frozen_proc(l->frozen, i);
	struct image_proc p = { .pid = fp->ns_pid };
	snprintf(p.comm, sizeof(p.comm), "%s", fp->stat.comm);
	struct look_inotify *in = vec_add(&l->inotifys);
	if (!in)
		return err_set(e, ENOMEM, "out of memory");
	*in = (struct look_inotify){ fp->pid, number, sys_pidfd_getfd(fp->pidfd, number),
				     IMAGE_NONE };
	int queued = in->fd < 0 ? in->fd : sys_queued(in->fd);
	if (queued == 0)
		return 0;
	/* they are the program's, and stay */
	cleanup_fd(&in->fd);
	if (queued < 0)
		return look_refuse(e, &p, number, "an inotify: %s", strerror(-queued));
	look_refuse(e, &p, number, "an inotify with events that were not read");
	if (e)
		e->code = EAGAIN;
	return -EAGAIN;
}

int inotify_look_begin(struct look *l, struct err *e)
{
	for (size_t i = 0; i < l->fds.n; i++) {
		const struct procfs_fds *fds = vec_at(&l->fds, i);
		vec_each(struct procfs_fd, fd, &fds->fds) {
			int r = is_link(procfs_fd_link(fds, fd)) ?
					look_for_events(l, i, fd->fd, e) :
					0;
			if (r)
				return r;
		}
	}
	return 0;
}

static struct look_inotify *live_one(const struct look *l, pid_t pid, int number)
{
	vec_each(struct look_inotify, in, &l->inotifys)
		if (in->pid == pid && in->number == number)
			return in;
	return NULL;
}

static int find_next(struct inotify *in, int copy)
{
	const struct inotify_watch *last = in->watches.n ?
						   vec_at(&in->watches, in->watches.n - 1) :
						   NULL;
	scoped_fd int blank = sys_memfd("mulligan-blank", 0);
	int r = blank < 0 ? blank : use_number(copy, blank);
	if (r >= 0)
		in->next = r;
	else if (r == -ENOSPC) /* its owner may not have one more */
		in->next = last ? last->number + 1 : 1;
	else
		return r;
	return r < 0 ? 0 : drain(copy);
}

static int look_inotify(const struct kind_look *at, struct image_file *f, struct err *e)
{
	struct inotify *in = f->own = calloc(1, sizeof(*in));
	if (!in)
		return err_set(e, ENOMEM, "out of memory");
	in->watches = VEC_INIT(struct inotify_watch);
	int r = inotify_parse(at->info->rest, &in->watches);
	if (r)
		return look_refuse(e, at->p, at->fd->fd, "its watches: %s", strerror(-r));
	struct look_inotify *live = live_one(at->l, at->fp->pid, at->fd->fd);
	if (!live)
		return kind_refuse(at, "an inotify that is on its way", e);
	live->file = at->file;
	r = find_next(in, live->fd);
	return r ? look_refuse(e, at->p, at->fd->fd, "its next watch: %s", strerror(-r)) : 0;
}

/* All at once, at the first. */
static int look_inotify_end(struct look *l, int file, struct err *e)
{
	for (int i = 0; i < file; i++)
		if (inotify_of(image_file(l->image, i)))
			return 0;
	return inotify_find(l, e);
}

static int open_inotify(struct files_open *o, int file)
{
	int fd = sys_inotify(image_file(o->image, file)->flags & O_NONBLOCK ? IN_NONBLOCK : 0);
	if (fd < 0)
		return fd;
	*kind_fd(o, file) = fd;
	return 0;
}

/* One that is given its watches. */
struct giving {
	struct files_open *o;
	int fd;
	int blank_fd;
	int next;
};

static int advance(struct giving *g, int number)
{
	unsigned int undrained = 0;
	while (g->next < number) {
		int r = use_number(g->fd, g->blank_fd);
		if (r < 0)
			return r;
		g->next = r + 1;
		if (++undrained % DRAIN_EACH)
			continue;
		r = drain(g->fd);
		if (r < 0)
			return r;
	}
	return g->next == number ? drain(g->fd) : -EPROTO;
}

static int give_watch(struct giving *g, const struct inotify_watch *w)
{
	int r = advance(g, w->number);
	if (r)
		return r;
	scoped_fd int target = kind_open_in_root(g->o, w->path, O_PATH | O_NOFOLLOW);
	if (target < 0)
		return target;
	r = sys_inotify_add(g->fd, target, w->mask | IN_MASK_CREATE);
	if (r < 0)
		return r;
	g->next = r + 1;
	return r == w->number ? 0 : -EPROTO;
}

static int give_all(struct files_open *o, const struct inotify *in, int fd)
{
	scoped_fd int blank = sys_memfd("mulligan-blank", 0);
	if (blank < 0)
		return blank;
	struct giving g = { o, fd, blank, 1 };
	int r = 0;
	vec_each(struct inotify_watch, w, &in->watches)
		r = r ? r : give_watch(&g, w);
	if (r == 0)
		r = advance(&g, in->next);
	if (r)
		return r;
	int *quiet = vec_add(&o->inotifys);
	if (!quiet)
		return -ENOMEM;
	*quiet = sys_dup(fd);
	return *quiet < 0 ? *quiet : 0;
}

int inotify_join(struct files_open *o, int *file)
{
	for (*file = 0; *file < (int)o->image->files.n; (*file)++) {
		const struct inotify *in = inotify_of(image_file(o->image, *file));
		int r = in && *kind_fd(o, *file) >= 0 ? give_all(o, in, *kind_fd(o, *file)) : 0;
		if (r)
			return r;
	}
	return 0;
}

static void free_inotify(struct image_file *f)
{
	struct inotify *in = f->own;
	if (in)
		inotify_watches_deinit(&in->watches);
}

const struct file_kind kind_inotify = {
	.kind = FILE_INOTIFY,
	.is = is_inotify,
	.look = look_inotify,
	.open = open_inotify,
	.look_end = look_inotify_end,
	.free = free_inotify,
};
