/*
 * box_fork.c - the keeper of a fork is a fork() of this keeper.
 *
 * The child has the whole tree of checkpoints as memory it shares; what it
 * must not share is given up or made anew, in this order:
 *
 *	given up (without killing, removing or unlocking anything):
 *	    the parent's epoll: what the child would take off it, the parent
 *	    would not hear of any more
 *	    clients and their requests, the parent's place and offspring
 *	    the live incarnation and the standby
 *	    the parent's connections to templates (two clients on one socket
 *	    would steal each other's replies)
 *	made anew:
 *	    connections to templates, made by the parent just before the fork
 *	    id, place, cgroups, generation, table of commands
 *	    an incarnation of the node
 *
 * The child never returns to its parent's request: it goes back to the loop,
 * which is its own then.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "keeper/box.h"
#include "keeper/commit.h"
#include "keeper/merging.h"
#include "keeper/nodes.h"
#include "keeper/turns.h"
#include "keeper/watch.h"
#include "restore/restore.h"
#include "sandbox/fs.h"
#include "store/record.h"
#include "sys/fault.h"
#include "sys/proc.h"
#include "sys/stream.h"
#include "wire/rpc.h"

/* Offspring */

static void offspring_free(struct offspring *o)
{
	loop_remove(&o->box->loop, &o->source);
	cleanup_fd(&o->source.fd);
	*o->link = o->next;
	if (o->next)
		o->next->link = o->link;
	free(o);
}

static void offspring_ready(struct loop_source *s, uint32_t events)
{
	struct offspring *o = loop_owner(s, struct offspring, source);
	int status;
	waitpid(o->pid, &status, 0);
	offspring_free(o);
}

/* Reap the child when it ends. */
static int offspring_add(struct box *b, pid_t pid, struct err *e)
{
	struct offspring *o = calloc(1, sizeof(*o));
	if (!o)
		return err_set(e, ENOMEM, "no memory to watch the fork's keeper");
	*o = (struct offspring){
		.box = b,
		.pid = pid,
		.source = { .fd = sys_pidfd_open(pid), .ready = offspring_ready },
		.next = b->offspring,
		.link = &b->offspring,
	};
	int r = o->source.fd < 0 ? o->source.fd : loop_add(&b->loop, &o->source, EPOLLIN);
	if (r) {
		cleanup_fd(&o->source.fd);
		free(o);
		return err_set(e, -r, "watch the fork's keeper: %s", strerror(-r));
	}
	if (o->next)
		o->next->link = &o->next;
	b->offspring = o;
	return 0;
}

/* Giving up */

/* Close an incarnation that goes on living with the parent. */
static void incarnation_abandon(struct incarnation *in)
{
	if (!in)
		return;
	cleanup_fd(&in->pid1_pidfd);	/* now nothing can signal it */
	in->state = INCARNATION_DEAD;
	in->group = NULL;		/* the parent's to give back */
	if (in->fs)
		fs_tree_abandon(take_ptr(in->fs));
	incarnation_free(in);
}

static void give_up_sources(struct box *b)
{
	conns_abandon(&b->conns);
	watch_abandon(b);
	merging_abandon(b);
	box_commit_abandon(b);
	loop_remove(&b->loop, &b->listen_source);
	box_unwatch_live(b);
	loop_remove(&b->loop, &b->commands_source);
	while (b->offspring)
		offspring_free(b->offspring);
}

static void give_up_lives(struct box *b)
{
	incarnation_abandon(take_ptr(b->live));
	incarnation_abandon(take_ptr(b->standby));
	vec_each(struct incarnation *, in, &b->dying)
		incarnation_abandon(*in);
	vec_deinit(&b->dying);
	b->dying = VEC_INIT(struct incarnation *);
	cleanup_fd(&b->init_fd);
	fs_spares_abandon(&b->engine.spares);
	cleanup_fd(&b->record_fd);	/* its lock says that the parent lives */
	commands_free(take_ptr(b->commands));
	b->standby_node = NULL;
	b->standby_failed = false;
}

/* Whatever fails after this, the end of the child removes its own alone. */
static void give_up_place(struct box *b, struct fork_child *self)
{
	runtime_place_deinit(&b->place);
	b->place = self->place;
	self->place = RUNTIME_PLACE_INIT;
	b->engine.limits = NULL;
}

/* Made by the parent, one for each node, for one child. */
static void connections_close(struct vec *connections)
{
	vec_each(struct template, t, connections)
		template_close(t);
	vec_deinit(connections);
}

static int connections_make(struct box *b, struct vec *connections, struct err *e)
{
	*connections = VEC_INIT(struct template);
	int r = vec_reserve(connections, b->nodes.n);
	if (r)
		return err_set(e, -r, "no memory for a fork");
	vec_each(struct node *, n, &b->nodes) {
		struct template *t = vec_add(connections);
		*t = TEMPLATE_INIT;
		const struct checkpoint *c = (*n)->checkpoint;
		if (c->template.socket >= 0)
			r = turn_take(b->turns_fd, c->template.pid, e);
		if (r == 0 && c->template.socket >= 0) {
			r = checkpoint_attach(c, t, e);
			turn_give(b->turns_fd, c->template.pid);
		}
		if (r) {
			connections_close(connections);
			return r;
		}
	}
	return 0;
}

