/*
 * loop.h - the keeper's one event loop.
 *
 * Sources are descriptors, timers are points in monotonic time, tasks are
 * work without an event: `soon` before the loop sleeps again, `idle` one at a
 * time and only when no event waits, so that preparing the next rollback never
 * delays a request.
 *
 * One event is taken per turn: whatever a handler closes or frees, no stale
 * event of it can follow. Everything is embedded in its owner, who takes it
 * out before it dies.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

/* Whoever has a source, a timer or a task embedded, from the pointer to it. */
#define loop_owner(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

struct loop_source {
	int fd;
	uint32_t events;	/* EPOLLIN.. asked for */
	bool added;
	void (*ready)(struct loop_source *s, uint32_t events);
	struct loop_source *next, **link;
};

struct loop_timer {
	uint64_t deadline_ns;	/* clock_now_ns() */
	void (*fire)(struct loop_timer *t);
	struct loop_timer *next;
	bool set;
};

struct loop_task {
	void (*run)(struct loop_task *t);
	struct loop_task *next;
	bool queued;
};

struct loop_queue {
	struct loop_task *first, **last;
};

struct loop {
	int epoll_fd;
	struct loop_source *sources;
	struct loop_timer *timers;	/* soonest first */
	struct loop_queue soon, idle;
	uint64_t last_event_ns;		/* clock_now_ns() */
	uint64_t idle_since_ns;		/* when idle work was queued */
	bool stopped;
};

must_check int loop_init(struct loop *l);
void loop_deinit(struct loop *l);

/* A source must stay where it is until it is removed. */
must_check int loop_add(struct loop *l, struct loop_source *s, uint32_t events);
must_check int loop_change(struct loop *l, struct loop_source *s, uint32_t events);
void loop_remove(struct loop *l, struct loop_source *s);

/* Fire once at the deadline. Setting it again moves it. */
void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t deadline_ns);
void loop_timer_cancel(struct loop *l, struct loop_timer *t);

/*
 * Queue a task; one that is queued stays where it is. Idle tasks run one at a
 * time, after nothing has happened for 2 ms, or 50 ms after they were queued.
 */
void loop_soon(struct loop *l, struct loop_task *t);
void loop_idle(struct loop *l, struct loop_task *t);
void loop_task_cancel(struct loop *l, struct loop_task *t);

/* Until loop_stop(). 0 or -errno. */
must_check int loop_run(struct loop *l);
void loop_stop(struct loop *l);

/*
 * In the child of a fork(), before anything else touches the loop: an epoll of
 * its own with the same sources. The old one is shared with the parent: what
 * the child removed from it would be lost for the parent. On failure the loop
 * has none, and only removing is allowed.
 */
must_check int loop_after_fork(struct loop *l);
