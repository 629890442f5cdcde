/*
 * epoll.c - epoll(7): what is watched, under which number, and whether it has
 * been told already.
 *
 * The kernel knows an entry by a description and the number that it had when
 * it was added; the number may be closed or something else's by now. fdinfo
 * lists the entries, kcmp(2) tells which description is meant. The keeper
 * adds them again, with each description put under that number for a moment.
 *
 * To add what is ready is to be told of it (once more), so with EPOLLET
 * something may have to be taken back. What an epoll has still to tell cannot
 * be seen by entry, only whether there is anything. So:
 *
 *	nothing to tell		entries are added, then all is taken
 *	something to tell	edges of ready targets are told, maybe again
 *
 * An entry with EPOLLONESHOT that was told of watches nothing, not even
 * errors; no call adds such a one. It is added armed, and told of.
 *
 * A signalfd wakes the process that added it, and a pidfd is not there before
 * its process is: a process that has both numbers adds these ("late").
 *
 * Must not: poll an epoll that has a signalfd in it. That asks for signals of
 * the caller, and the kernel forgets the entry when there is none.
 */
#include "parts/epoll.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "parts/kind.h"
#include "parts/pidfd.h"
#include "sys/event.h"
#include "sys/fd.h"
#include "sys/lookup.h"
#include "sys/proc.h"

#ifndef EPOLLWAKEUP
#define EPOLLWAKEUP (1u << 29)
#endif

enum {
	EVENTS_ALL = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDNORM | EPOLLRDBAND | EPOLLWRNORM |
		     EPOLLWRBAND | EPOLLMSG | EPOLLRDHUP,
	EVENTS_POLL = EVENTS_ALL | EPOLLERR | EPOLLHUP,
	DEPTH_MAX = 8,		/* EP_MAX_NESTS of fs/eventpoll.c is 4 */
	TAKE_MAX = 64,
};

/* Bits that are no events: EP_PRIVATE_BITS of fs/eventpoll.c. */
static const uint32_t private_bits = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE;

struct entry {
	int number;
	uint32_t events;
	uint64_t data;
	int file;		/* image.files */
	bool told;		/* EPOLLET: ready, and that was told */
};

struct epoll {
	struct vec entries;	/* struct entry, in the kernel's order */
	bool may_tell;		/* something is to be told, or nobody knows */
};

static struct epoll *epoll_of(const struct tree_image *im, int file)
{
	const struct image_file *f = image_file(im, file);
	return f->kind == FILE_EPOLL ? f->own : NULL;
}

static bool is_epoll(const struct kind_look *at, const struct image_file *f)
{
	(void)f;
	return !strcmp(at->link, "anon_inode:[eventpoll]");
}

static int look_epoll(const struct kind_look *at, struct image_file *f, struct err *e)
{
	struct epoll *ep = f->own = calloc(1, sizeof(*ep));
	if (!ep)
		return err_set(e, ENOMEM, "out of memory");
	ep->entries = VEC_INIT(struct entry);
	for (const char *line = at->info->rest; *line;) {
		int number;
		unsigned int events;
		unsigned long long data;
		if (sscanf(line, "tfd: %d events: %x data: %llx", &number, &events, &data) == 3) {
			struct entry *entry = vec_add(&ep->entries);
			if (!entry)
				return err_set(e, ENOMEM, "out of memory");
			*entry = (struct entry){ number, events, data, IMAGE_NONE, false };
		}
		const char *end = strchr(line, '\n');
		line = end ? end + 1 : line + strlen(line);
	}
	return 0;
}

/* The descriptor by which a description was seen first. */
static const struct look_seen *seen_of(const struct look *l, int file)
{
	vec_each(struct look_seen, s, &l->seen)
		if (s->file == file)
			return s;
	return NULL;
}

static int frozen_of(const struct look *l, pid_t pid)
{
	for (size_t i = 0; i < l->frozen->procs.n; i++)
		if (frozen_proc(l->frozen, i)->pid == pid)
			return (int)i;
	return IMAGE_NONE;
}

int epoll_copy(const struct look *l, int file)
{
	const struct look_seen *s = seen_of(l, file);
	int i = s ? frozen_of(l, s->pid) : IMAGE_NONE;
	return i == IMAGE_NONE ? -ENOENT :
				 sys_pidfd_getfd(frozen_proc(l->frozen, (size_t)i)->pidfd, s->fd);
}

/* Which description is it? Most often the one with that number. */
static int find_target(const struct look *l, const struct look_seen *s, const struct entry *entry,
		       unsigned int nth)
{
	const struct sys_epoll_slot slot = { s->fd, entry->number, nth };
	int i = frozen_of(l, s->pid);
	vec_each(struct image_fd, fd, &look_proc(l, i)->fds)
		if (fd->fd == entry->number &&
		    sys_kcmp_epoll(s->pid, fd->fd, &slot, s->pid) == 0)
			return fd->file;
	vec_each(struct look_seen, other, &l->seen) {
		int r = sys_kcmp_epoll(other->pid, other->fd, &slot, s->pid);
		if (r <= 0)
			return r ? r : other->file;
	}
	return IMAGE_NONE;
}

