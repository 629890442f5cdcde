/*
 * saved.c - the handles of a checkpoint, and the way back to them.
 *
 * A saved handle is a struct command without descriptors; its logs share
 * their bytes with the live ones. Going back is done in two steps: first new
 * handles are made and their ends watched, which may fail and is taken back;
 * then the contents of old and new change places, which cannot fail, so that
 * pointers to handles stay good.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "exec/internal.h"
#include "sys/event.h"

enum {
	SETTLE_NS = 1000000000,
	LATE_NS = 100000000,	/* who was killed is dead by then */
};

void commands_drain(struct commands *t)
{
	t->busy++;
	t->is_quiet = true;
	while (commands_receive(t) > 0)
		;
	for (size_t i = 0; i < t->all.n; i++) {
		struct command *c = *(struct command **)vec_at(&t->all, i);
		stream_drain(t, c, STREAM_STDOUT, false);
		stream_drain(t, c, STREAM_STDERR, false);
		stream_check_input(t, c);
		t->to_sweep = t->to_sweep || c->forgotten;
	}
	commands_arm_timer(t);
	t->is_quiet = false;
	t->busy--;
	commands_sweep(t);
}

static int settle(struct commands *t, struct command *c, struct err *e)
{
	uint64_t until = clock_now_ns() + SETTLE_NS;
	while (!command_is_over(c)) {
		struct pollfd p = {.fd = t->init_fd, .events = POLLIN};
		if (clock_now_ns() > until || poll(&p, 1, SETTLE_NS / 1000000) <= 0)
			return err_set(e, ETIMEDOUT, "init does not say how process %d ended",
				       (int)c->pid);
		commands_drain(t);
	}
	return 0;
}

int commands_settle(struct commands *t, bool (*is_there)(void *ctx, pid_t pid), void *ctx,
		    struct err *e)
{
	int r = 0;
	t->busy++;
	for (size_t i = 0; i < t->all.n && r == 0; i++) {
		struct command *c = *(struct command **)vec_at(&t->all, i);
		if (c->state == COMMAND_RUNNING && !is_there(ctx, c->pid))
			r = settle(t, c, e);
	}
	t->busy--;
	return r;
}

/* A handle like src, without descriptors and spill. NULL: no memory. */
static struct command *command_clone(const struct command *src)
{
	struct command *c = command_new((const char *const *)src->argv);
	if (!c)
		return NULL;
	char **argv = c->argv;
	*c = *src;
	c->argv = argv;
	c->refs = 1;
	c->saved_as = NULL;
	c->untold = 0;
	c->owner = NULL;
	c->cwd = strdup(src->cwd);
	c->input = BUF_INIT;
	buf_add(&c->input, src->input.data, src->input.len);
	bool failed = !c->cwd || c->input.failed;
	for (int i = 0; i < STREAMS; i++) {
		c->stream[i].fd = -1;
		c->stream[i].is_watched = false;
		log_init(&c->stream[i].log, 0, 0, -1);
	}
	for (int i = 0; i < STREAMS && !failed; i++)
		failed = log_copy(&c->stream[i].log, &src->stream[i].log) != 0;
	if (failed) {
		command_free(c);
		return NULL;
	}
	return c;
}

static void free_handles(struct vec *handles)
{
	vec_each (struct command *, c, handles)
		command_free(*c);
	vec_deinit(handles);
}

void commands_saved_deinit(struct commands_saved *s)
{
	free_handles(&s->commands);
}

/*
 * One more reference to what the last checkpoint saved, or a new one if the
 * handle changed. Time left changes always. NULL: no memory.
 */
static struct command *command_save(struct command *live, uint64_t now)
{
	if (live->is_changed || live->deadline_ns || !live->saved_as) {
		struct command *c = command_clone(live);
		if (!c)
			return NULL;
		if (c->deadline_ns)
			c->left_ns = c->deadline_ns > now ? c->deadline_ns - now : 1;
		command_free(live->saved_as);
		live->saved_as = c;
		live->is_changed = false;
	}
	live->saved_as->refs++;
	return live->saved_as;
}

