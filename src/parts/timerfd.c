/*
 * timerfd.c - timerfd(2).
 *
 * A relative timer goes on with the time that was left, an absolute one
 * expires at its point in time; so neither may run while a standby waits. The
 * keeper keeps a descriptor of each running timer and arms them all in the
 * moment in which it opens the gate: files_arm_timers().
 *
 * A periodic timer that has expired stands still in the kernel until somebody
 * reads it, and what is left of its period cannot be seen. To ask for its
 * time makes it run again and counts what was missed; a reader gets the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>

#include "parts/kind.h"
#include "sys/event.h"
#include "sys/fd.h"
#include "sys/proc.h"

enum { NS_PER_S = 1000000000 };

struct timer {
	int clock;
	int flags;			/* TFD_TIMER_* */
	uint64_t ticks;			/* expirations not read */
	struct itimerspec value;	/* absolute with TFD_TIMER_ABSTIME */
};

static bool is_timerfd(const struct kind_look *at, const struct image_file *f)
{
	(void)f;
	return !strcmp(at->link, "anon_inode:[timerfd]");
}

static int parse_time(const char *rest, const char *key, struct timespec *out)
{
	const char *text = procfs_field(rest, key);
	long long s, ns;
	if (!text || sscanf(text, " (%lld, %lld)", &s, &ns) != 2)
		return -EPROTO;
	*out = (struct timespec){ (time_t)s, (long)ns };
	return 0;
}

static int parse(const char *rest, struct timer *t)
{
	const char *clock = procfs_field(rest, "clockid");
	const char *ticks = procfs_field(rest, "ticks");
	const char *flags = procfs_field(rest, "settime flags");
	if (!clock || !ticks || !flags)
		return -EPROTO;
	t->clock = atoi(clock);
	t->ticks = strtoull(ticks, NULL, 10);
	t->flags = (int)strtol(flags, NULL, 8);
	int r = parse_time(rest, "it_value", &t->value.it_value);
	return r ? r : parse_time(rest, "it_interval", &t->value.it_interval);
}

static bool is_zero(const struct timespec *t)
{
	return !t->tv_sec && !t->tv_nsec;
}

/* See the top: it stands still until it is read. */
static int start_again(const struct kind_look *at, struct timer *t)
{
	scoped_fd int copy = sys_pidfd_getfd(at->fp->pidfd, at->fd->fd);
	struct itimerspec value;
	int r = copy < 0 ? copy : sys_timerfd_get(copy, &value);
	struct procfs_fdinfo info;
	if (r == 0)
		r = procfs_fdinfo(at->l->procfs, at->fp->pid, at->fd->fd, &info);
	if (r >= 0)
		r = parse(info.rest, t);
	/* it expired once more, this moment */
	if (r == 0 && is_zero(&t->value.it_value))
		t->value.it_value = t->value.it_interval;
	return r;
}

/* From time left to point in time; rather late than early. */
static int make_absolute(struct timer *t)
{
	struct timespec now;
	if (clock_gettime(t->clock, &now))
		return -EINVAL;
	struct timespec *value = &t->value.it_value;
	value->tv_sec += now.tv_sec;
	value->tv_nsec += now.tv_nsec;
	if (value->tv_nsec >= NS_PER_S) {
		value->tv_nsec -= NS_PER_S;
		value->tv_sec++;
	}
	return 0;
}

/* May expirations be given back? */
static int try_ticks(void)
{
	scoped_fd int fd = sys_timerfd(CLOCK_MONOTONIC, TFD_NONBLOCK);
	return fd < 0 ? fd : sys_timerfd_set_ticks(fd, 1);
}

static int look_timerfd(const struct kind_look *at, struct image_file *f, struct err *e)
{
	struct timer *t = f->own = calloc(1, sizeof(*t));
	if (!t)
		return err_set(e, ENOMEM, "out of memory");
	int r = parse(at->info->rest, t);
	if (r == 0 && t->ticks && !is_zero(&t->value.it_interval))
		r = start_again(at, t);
	if (r == 0 && (t->flags & TFD_TIMER_ABSTIME) && !is_zero(&t->value.it_value))
		r = make_absolute(t);
	if (r)
		return look_refuse(e, at->p, at->fd->fd, "its timer: %s", strerror(-r));
	if (t->ticks && try_ticks())
		return kind_refuse(at, "a timer that expired and was not read (this kernel lacks "
				       "CONFIG_CHECKPOINT_RESTORE)", e);
	return 0;
}

static int open_timerfd(struct files_open *o, int file)
{
	const struct image_file *f = image_file(o->image, file);
	const struct timer *t = f->own;
	scoped_fd int fd = sys_timerfd(t->clock, f->flags & O_NONBLOCK);
	if (fd < 0)
		return fd;
	int r = t->ticks ? sys_timerfd_set_ticks(fd, t->ticks) : 0;
	if (r)
		return r;
	if (!is_zero(&t->value.it_value)) {
		struct files_timer *armed = vec_add(&o->timers);
		if (!armed)
			return -ENOMEM;
		*armed = (struct files_timer){ .fd = sys_dup(fd),
					       .flags = t->flags,
					       .ticks = t->ticks,
					       .value = t->value };
		if (armed->fd < 0)
			return armed->fd;
	}
	*kind_fd(o, file) = take_fd(&fd);
	return 0;
}

void files_arm_timers(struct vec *timers)
{
	vec_each(struct files_timer, t, timers) {
		/*
		 * The values were a timer's. ECANCELED: the clock was set; the
		 * timer runs nevertheless.
		 */
		(void)!sys_timerfd_set(t->fd, t->flags, &t->value);
		if (t->ticks)
			(void)!sys_timerfd_set_ticks(t->fd, t->ticks);
	}
	files_timers_deinit(timers);
}

void files_timers_deinit(struct vec *timers)
{
	vec_each(struct files_timer, t, timers)
		cleanup_fd(&t->fd);
	vec_deinit(timers);
}

const struct file_kind kind_timerfd = {
	.kind = FILE_TIMERFD,
	.is = is_timerfd,
	.look = look_timerfd,
	.open = open_timerfd,
};