static int refuse_entry(const struct look *l, int file, const struct entry *entry,
			const char *why, struct err *e)
{
	char text[ERR_CAUSE_BYTES / 4];
	snprintf(text, sizeof(text), "it watches %s, under number %d", why, entry->number);
	return kind_refuse_file(l, file, text, e);
}

static int find_targets(const struct look *l, int file, struct err *e)
{
	struct rlimit limit;
	const struct look_seen *s = seen_of(l, file);
	int r = s ? sys_prlimit(0, RLIMIT_NOFILE, NULL, &limit) : -ENOENT;
	if (r)
		return err_set(e, -r, "look at an epoll: %s", strerror(-r));
	const struct vec *entries = &epoll_of(l->image, file)->entries;
	int most = 0;
	vec_each(struct entry, entry, entries)
		most = entry->number > most ? entry->number : most;
	/* how many there were with each number */
	scoped_free unsigned int *n = calloc((size_t)most + 1, sizeof(*n));
	if (!n)
		return err_set(e, ENOMEM, "out of memory");
	vec_each(struct entry, entry, entries) {
		if (entry->number < 0 || (rlim_t)entry->number >= limit.rlim_max)
			return refuse_entry(l, file, entry, "something above RLIMIT_NOFILE", e);
		entry->file = find_target(l, s, entry, n[entry->number]++);
		if (entry->file < 0)
			return refuse_entry(l, file, entry, "a file that no process has open", e);
	}
	return 0;
}

static bool is_disarmed(const struct entry *entry)
{
	return !(entry->events & ~private_bits);
}

static bool is_late(const struct tree_image *im, const struct entry *entry)
{
	const struct image_file *f = image_file(im, entry->file);
	return f->kind == FILE_SIGNALFD || pidfd_is_late(f);
}

/* Are there entries, here or below, that only their process may poll? */
static bool has_signalfd(const struct tree_image *im, int file, int depth)
{
	vec_each(struct entry, entry, &epoll_of(im, file)->entries) {
		const struct image_file *f = image_file(im, entry->file);
		if (f->kind == FILE_SIGNALFD || depth >= DEPTH_MAX ||
		    (f->kind == FILE_EPOLL && has_signalfd(im, entry->file, depth + 1)))
			return true;
	}
	return false;
}

/* An edge was told, or there was none: is there anything to be told? */
static int find_told(const struct look *l, int file)
{
	struct epoll *ep = epoll_of(l->image, file);
	ep->may_tell = true;
	if (has_signalfd(l->image, file, 0))
		return 0;
	scoped_fd int copy = epoll_copy(l, file);
	int r = copy < 0 ? copy : sys_poll_now(copy, EPOLLIN);
	if (r < 0)
		return r;
	ep->may_tell = r & EPOLLIN;
	vec_each(struct entry, entry, &ep->entries)
		entry->told = (entry->events & EPOLLET) && !ep->may_tell;
	return 0;
}

/* The process that adds a late entry; IMAGE_NONE: nobody has both. */
static int adder(const struct tree_image *im, int file, const struct entry *entry)
{
	for (int i = 0; i < (int)im->procs.n; i++) {
		bool has_epoll = false, has_target = false;
		vec_each(struct image_fd, fd, &image_proc(im, i)->fds) {
			has_epoll |= fd->file == file;
			has_target |= fd->file == entry->file && fd->fd == entry->number;
		}
		if (has_epoll && has_target)
			return i;
	}
	return IMAGE_NONE;
}

/* Nobody can add them. */
static int refuse_late(const struct look *l, int file, struct err *e)
{
	vec_each(struct entry, entry, &epoll_of(l->image, file)->entries)
		if (pidfd_is_late(image_file(l->image, entry->file)) &&
		    adder(l->image, file, entry) == IMAGE_NONE)
			return refuse_entry(l, file, entry, "a pidfd that is not", e);
	return 0;
}

/* When the targets of all are known, at the last one. */
static int look_epoll_end(struct look *l, int file, struct err *e)
{
	int r = find_targets(l, file, e);
	if (r == 0)
		r = refuse_late(l, file, e);
	if (r)
		return r;
	for (int i = file + 1; i < (int)l->image->files.n; i++)
		if (epoll_of(l->image, i))
			return 0;
	for (int i = 0; i <= file && r == 0; i++)
		if (epoll_of(l->image, i))
			r = find_told(l, i);
	return r ? err_set(e, -r, "look at an epoll: %s", strerror(-r)) : 0;
}

