/* box_checkpoint.c - what the keeper adds to a checkpoint: handles, and the tree. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "checkpoint/checkpoint.h"
#include "keeper/box.h"
#include "keeper/merging.h"
#include "keeper/nodes.h"
#include "keeper/turns.h"
#include "parts/inotify.h"

struct taking {
	struct box *box;
	struct node *node;
	struct vec outers;	/* struct part_outer */
};

/* The keeper's ends, by which the engine knows a command's pipe from another. */
static int outers_of(struct commands *t, struct vec *outers)
{
	vec_each(struct command *, at, commands_all(t)) {
		const struct command *c = *at;
		for (int s = 0; s < STREAMS; s++) {
			struct part_outer *o = c->stream[s].fd >= 0 ? vec_add(outers) : NULL;
			if (c->stream[s].fd >= 0 && !o)
				return -ENOMEM;
			if (o)
				*o = (struct part_outer){
					.dev = c->stream[s].dev,
					.ino = c->stream[s].ino,
					.tty = c->is_tty ? (int)c->tty_number : -1,
					.fd = c->stream[s].fd,
					.command = c->id,
					.stream = s,
				};
		}
	}
	return 0;
}

/* What the commands said before everything stood still. */
static int stopped(void *ctx, struct err *e)
{
	struct taking *t = ctx;
	commands_drain(t->box->commands);
	t->outers.n = 0;
	int r = outers_of(t->box->commands, &t->outers);
	return r ? err_set(e, -r, "no memory for the commands' streams") : 0;
}

/* While everything stands still: the streams' last bytes, then the handles. */
static int frozen(void *ctx, struct err *e)
{
	struct taking *t = ctx;
	commands_drain(t->box->commands);
	return commands_save(t->box->commands, &t->node->commands, e);
}

/* A command that is just being started has no process yet that could be saved. */
static void settle_commands(struct commands *t)
{
	for (size_t i = 0; i < commands_all(t)->n; i++) {
		struct command *c = *(struct command **)vec_at(commands_all(t), i);
		struct err told;	/* its own client hears why it could not start */
		if (c->state == COMMAND_STARTING && command_wait_started(t, c, &told))
			i = (size_t)-1;	/* the table may have changed */
	}
}

static pid_t template_of(const struct checkpoint *c)
{
	return c && c->template.socket >= 0 ? c->template.pid : 0;
}

/* At the templates that are asked for the next one, the lower pid first. */
static int turns_take(struct box *b, pid_t held[2], struct err *e)
{
	const struct checkpoint *c = b->head->checkpoint;
	pid_t one = template_of(c), other = template_of(checkpoint_ahead_of(c));
	held[0] = one < other ? one : other;
	held[1] = one < other ? other : one;
	for (size_t i = 0; i < 2; i++) {
		int r = held[i] ? turn_take(b->turns_fd, held[i], e) : 0;
		if (r) {
			held[i] = held[1] = 0;	/* those from here on */
			return r;
		}
	}
	return 0;
}

static void turns_give(struct box *b, const pid_t held[2])
{
	for (size_t i = 0; i < 2; i++)
		if (held[i])
			turn_give(b->turns_fd, held[i]);
}

int box_prepare(struct box *b, struct err *e)
{
	pid_t held[2];
	int r = turns_take(b, held, e);
	if (!r)
		r = checkpoint_prepare(b->live, e);
	turns_give(b, held);
	return r;
}

enum { SETTLE_NS = 10000000 };

/*
 * A thread that slept too deep to be stopped (a vfork's parent) stops when it
 * wakes, long after the checkpoint was refused: let it go then. And what takes
 * its time to be closed is closed by and by.
 */
static void settle_fire(struct loop_timer *timer)
{
	struct box *b = loop_owner(timer, struct box, settle);
	size_t left = inotify_close_left(&b->engine.left, false);
	if (freezer_settle(b->engine.freezer) || left)
		loop_timer_set(&b->loop, &b->settle, clock_now_ns() + SETTLE_NS);
}

static int take(struct box *b, struct taking *t, struct checkpoint_stats *stats, struct err *e)
{
	const struct checkpoint_hooks hooks = { .ctx = t, .stopped = stopped, .frozen = frozen };
	pid_t held[2];
	int r = turns_take(b, held, e);
	if (!r)
		r = checkpoint_take(b->live, &t->outers, &hooks, &t->node->checkpoint, stats, e);
	turns_give(b, held);
	vec_deinit(&t->outers);
	b->settle.fire = settle_fire;
	settle_fire(&b->settle);
	return r;
}

int box_checkpoint(struct box *b, const char *tag, struct box_checkpoint *out, struct err *e)
{
	if (!b->live) {
		err_set(e, ESRCH, "nothing runs in the sandbox '%s' that could be saved",
			b->place.name);
		return err_remedy(e, "`mulligan rollback %s` revives it", b->place.name);
	}
	struct taking taking = { .box = b, .outers = VEC_INIT(struct part_outer) };
	*out = (struct box_checkpoint){ .incremental = b->head != node_first(b) };
	merging_catch_up(b);
	settle_commands(b->commands);
	if (vec_reserve(&b->nodes, b->nodes.n + 1))
		return err_set(e, ENOMEM, "no memory for a checkpoint");
	int r = node_new(b, tag, b->head, &taking.node, e);
	if (r)
		return r;
	r = take(b, &taking, &out->stats, e);
	if (r) {
		node_free(taking.node);
		if (e && e->broken)
			box_broken(b, e);
		return r;
	}
	out->node = taking.node;
	out->node->manifest_due = true;
	b->head = out->node;
	loop_idle(&b->loop, &b->background);
	/* cannot fail: there is room */
	return node_add(b, out->node, e);
}
