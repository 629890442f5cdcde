/*
 * posix_timers.c - timers of timer_create(2).
 *
 * /proc lists them: number, clock, signal, whom it goes to. What is left of
 * each the process itself is asked. They are made again under the same
 * numbers when all threads are there, and armed after the gate has opened.
 *
 * Numbers ascend in a process from 0. Linux 6.15 makes a timer with a number
 * of choice; before, timers are made and deleted until the next number is due.
 */
#include "parts/posix_timers.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "parts/part.h"
#include "sys/probe.h"

enum {
	RESTORE_IDS = 77,	/* PR_TIMER_CREATE_RESTORE_IDS */
	NUMBER_MAX = 200,	/* that timers are made and deleted for */
	TIMERS_MAX = 30,	/* that run: room behind the frame, tree.c */
	THREAD_CLOCK = -2,	/* CLOCK_THREAD_CPUTIME_ID of whoever makes it */
	PROCESS_CLOCK = -6,	/* CLOCK_PROCESS_CPUTIME_ID */
};

static pid_t thread_inside(const struct frozen_proc *f, pid_t tid)
{
	vec_each(struct frozen_thread, t, &f->threads)
		if (t->tid == tid)
			return t->ns_tid;
	return 0;
}

/* One entry of four lines; moves *text behind it. */
static int parse(const char **text, struct image_timer *t, int *tid)
{
	char how[16], whom[16];
	unsigned long long value;
	int len = 0;
	if (sscanf(*text, "ID: %d signal: %d/%llx notify: %15[a-z]/%15[a-z].%d ClockID: %d%n",
		   &t->id, &t->signo, &value, how, whom, tid, &t->clock, &len) != 7 || !len)
		return -EPROTO;
	t->value = value;
	t->notify = !strcmp(how, "signal") ? SIGEV_SIGNAL :
		    !strcmp(how, "none") ? SIGEV_NONE : SIGEV_THREAD;
	if (!strcmp(whom, "tid"))
		t->notify |= SIGEV_THREAD_ID;
	*text += len;
	while (**text == '\n')
		++*text;
	return 0;
}

static const char *why_not(const struct frozen_proc *f, const struct image_timer *t)
{
	if ((t->notify & SIGEV_THREAD_ID) && !t->tid)
		return "a POSIX timer whose thread has ended";
	if (t->clock < 0 && t->clock != PROCESS_CLOCK &&
	    (t->clock != THREAD_CLOCK || f->threads.n > 1))
		return "a POSIX timer of another's processor time, or of one of several threads";
	if (t->id > NUMBER_MAX && !sys_has(SYS_F_TIMER_IDS))
		return "a POSIX timer with a high number (before Linux 6.15)";
	return NULL;
}

static int by_id(const void *a, const void *b)
{
	return ((const struct image_timer *)a)->id - ((const struct image_timer *)b)->id;
}

int posix_timers_look(struct look *l, int i, struct err *e)
{
	struct image_proc *p = look_proc(l, i);
	const struct frozen_proc *f = frozen_proc(l->frozen, (size_t)i);
	p->timers = VEC_INIT(struct image_timer);
	int n = procfs_read(l->procfs, f->pid, 0, "timers");
	/* ENOENT: the kernel has none */
	if (n == -ENOENT || n == -ESRCH)
		return 0;
	if (n < 0)
		return look_refuse(e, p, -1, "its timers: %s", strerror(-n));
	for (const char *text = l->procfs->text.data; n && *text;) {
		struct image_timer *t = vec_add(&p->timers);
		if (!t)
			return err_set(e, ENOMEM, "out of memory");
		int tid = 0;
		if (parse(&text, t, &tid))
			return look_refuse(e, p, -1, "its POSIX timers cannot be read");
		t->tid = thread_inside(f, tid);
		const char *why = why_not(f, t);
		if (why)
			return look_refuse(e, p, -1, "%s", why);
	}
	if (p->timers.n > TIMERS_MAX)
		return look_refuse(e, p, -1, "it has more than %d POSIX timers", TIMERS_MAX);
	if (p->timers.n)
		qsort(p->timers.data, p->timers.n, sizeof(struct image_timer), by_id);
	return 0;
}

void posix_timers_ask(const struct image_proc *p, struct asked *a)
{
	a->timers = prog_space(a->prog->arena, (p->timers.n + 1) * sizeof(*a->timers), NULL);
	for (size_t k = 0; a->timers && k < p->timers.n; k++) {
		const struct image_timer *t = vec_at(&p->timers, k);
		prog_sys(a->prog, SYS_timer_gettime, (uint64_t)t->id,
			 prog_remote(a->prog->arena, &a->timers[k]));
	}
}

void posix_timers_heard(struct image_proc *p, const struct asked *a)
{
	for (size_t k = 0; a->timers && k < p->timers.n; k++) {
		struct image_timer *t = vec_at(&p->timers, k);
		t->left = a->timers[k];
	}
}

static void make(struct prog *p, const struct image_timer *t, uint64_t id_address)
{
	struct sigevent event = { .sigev_signo = t->signo, .sigev_notify = t->notify };
	event.sigev_value.sival_ptr = (void *)t->value;
	/* glibc has no name for it in every release */
	memcpy((char *)&event + 16, &t->tid, sizeof(t->tid));
	prog_sys(p, SYS_timer_create, (uint64_t)(int64_t)t->clock,
		 prog_data(p->arena, &event, sizeof(event)), id_address);
}

/* Until number `to` is the next: each must be what we think it is. */
static void skip(struct prog *p, int from, int to, uint64_t id_address)
{
	const struct image_timer none = { .clock = CLOCK_MONOTONIC, .notify = SIGEV_NONE };
	for (int id = from; id < to; id++) {
		make(p, &none, id_address);
		prog_sys(p, SYS_timer_delete, (uint64_t)id);
	}
}

void posix_timers_load(struct prog *p, const struct image_proc *proc)
{
	bool chosen = sys_has(SYS_F_TIMER_IDS);
	uint64_t left;
	int next = 0;
	if (!proc->timers.n)
		return;
	prog_space(p->arena, sizeof(struct itimerspec), &left);
	if (chosen)
		prog_sys(p, SYS_prctl, RESTORE_IDS, 1, 0, 0, 0);
	vec_each(struct image_timer, t, &proc->timers) {
		uint64_t id_address = prog_data(p->arena, &t->id, sizeof(t->id));
		if (!chosen)
			skip(p, next, t->id, id_address);
		make(p, t, id_address);
		/* it fails where the number is another */
		prog_sys(p, SYS_timer_gettime, (uint64_t)t->id, left);
		next = t->id + 1;
	}
	if (chosen)
		prog_sys(p, SYS_prctl, RESTORE_IDS, 0, 0, 0, 0);
}

void posix_timers_load_after(struct prog *after, const struct image_proc *proc)
{
	vec_each(struct image_timer, t, &proc->timers)
		if (t->left.it_value.tv_sec || t->left.it_value.tv_nsec)
			prog_sys(after, SYS_timer_settime, (uint64_t)t->id, 0,
				 prog_data(after->arena, &t->left, sizeof(t->left)), 0);
}