static int open_epoll(struct files_open *o, int file)
{
	const struct image_file *f = image_file(o->image, file);
	scoped_fd int fd = sys_epoll_new();
	if (fd < 0)
		return fd;
	int r = f->flags & O_NONBLOCK ? sys_fcntl(fd, F_SETFL, O_NONBLOCK) : 0;
	if (r < 0)
		return r;
	*kind_fd(o, file) = take_fd(&fd);
	return 0;
}

static void free_epoll(struct image_file *f)
{
	struct epoll *ep = f->own;
	if (ep)
		vec_deinit(&ep->entries);
}

static bool is_first_here(const struct image_proc *p, const struct image_fd *fd)
{
	vec_each(struct image_fd, other, &p->fds)
		if (other->file == fd->file)
			return other == fd;
	return false;
}

static void load_epoll(struct load *l, const struct image_fd *fd, bool first)
{
	(void)first;
	const struct epoll *ep = epoll_of(l->image, fd->file);
	struct prog *p = l->prog;
	bool told = false;
	if (!is_first_here(image_proc(l->image, l->proc), fd))
		return;
	vec_each(struct entry, entry, &ep->entries) {
		if (!is_late(l->image, entry) || adder(l->image, fd->file, entry) != l->proc)
			continue;
		const struct epoll_event ev = { .events = entry->events,
						.data.u64 = entry->data };
		prog_sys(p, SYS_epoll_ctl, (uint64_t)fd->fd, EPOLL_CTL_ADD,
			 (uint64_t)entry->number, prog_data(p->arena, &ev, sizeof(ev)));
		told |= entry->told;
	}
	if (!told)
		return;
	uint64_t events;
	prog_space(p->arena, TAKE_MAX * sizeof(struct epoll_event), &events);
	prog_sys(p, SYS_epoll_wait, (uint64_t)fd->fd, events, TAKE_MAX, 0);
}

/* One epoll that entries are added to. */
struct adding {
	struct files_open *o;
	int file;
	int fd;			/* the epoll, here */
	bool may_take;		/* what is to be told now is of our making */
	bool moved_only;	/* a live one: targets that are opened again */
};

static bool is_ours(const struct adding *a, const struct entry *entry)
{
	if (*kind_fd(a->o, entry->file) < 0 || (a->moved_only && !kind_is_wanted(a->o, entry->file)))
		return false;
	return !is_late(a->o->image, entry) ||
	       adder(a->o->image, a->file, entry) == IMAGE_NONE;
}

static int add(const struct adding *a, const struct entry *entry, uint32_t events)
{
	return sys_epoll_add_as(a->fd, *kind_fd(a->o, entry->file), entry->number, events,
				entry->data);
}

static int add_armed(const struct adding *a, const struct entry *entry, uint32_t events)
{
	int r = add(a, entry, entry->events | events);
	if (r == 0)
		r = sys_epoll_take(a->fd, 1);
	return r < 0 ? r : 0;
}

/* An empty pipe is made ready for a moment: nobody else has it yet. */
static int add_disarmed_pipe(const struct adding *a, const struct entry *entry)
{
	char byte = 0;
	int reader = *kind_fd(a->o, entry->file);
	scoped_fd int writer = sys_reopen(reader, O_WRONLY | O_NONBLOCK);
	if (writer < 0)
		return writer;
	if (sys_write(writer, &byte, 1) != 1)
		return -EIO;
	int r = add_armed(a, entry, EPOLLIN);
	return sys_read(reader, &byte, 1) == 1 ? r : -EIO;
}

static int add_disarmed(const struct adding *a, const struct entry *entry)
{
	const struct image_file *f = image_file(a->o->image, entry->file);
	int ready = sys_poll_now(*kind_fd(a->o, entry->file), EVENTS_POLL);
	if (ready < 0)
		return ready;
	if (ready && a->may_take)
		return add_armed(a, entry, EVENTS_ALL);
	const struct image_pipe *pipe = f->kind == FILE_PIPE || f->kind == FILE_FIFO ?
						image_pipe(a->o->image, f->pipe) : NULL;
	bool is_reader = (f->flags & O_ACCMODE) == O_RDONLY;
	if (pipe && is_reader && a->may_take && (pipe->has_writer || pipe->stream != IMAGE_NONE))
		return add_disarmed_pipe(a, entry);
	/* with errors, as there is no other way: see docs/limits.md */
	return add(a, entry, entry->events);
}

static int add_all_disarmed(const struct adding *a)
{
	int r = 0;
	vec_each(struct entry, entry, &epoll_of(a->o->image, a->file)->entries)
		if (r == 0 && is_disarmed(entry) && is_ours(a, entry))
			r = add_disarmed(a, entry);
	return r;
}