static void connections_take(struct box *b, struct vec *connections)
{
	for (size_t i = 0; i < b->nodes.n; i++) {
		struct node *n = *(struct node **)vec_at(&b->nodes, i);
		template_close(&n->checkpoint->template);
		n->checkpoint->template = *(struct template *)vec_at(connections, i);
		n->checkpoint->keeper = getpid();
	}
	vec_deinit(connections);
}

/* Becoming */

static int become_named(struct box *b, struct err *e)
{
	b->created_ns = clock_wall_ns();
	b->last_request_ns = clock_now_ns();
	int log = openat(b->place.dir_fd, "log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (log >= 0) {
		dup2(log, STDERR_FILENO);
		close(log);
	}
	int r = store_new_id(b->id, e);
	if (!r)
		r = spec_set_name(&b->spec, b->place.name, e);
	if (!r)
		r = spec_set_name(&b->engine.spec, b->place.name, e);
	return r ? r : runtime_place_sign(&b->place, e);
}

static int become_separate(struct box *b, struct err *e)
{
	b->engine.generation = clock_wall_ns() + (uint64_t)getpid();
	b->record_fd = record_claim(b->store, b->place.name, e);
	if (b->record_fd < 0)
		return b->record_fd;
	int r = box_write_record(b, e);
	if (r)
		return r;
	r = limits_create(&b->engine.spec, &b->engine.limits, e);
	if (r)
		return r;
	b->listen_source = (struct loop_source){
		.fd = b->place.listen_fd,
		.ready = b->listen_source.ready,
	};
	r = loop_add(&b->loop, &b->listen_source, EPOLLIN);
	return r ? err_set(e, -r, "watch for clients: %s", strerror(-r)) : 0;
}

static int become_alive(struct box *b, struct node *node, struct err *e)
{
	struct incarnation *in;
	int r = box_build(b, node, &in, NULL, e);
	if (r)
		return r;
	r = box_enter(b, in, node, e);
	if (r)
		incarnation_free(in);
	return r;
}

static int become(struct box *b, struct node *node, struct fork_child *self, struct vec *connections,
		  struct err *e)
{
	/* first: what is taken off the loop now must stay on the parent's */
	int r = loop_after_fork(&b->loop);
	if (r)
		err_set(e, -r, "make an event loop: %s", strerror(-r));
	give_up_sources(b);
	give_up_lives(b);
	give_up_place(b, self);
	connections_take(b, connections);
	b->state = BOX_STARTING;
	b->quiet = true;
	if (!r)
		r = become_named(b, e);
	if (!r)
		r = become_separate(b, e);
	if (!r)
		r = become_alive(b, node, e);
	return r ? r : box_write_info(b, e);
}

/* In the child: become the box, say so, or say why not and end. */
static void child_run(struct box *b, struct node *node, struct fork_child *self,
		      struct vec *connections, int report_fd)
{
	struct err e = ERR_INIT;
	struct buf report = BUF_INIT;
	int r = become(b, node, self, connections, &e);
	if (r)
		rpc_add_error(&report, 1, &e);
	else
		rpc_add_result(&report, 1, NULL);
	long n = sys_stream_send(report_fd, report.data, report.len, NULL, 0);
	close(report_fd);
	buf_deinit(&report);
	/* a parent that does not listen any more has given the fork up */
	if (r || n < 0)
		box_end(b);
}

static pid_t fork_keeper(void)
{
	int r = sys_fault("fork");
	if (r)
		return r;
	pid_t pid = fork();
	return pid < 0 ? -errno : pid;
}

int box_fork(struct box *b, struct node *node, struct fork_child *children, size_t n, size_t i,
	     struct err *e)
{
	struct vec connections;
	int pair[2];
	int r = connections_make(b, &connections, e);
	if (r)
		return r;
	r = sys_stream_pair(pair);
	pid_t pid = r ? r : fork_keeper();
	if (pid < 0) {
		for (int k = 0; !r && k < 2; k++)
			close(pair[k]);
		connections_close(&connections);
		return err_set(e, -pid, "fork the keeper: %s", strerror(-pid));
	}
	if (pid == 0) {
		close(pair[0]);
		for (size_t k = 0; k < n; k++) {
			cleanup_fd(&children[k].report_fd);
			if (k != i)
				runtime_place_deinit(&children[k].place);
		}
		child_run(b, node, &children[i], &connections, pair[1]);
		return 1;
	}
	close(pair[1]);
	connections_close(&connections);
	runtime_place_deinit(&children[i].place);
	children[i].pid = pid;
	children[i].report_fd = pair[0];
	return offspring_add(b, pid, e);
}
