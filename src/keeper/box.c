#include "keeper/box.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "keeper/dispatch.h"
#include "keeper/nodes.h"
#include "keeper/turns.h"
#include "keeper/watch.h"
#include "restore/restore.h"
#include "sandbox/fs.h"
#include "sys/fd.h"
#include "sys/proc.h"
#include "sys/stream.h"
#include "sys/uffd.h"

enum { DYING_MAX = 4 };

const char *box_state_name(enum box_state state)
{
	static const char *const names[] = {
		[BOX_STARTING] = "starting", [BOX_RUNNING] = "running", [BOX_STOPPED] = "stopped",
		[BOX_BROKEN] = "broken",     [BOX_ENDING] = "ending",
	};
	return names[state];
}

void box_check(const struct box *b)
{
	assert((b->state == BOX_RUNNING) == (b->live != NULL));
	assert(!b->live || b->live->state == INCARNATION_RUNNING);
	assert(!b->standby || (b->standby_node && b->standby->state == INCARNATION_PARKED));
	assert(b->state != BOX_RUNNING || b->head);
	assert((b->state != BOX_STOPPED && b->state != BOX_BROKEN) || b->error.code);
	(void)b;
}

static void box_background_run(struct loop_task *t)
{
	box_background(loop_owner(t, struct box, background));
}

int box_init(struct box *b, int runtime_fd, struct err *e)
{
	*b = (struct box){
		.runtime_fd = runtime_fd,
		.place = RUNTIME_PLACE_INIT,
		.created_ns = clock_wall_ns(),
		.last_request_ns = clock_now_ns(),
		.error = ERR_INIT,
		.image.lock_fd = -1,
		.init_fd = -1,
		.turns_fd = -1,
		.record_fd = -1,
		.dying = VEC_INIT(struct incarnation *),
		.nodes = VEC_INIT(struct node *),
		.background.run = box_background_run,
	};
	spec_init(&b->spec);
	int r = loop_init(&b->loop);
	if (r)
		return err_set(e, -r, "make the event loop: %s", strerror(-r));
	conns_init(&b->conns, &b->loop, b, dispatch);
	r = store_new_id(b->id, e);
	return r ? r : store_new_id(b->family, e);
}

/* Events */

static void accept_ready(struct loop_source *s, uint32_t events)
{
	struct box *b = loop_owner(s, struct box, listen_source);
	int fd = sys_stream_accept(s->fd);
	/* it hung up, or we are out of descriptors: it will hear of it by EOF */
	if (fd >= 0 && conns_add(&b->conns, fd, NULL))
		return;
}

static void signal_ready(struct loop_source *s, uint32_t events)
{
	struct box *b = loop_owner(s, struct box, signal_source);
	struct signalfd_siginfo info;
	if (read(s->fd, &info, sizeof(info)) != sizeof(info))
		return;
	b->keep = true;
	box_end(b);
}

int box_listen(struct box *b, struct err *e)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	b->signal_source.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (b->signal_source.fd < 0)
		return err_set(e, errno, "watch for signals: %s", strerror(errno));
	b->signal_source.ready = signal_ready;
	b->listen_source = (struct loop_source){ .fd = b->place.listen_fd, .ready = accept_ready };
	int r = loop_add(&b->loop, &b->signal_source, EPOLLIN);
	if (!r)
		r = loop_add(&b->loop, &b->listen_source, EPOLLIN);
	return r ? err_set(e, -r, "watch for clients: %s", strerror(-r)) : 0;
}

struct live_watch {
	struct loop_source source;	/* pidfd of PID 1 */
	struct box *box;
};

static void live_ready(struct loop_source *s, uint32_t events)
{
	box_stopped(loop_owner(s, struct live_watch, source)->box,
		    "the sandbox's first process ended");
}