static int add_all_armed(const struct adding *a)
{
	const struct epoll *ep = epoll_of(a->o->image, a->file);
	unsigned int told = 0;
	int r = 0;
	vec_each(struct entry, entry, &ep->entries) {
		if (r || is_disarmed(entry) || !entry->told || !is_ours(a, entry))
			continue;
		r = add(a, entry, entry->events);
		told++;
	}
	if (r == 0 && told && a->may_take)
		r = sys_epoll_take(a->fd, told);
	vec_each(struct entry, entry, &ep->entries)
		if (r >= 0 && !is_disarmed(entry) && !entry->told && is_ours(a, entry))
			r = add(a, entry, entry->events);
	return r < 0 ? r : 0;
}

/* How many epolls lie below each other here. */
static int rank_of(const struct tree_image *im, int file)
{
	int rank = 0;
	vec_each(struct entry, entry, &epoll_of(im, file)->entries)
		if (epoll_of(im, entry->file)) {
			int below = rank_of(im, entry->file) + 1;
			rank = below > rank ? below : rank;
		}
	return rank;
}

static struct adding adding_new(struct files_open *o, int file)
{
	return (struct adding){ .o = o, .file = file, .fd = *kind_fd(o, file), .may_take = true };
}

static int add_ranks(struct files_open *o)
{
	int r = 0;
	for (int i = 0; r == 0 && i < (int)o->image->files.n; i++) {
		const struct adding a = adding_new(o, i);
		if (epoll_of(o->image, i) && a.fd >= 0)
			r = add_all_disarmed(&a);
	}
	/* what lies below first, so that above is told once */
	for (int rank = 0; rank < DEPTH_MAX; rank++)
		for (int i = 0; r == 0 && i < (int)o->image->files.n; i++) {
			const struct adding a = adding_new(o, i);
			if (epoll_of(o->image, i) && a.fd >= 0 && rank_of(o->image, i) == rank)
				r = add_all_armed(&a);
		}
	return r;
}

/* Numbers may be higher than ours: the guest's limit is its own. */
static int raise_limit(struct rlimit *before)
{
	int r = sys_prlimit(0, RLIMIT_NOFILE, NULL, before);
	struct rlimit most = { before->rlim_max, before->rlim_max };
	return r ? r : sys_prlimit(0, RLIMIT_NOFILE, &most, NULL);
}

int epoll_join(struct files_open *o)
{
	bool any = false;
	for (int i = 0; i < (int)o->image->files.n; i++)
		any |= epoll_of(o->image, i) && *kind_fd(o, i) >= 0;
	struct rlimit limit;
	int r = any ? raise_limit(&limit) : 0;
	if (!any || r)
		return r;
	r = add_ranks(o);
	int back = sys_prlimit(0, RLIMIT_NOFILE, &limit, NULL);
	return r ? r : back;
}

bool epoll_watches_moved(const struct files_open *o, int file)
{
	const struct epoll *ep = epoll_of(o->image, file);
	if (!ep || !o->wanted)
		return false;
	vec_each(struct entry, entry, &ep->entries)
		if (kind_is_wanted(o, entry->file))
			return true;
	return false;
}

int epoll_add_moved(struct files_open *o, int file, int epoll_fd)
{
	const struct adding a = { .o = o,
				  .file = file,
				  .fd = epoll_fd,
				  .may_take = !epoll_of(o->image, file)->may_tell,
				  .moved_only = true };
	struct rlimit limit;
	int r = raise_limit(&limit);
	if (r)
		return r;
	r = add_all_disarmed(&a);
	if (r == 0)
		r = add_all_armed(&a);
	int back = sys_prlimit(0, RLIMIT_NOFILE, &limit, NULL);
	return r ? r : back;
}

static int forget_in(const struct look *l, int epoll, int file, int old_fd)
{
	scoped_fd int copy = -1;
	int r = 0;
	vec_each(struct entry, entry, &epoll_of(l->image, epoll)->entries) {
		if (r || entry->file != file)
			continue;
		if (copy < 0)
			copy = epoll_copy(l, epoll);
		r = copy < 0 ? copy : sys_epoll_remove_as(copy, old_fd, entry->number);
	}
	return r;
}

int epoll_forget(const struct look *l, int file, int old_fd)
{
	struct rlimit limit;
	int r = raise_limit(&limit);
	if (r)
		return r;
	for (int i = 0; r == 0 && i < (int)l->image->files.n; i++)
		if (epoll_of(l->image, i))
			r = forget_in(l, i, file, old_fd);
	int back = sys_prlimit(0, RLIMIT_NOFILE, &limit, NULL);
	return r ? r : back;
}

const struct file_kind kind_epoll = {
	.kind = FILE_EPOLL,
	.is = is_epoll,
	.look = look_epoll,
	.look_end = look_epoll_end,
	.open = open_epoll,
	.load = load_epoll,
	.free = free_epoll,
};