int commands_save(struct commands *t, struct commands_saved *out, struct err *e)
{
	struct commands_saved s = {
		.commands = VEC_INIT(struct command *),
		.next_id = t->next_id,
	};
	uint64_t now = clock_now_ns();
	if (commands_starting(t))
		return err_set(e, EBUSY, "a command is being started");
	if (vec_reserve(&s.commands, t->all.n))
		return err_set(e, ENOMEM, "remember the commands");
	vec_each (struct command *, live, &t->all) {
		struct command *c = command_save(*live, now);
		if (!c) {
			commands_saved_deinit(&s);
			return err_set(e, ENOMEM, "remember the commands");
		}
		*(struct command **)vec_add(&s.commands) = c;
	}
	*out = s;
	return 0;
}

/* The way back */

struct restoring {
	struct commands *t;
	const struct commands_saved *saved;
	const struct command_end *ends;
	size_t n_ends;
	size_t n_used;    /* ends that found their stream */
	struct vec fresh; /* struct command *: one for each saved */
};

static void restoring_deinit(struct restoring *r)
{
	free_handles(&r->fresh);
}

static const struct command_end *find_end(const struct restoring *r, uint64_t id,
					  enum stream_kind kind)
{
	for (size_t i = 0; i < r->n_ends; i++)
		if (r->ends[i].id == id && r->ends[i].stream == kind)
			return &r->ends[i];
	return NULL;
}

/* Give a fresh handle its ends; they are only lent until all has succeeded. */
static int restore_ends(struct restoring *r, struct command *c, struct err *e)
{
	for (int i = 0; i < STREAMS; i++) {
		struct stream *s = &c->stream[i];
		const struct command_end *end = find_end(r, c->id, i);
		if (end && !s->is_open)
			return err_set(e, EINVAL,
				       "an end for stream %d of command %llu, "
				       "which was closed",
				       i, (unsigned long long)c->id);
		if (!s->is_open)
			continue;
		if (!end)
			return err_set(e, EINVAL, "no end for stream %d of command %llu", i,
				       (unsigned long long)c->id);
		r->n_used++;
		if (end->fd < 0) {
			s->is_open = false;
			continue;
		}
		int ret = stream_identify(s, end->fd);
		s->fd = end->fd;
		if (ret == 0)
			ret = stream_watch(r->t, c, i);
		if (ret)
			return err_set(e, -ret, "watch stream %d of command %llu", i,
				       (unsigned long long)c->id);
	}
	return 0;
}

static int restore_fresh(struct restoring *r, struct err *e)
{
	if (vec_reserve(&r->fresh, r->saved->commands.n))
		return err_set(e, ENOMEM, "bring back the commands");
	uint64_t now = clock_now_ns();
	vec_each (struct command *, saved, &r->saved->commands) {
		struct command *c = command_clone(*saved);
		if (!c)
			return err_set(e, ENOMEM, "bring back the commands");
		*(struct command **)vec_add(&r->fresh) = c;
		c->deadline_ns = c->left_ns ? now + c->left_ns : 0;
		c->left_ns = 0;
		c->oom_kills = 0; /* its cgroup has just been taken */
		int ret = restore_ends(r, c, e);
		if (ret)
			return ret;
	}
	if (r->n_used != r->n_ends)
		return err_set(e, EINVAL, "%zu ends for %zu open streams of commands", r->n_ends,
			       r->n_used);
	return 0;
}

/* Nothing happened: the ends are the caller's again. */
static void restore_undo(struct restoring *r)
{
	vec_each (struct command *, c, &r->fresh) {
		for (int i = 0; i < STREAMS; i++) {
			struct stream *s = &(*c)->stream[i];
			if (s->is_watched)
				sys_epoll_remove(r->t->epoll_fd, s->fd);
			s->fd = -1;
		}
	}
}

void commands_close_late(struct commands *t)
{
	vec_each (int, fd, &t->late)
		cleanup_fd(fd);
	t->late.n = 0;
}

/* Who is about to be killed must not hear before that its terminal hung up. */
static void keep_for_late(struct commands *t, struct stream *s)
{
	int copy = fcntl(s->fd, F_DUPFD_CLOEXEC, 3);
	if (copy >= 0)
		*(int *)vec_add(&t->late) = copy;
}