/* Of an incarnation that is not b->live yet. NULL: see *e. */
static struct live_watch *live_watch_new(struct box *b, const struct incarnation *in,
					 struct err *e)
{
	struct live_watch *w = calloc(1, sizeof(*w));
	int r = w ? 0 : -ENOMEM;
	if (w) {
		*w = (struct live_watch){ { .fd = in->pid1_pidfd, .ready = live_ready }, b };
		r = loop_add(&b->loop, &w->source, EPOLLIN);
	}
	if (!r)
		return w;
	err_set(e, -r, "watch the sandbox's first process: %s", strerror(-r));
	free(w);
	return NULL;
}

static void live_watch_free(struct live_watch *w)
{
	if (w)
		loop_remove(&w->box->loop, &w->source);
	free(w);
}

void box_unwatch_live(struct box *b)
{
	live_watch_free(take_ptr(b->live_watch));
}

/*
 * Kill, and free when nobody waits. Where somebody always does (rollbacks back
 * to back), those that died first are freed here: each holds a cgroup and an
 * overlay.
 */
static void incarnation_retire(struct box *b, struct incarnation *in)
{
	if (!in)
		return;
	incarnation_kill(in);
	while (b->dying.n >= DYING_MAX)
		box_free_dying(b);
	struct incarnation **slot = vec_add(&b->dying);
	if (slot)
		*slot = in;
	else
		incarnation_free(in);
	loop_idle(&b->loop, &b->background);
}

bool box_free_dying(struct box *b)
{
	if (!b->dying.n)
		return false;
	struct incarnation *in = *(struct incarnation **)vec_at(&b->dying, 0);
	vec_remove(&b->dying, 0);
	if (in->pid1_pidfd >= 0 && sys_pidfd_wait(in->pid1_pidfd, 0) == 1)
		fs_tree_recycle(in->fs);
	incarnation_free(in);
	return true;
}

void box_drop_standby(struct box *b)
{
	incarnation_retire(b, take_ptr(b->standby));
	b->standby_node = NULL;
	b->standby_failed = false;
}

static void live_drop(struct box *b)
{
	box_unwatch_live(b);
	incarnation_retire(b, take_ptr(b->live));
	cleanup_fd(&b->init_fd);	/* init ends when it hears of it: kill it first */
}

void box_stopped(struct box *b, const char *why)
{
	if (b->state != BOX_RUNNING)
		return;
	live_drop(b);
	b->state = BOX_STOPPED;
	err_set(&b->error, ESRCH, "%s", why);
	err_remedy(&b->error, "`mulligan rollback %s` revives it", b->place.name);
}

void box_broken(struct box *b, const struct err *e)
{
	live_drop(b);
	box_drop_standby(b);
	b->state = BOX_BROKEN;
	b->error = *e;
}

int box_root_open(struct box *b, struct err *e)
{
	if (!b->live)
		return err_set(e, ESRCH, "nothing runs in the sandbox '%s'", b->place.name);
	int fd = sys_dup(b->live->root_fd);
	return fd < 0 ? err_set(e, -fd, "open the sandbox's root: %s", strerror(-fd)) : fd;
}

/* Rollback and its kin */

/* The keeper's new ends of the streams of the tree that was built. */
static int ends_of(const struct incarnation *in, struct vec *ends)
{
	*ends = VEC_INIT(struct command_end);
	vec_each(struct files_outer, o, &in->outers) {
		struct command_end *end = vec_add(ends);
		if (!end)
			return -ENOMEM;
		*end = (struct command_end){ o->command, (enum stream_kind)o->stream, o->fd };
	}
	return 0;
}

