#include "keeper/loop.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "sys/fault.h"

/*
 * Idle work is done in pieces of up to 20 ms, and whoever asks for something
 * in that time waits. A client that has just been answered asks again within
 * a millisecond (a rollback, then the first command); one that never stops
 * asking must not keep a standby from being built.
 */
enum { QUIET_NS = 2000000, STARVED_NS = 50000000 };

int loop_init(struct loop *l)
{
	*l = (struct loop){ .epoll_fd = epoll_create1(EPOLL_CLOEXEC) };
	l->soon.last = &l->soon.first;
	l->idle.last = &l->idle.first;
	return l->epoll_fd < 0 ? -errno : 0;
}

void loop_deinit(struct loop *l)
{
	cleanup_fd(&l->epoll_fd);
}

static int loop_ctl(struct loop *l, int op, struct loop_source *s)
{
	int r = op == EPOLL_CTL_ADD ? sys_fault("epoll_ctl") : 0;
	if (r)
		return r;
	struct epoll_event ev = { .events = s->events, .data.ptr = s };
	return epoll_ctl(l->epoll_fd, op, s->fd, &ev) ? -errno : 0;
}

int loop_add(struct loop *l, struct loop_source *s, uint32_t events)
{
	assert(!s->added);
	s->events = events;
	int r = loop_ctl(l, EPOLL_CTL_ADD, s);
	if (r)
		return r;
	s->added = true;
	s->next = l->sources;
	s->link = &l->sources;
	if (s->next)
		s->next->link = &s->next;
	l->sources = s;
	return 0;
}

int loop_change(struct loop *l, struct loop_source *s, uint32_t events)
{
	assert(s->added);
	if (s->events == events)
		return 0;
	s->events = events;
	return loop_ctl(l, EPOLL_CTL_MOD, s);
}

void loop_remove(struct loop *l, struct loop_source *s)
{
	if (!s->added)
		return;
	/* fails only if the descriptor was closed, and then it is gone too */
	loop_ctl(l, EPOLL_CTL_DEL, s);
	s->added = false;
	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
}

void loop_timer_cancel(struct loop *l, struct loop_timer *t)
{
	if (!t->set)
		return;
	struct loop_timer **at = &l->timers;
	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	t->set = false;
}

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t deadline_ns)
{
	loop_timer_cancel(l, t);
	t->deadline_ns = deadline_ns;
	struct loop_timer **at = &l->timers;
	while (*at && (*at)->deadline_ns <= deadline_ns)
		at = &(*at)->next;
	t->next = *at;
	*at = t;
	t->set = true;
}

static void queue_add(struct loop_queue *q, struct loop_task *t)
{
	if (t->queued)
		return;
	t->queued = true;
	t->next = NULL;
	*q->last = t;
	q->last = &t->next;
}

static bool queue_remove(struct loop_queue *q, struct loop_task *t)
{
	for (struct loop_task **at = &q->first; *at; at = &(*at)->next) {
		if (*at != t)
			continue;
		*at = t->next;
		if (q->last == &t->next)
			q->last = at;
		t->queued = false;
		return true;
	}
	return false;
}

static bool queue_run_one(struct loop_queue *q)
{
	struct loop_task *t = q->first;
	if (!t)
		return false;
	queue_remove(q, t);
	t->run(t);
	return true;
}

void loop_soon(struct loop *l, struct loop_task *t)
{
	queue_add(&l->soon, t);
}

void loop_idle(struct loop *l, struct loop_task *t)
{
	if (!l->idle.first)
		l->idle_since_ns = clock_now_ns();
	queue_add(&l->idle, t);
}

void loop_task_cancel(struct loop *l, struct loop_task *t)
{
	if (t->queued && !queue_remove(&l->soon, t))
		queue_remove(&l->idle, t);
}

/* Nanoseconds until idle work may be done. */
static uint64_t quiet_left_ns(const struct loop *l, uint64_t now)
{
	if (l->last_event_ns + QUIET_NS <= now || l->idle_since_ns + STARVED_NS <= now)
		return 0;
	return l->last_event_ns + QUIET_NS - now;
}

static int to_ms(uint64_t ns)
{
	uint64_t ms = (ns + 999999) / 1000000;
	return ms > 1 << 30 ? 1 << 30 : (int)ms;
}

/* Fire what is due; how long to sleep in ms, -1 for ever. */
static int loop_timers_run(struct loop *l)
{
	uint64_t now = clock_now_ns();
	while (l->timers && l->timers->deadline_ns <= now) {
		struct loop_timer *t = l->timers;
		loop_timer_cancel(l, t);
		t->fire(t);
	}
	while (queue_run_one(&l->soon))
		;
	if (l->stopped)
		return 0;
	uint64_t timer_ns = l->timers ? l->timers->deadline_ns - now : UINT64_MAX;
	if (!l->idle.first)
		return l->timers ? to_ms(timer_ns) : -1;
	uint64_t quiet_ns = quiet_left_ns(l, now);
	return to_ms(quiet_ns < timer_ns ? quiet_ns : timer_ns);
}

int loop_run(struct loop *l)
{
	l->stopped = false;
	while (!l->stopped) {
		while (queue_run_one(&l->soon))
			;
		int wait_ms = loop_timers_run(l);
		if (l->stopped)
			break;
		struct epoll_event ev;
		int n = epoll_wait(l->epoll_fd, &ev, 1, wait_ms);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			struct loop_source *s = ev.data.ptr;
			s->ready(s, ev.events);
			l->last_event_ns = clock_now_ns();
		} else if (n == 0 && quiet_left_ns(l, clock_now_ns()) == 0) {
			queue_run_one(&l->idle);
		}
	}
	return 0;
}

void loop_stop(struct loop *l)
{
	l->stopped = true;
}

int loop_after_fork(struct loop *l)
{
	cleanup_fd(&l->epoll_fd);
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll_fd < 0)
		return -errno;
	for (struct loop_source *s = l->sources; s; s = s->next) {
		int r = loop_ctl(l, EPOLL_CTL_ADD, s);
		if (r)
			return r;
	}
	return 0;
}