static void close_ends(struct commands *t, struct command *c)
{
	if (c->is_tty && c->stream[STREAM_STDOUT].fd >= 0)
		keep_for_late(t, &c->stream[STREAM_STDOUT]);
	for (int i = 0; i < STREAMS; i++)
		if (c->stream[i].fd >= 0)
			stream_close(t, c, i);
}

/* The live handle becomes what the fresh one is; that gets the old contents. */
static void change_places(struct commands *t, struct command *live, struct command *fresh)
{
	struct command then = *fresh;
	close_ends(t, live);
	then.owner = live->owner;
	then.is_changed = true;
	for (int i = 0; i < STREAMS; i++) {
		struct log *log = &then.stream[i].log;
		log->spill_fd = take_fd(&live->stream[i].log.spill_fd);
		log->spill_error = live->stream[i].log.spill_error;
		log_cut_spill(log);
	}
	*fresh = *live;
	*live = then;
}

static int by_id(const void *a, const void *b)
{
	const struct command *x = *(struct command *const *)a;
	const struct command *y = *(struct command *const *)b;
	return x->id < y->id ? -1 : x->id > y->id;
}

/*
 * What the saved state does not know is younger, or had been let go before
 * and came back with another rollback.
 */
static void roll_back_unknown(struct commands *t, const struct commands_saved *s)
{
	for (size_t i = 0; i < t->all.n; i++) {
		struct command *c = *(struct command **)vec_at(&t->all, i);
		if (c->state == COMMAND_ROLLED_BACK ||
		    commands_lookup(&s->commands, s->commands.n, c->id))
			continue;
		bool was_starting = c->state == COMMAND_STARTING;
		close_ends(t, c);
		c->state = COMMAND_ROLLED_BACK;
		c->ended_ns = 0;
		err_set(&c->error, ECANCELED, "the sandbox went back to before this command");
		if (was_starting)
			commands_tell_started(t, c);
		commands_tell_ended(t, c);
	}
}

/* Nothing in here fails: there is room for every handle. */
static void restore_commit(struct restoring *r)
{
	struct commands *t = r->t;
	size_t n_live = t->all.n;
	t->busy++;
	vec_each (struct command *, fresh, &r->fresh) {
		struct command *live = commands_lookup(&t->all, n_live, (*fresh)->id);
		if (live)
			change_places(t, live, *fresh);
		else
			*(struct command **)vec_add(&t->all) = take_ptr(*fresh);
	}
	qsort(t->all.data, t->all.n, sizeof(struct command *), by_id);
	/* a table that is new does not know yet which ids are taken */
	if (t->next_id < r->saved->next_id)
		t->next_id = r->saved->next_id;
	roll_back_unknown(t, r->saved);
	t->late_ns = clock_now_ns() + LATE_NS;
	commands_arm_timer(t);
	t->to_sweep = true;
	t->busy--;
	commands_sweep(t);
}

int commands_restore(struct commands *t, const struct commands_saved *s,
		     const struct command_end *ends, size_t n_ends, struct err *e)
{
	scoped(restoring_deinit) struct restoring r = {
		.t = t,
		.saved = s,
		.ends = ends,
		.n_ends = n_ends,
		.fresh = VEC_INIT(struct command *),
	};
	int ret = 0;
	if (vec_reserve(&t->all, t->all.n + s->commands.n) ||
	    vec_reserve(&t->late, t->late.n + t->all.n))
		ret = err_set(e, ENOMEM, "bring back the commands");
	if (ret == 0)
		ret = restore_fresh(&r, e);
	if (ret) {
		restore_undo(&r);
		return ret;
	}
	restore_commit(&r);
	return 0;
}

int commands_fork(struct commands **out, const struct commands_events *events,
		  const struct commands_saved *s, const struct command_end *ends, size_t n_ends,
		  struct err *e)
{
	struct commands *t = commands_new(events);
	if (!t)
		return err_set(e, ENOMEM, "make a table of commands");
	int r = commands_restore(t, s, ends, n_ends, e);
	if (r) {
		commands_free(t);
		return r;
	}
	*out = t;
	return 0;
}