/* Connect the table of commands with `in`; a fork makes its own table here. */
static int enter_commands(struct box *b, struct incarnation *in, struct node *node, struct err *e)
{
	const struct commands_events events = box_commands_events(b);
	const struct commands_saved *saved = &node->commands;
	struct vec ends;
	bool is_new = !b->commands;
	int r = ends_of(in, &ends);
	if (r)
		err_set(e, -r, "no memory for the commands' streams");
	if (!r && is_new)
		r = commands_fork(&b->commands, &events, saved, ends.data, ends.n, e);
	if (!r && is_new)
		r = box_commands_watch(b, e);
	if (!r)
		r = commands_attach(b->commands, in->init_socket, in->pid1, e);
	if (!r) {
		in->init_socket = -1;
		if (!is_new)
			r = commands_restore(b->commands, saved, ends.data, ends.n, e);
	}
	if (!r)
		in->outers.n = 0;	/* the table has them now */
	vec_deinit(&ends);
	return r;
}

/* Go back to the init that lives, after enter_commands() failed. */
static void enter_undo(struct box *b)
{
	struct err e = ERR_INIT;
	int fd = b->live ? sys_dup(b->init_fd) : -1;
	if (fd < 0 || commands_attach(b->commands, fd, b->live->pid1, &e)) {
		cleanup_fd(&fd);
		if (b->live)
			box_stopped(b, "its first process could not be reached again");
	}
}

int box_enter(struct box *b, struct incarnation *in, struct node *node, struct err *e)
{
	scoped_fd int init_copy = sys_dup(in->init_socket);
	if (init_copy < 0)
		return err_set(e, -init_copy, "keep init's socket: %s", strerror(-init_copy));
	struct live_watch *watch = live_watch_new(b, in, e);
	if (!watch)
		return -e->code;
	int r = enter_commands(b, in, node, e);
	if (r) {
		live_watch_free(watch);
		enter_undo(b);
		return r;
	}
	/* what lived is killed, then the gate opens: no way back from here */
	live_drop(b);
	r = incarnation_release(in, e);
	if (r) {
		live_watch_free(watch);
		box_broken(b, e);
		return r;
	}
	b->live = in;
	b->live_watch = watch;
	b->init_fd = take_fd(&init_copy);
	b->state = BOX_RUNNING;
	b->error = ERR_INIT;
	b->head = node;
	watch_rolled_back(b);
	loop_idle(&b->loop, &b->background);
	return 0;
}

static int refuse_lost(const struct box *b, const struct node *node, struct err *e)
{
	err_set(e, ENODATA, "processes lost, files available: nothing holds the memory of "
			    "checkpoint %s any more", node->id);
	return err_remedy(e, "`mulligan rollback --files %s %s` restores its files",
			  b->place.name, node->id);
}

int box_build(struct box *b, struct node *node, struct incarnation **out,
	      struct stage_times *times, struct err *e)
{
	const struct restore_options options = { .track = sys_uffd_tracks() };
	if (node->checkpoint->template.socket < 0)
		return refuse_lost(b, node, e);
	pid_t template = node->checkpoint->template.pid;
	int r = turn_take(b->turns_fd, template, e);
	if (r)
		return r;
	r = incarnation_build(&b->engine, node->checkpoint, &options, out, times, e);
	turn_give(b->turns_fd, template);
	/* closed by who found out */
	return r && node->checkpoint->template.socket < 0 ? refuse_lost(b, node, e) : r;
}

int box_rollback(struct box *b, struct node *node, struct box_rollback *out, struct err *e)
{
	struct incarnation *in = NULL;
	*out = (struct box_rollback){ .hot = b->standby && b->standby_node == node,
				      .node = node };
	uint64_t begin = clock_now_ns();
	if (out->hot) {
		in = take_ptr(b->standby);
		b->standby_node = NULL;
	} else {
		int r = box_build(b, node, &in, &out->times, e);
		if (r)
			return r;
	}
	int r = box_enter(b, in, node, e);
	if (r) {
		incarnation_retire(b, in);
		return r;
	}
	uint64_t now = clock_now_ns();
	if (out->times.n < STAGE_MAX) {
		out->times.stage[out->times.n].name = "enter";
		out->times.stage[out->times.n].ns = now - begin - out->times.total_ns;
		out->times.n++;
	}
	out->times.total_ns = now - begin;
	return 0;
}
