/*
 * method_fork.c - n new sandboxes, or none.
 *
 *	names claimed -> keepers forked -> each reports -> all ready: reply
 *					\-> one failed: all are ended, then the error
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "keeper/dispatch.h"
#include "keeper/nodes.h"
#include "store/record.h"
#include "wire/rpc.h"

enum { FORKS_MAX = 256 };	/* in one request */

struct fork_op {
	struct box *box;
	struct request *rq;	/* NULL: the client is gone */
	size_t n;
	size_t waiting;		/* children that have not reported */
	char node_id[NODE_ID_BYTES];
	uint64_t begin_ns;
	struct err error;
	struct fork_child *child;
	char (*name)[RUNTIME_NAME_BYTES];
};

static void op_free(struct fork_op *op)
{
	for (size_t i = 0; op->child && i < op->n; i++) {
		struct fork_child *c = &op->child[i];
		loop_remove(&op->box->loop, &c->source);
		cleanup_fd(&c->report_fd);
		frame_reader_deinit(&c->reader);
		/* a name that no child has taken over */
		if (!c->pid)
			runtime_place_release(op->box->runtime_fd, &c->place);
	}
	free(op->child);
	free(op->name);
	free(op);
}

static void op_gone(struct request *rq)
{
	struct fork_op *op = rq->data;
	op->rq = NULL;
}

static json_t *op_result(const struct fork_op *op)
{
	json_t *names = json_array(), *times = json_array();
	uint64_t last = op->begin_ns;
	for (size_t i = 0; i < op->n; i++) {
		uint64_t ready = op->child[i].ready_ns;
		json_array_append_new(names, json_string(op->name[i]));
		json_array_append_new(times, json_ms(ready - op->begin_ns));
		last = ready > last ? ready : last;
	}
	return json_pack("{s:o, s:o, s:o, s:s}", "names", names, "total_ms",
			 json_ms(last - op->begin_ns), "per_fork_ms", times, "checkpoint",
			 op->node_id);
}

/* All have reported, and those of a failed fork have ended. */
static void op_finish(struct fork_op *op)
{
	struct request *rq = op->rq;
	if (rq && op->error.code)
		request_fail(rq, &op->error);
	else if (rq)
		request_reply(rq, op_result(op));
	op_free(op);
}

/* All or nothing: those that started end again. Their names are free then. */
static void op_fail(struct fork_op *op, const struct err *e)
{
	if (!op->error.code)
		op->error = *e;
	for (size_t i = 0; i < op->n; i++)
		if (op->child[i].pid)
			kill(op->child[i].pid, SIGTERM);
}

static void child_reported(struct fork_op *op, struct fork_child *c, const struct err *e)
{
	if (e && e->code) {
		err_set(&op->error, e->code, "fork: %s", e->cause);
		err_remedy(&op->error, "%s", e->remedy);
		op_fail(op, e);
	}
	if (!c->ready_ns) {
		c->ready_ns = clock_now_ns();
		op->waiting--;
	}
	if (!op->waiting)
		op_finish(op);
}

static void child_ready(struct loop_source *s, uint32_t events)
{
	struct fork_child *c = loop_owner(s, struct fork_child, source);
	struct fork_op *op = c->op;
	struct err e = ERR_INIT;
	struct frame f;
	long n = frame_reader_fill(&c->reader, s->fd);
	int r = n > 0 ? frame_reader_next(&c->reader, &f, &e) : 0;
	if (r == 0 && n > 0)
		return;
	loop_remove(&op->box->loop, s);
	if (n <= 0) {
		err_set(&e, EPIPE, "the keeper of '%s' ended before it was ready",
			op->name[c - op->child]);
	} else if (r > 0) {
		int64_t id;
		scoped_json json_t *result = NULL;
		r = rpc_reply_parse(&f, &id, &result, &e);
		frame_close_fds(&f);
	}
	child_reported(op, c, &e);
}

/* A name of which a dead sandbox's checkpoints are kept is taken, too. */
static int claim_kept(struct box *b, struct fork_child *c, struct err *e)
{
	int r = record_check_free(b->store, c->place.name, e);
	if (r)
		runtime_place_release(b->runtime_fd, &c->place);
	return r;
}

/* Names: as asked for, or this one's with the first numbers that are free. */
static int claim_names(struct fork_op *op, const json_t *given, struct err *e)
{
	struct box *b = op->box;
	unsigned int number = 1;
	for (size_t i = 0; i < op->n; i++) {
		struct fork_child *c = &op->child[i];
		const char *asked = json_string_value(json_array_get(given, i));
		int r;
		do {
			if (asked)
				snprintf(op->name[i], sizeof(op->name[i]), "%s", asked);
			else
				snprintf(op->name[i], sizeof(op->name[i]), "%.50s-%u",
					 b->place.name, number++);
			r = runtime_claim(b->runtime_fd, asked ? asked : op->name[i], &c->place, e);
			if (!r)
				r = claim_kept(b, c, e);
		} while (r == -EEXIST && !asked);
		if (r)
			return r;
	}
	return 0;
}

static int op_new(struct request *rq, size_t n, struct fork_op **out, struct err *e)
{
	struct fork_op *op = calloc(1, sizeof(*op));
	if (op) {
		*op = (struct fork_op){
			.box = rq->box,
			.n = n,
			.begin_ns = rq->arrived_ns,
			.error = ERR_INIT,
			.child = calloc(n, sizeof(*op->child)),
			.name = calloc(n, sizeof(*op->name)),
		};
	}
	if (!op || !op->child || !op->name) {
		if (op)
			op_free(op);
		return err_set(e, ENOMEM, "no memory to fork");
	}
	for (size_t i = 0; i < n; i++) {
		op->child[i].place = RUNTIME_PLACE_INIT;
		op->child[i].report_fd = -1;
		op->child[i].op = op;
		frame_reader_init(&op->child[i].reader);
	}
	*out = op;
	return 0;
}

/* Where they start: a checkpoint, or one that is taken now. */
static int fork_node(struct request *rq, struct node **out, struct err *e)
{
	const char *text = json_get_string(rq->params, "checkpoint", NULL);
	if (text)
		return node_find(rq->box, text, out, e);
	struct box_checkpoint taken;
	int r = box_checkpoint(rq->box, NULL, &taken, e);
	if (r)
		return r;
	*out = taken.node;
	return 0;
}

/* Fork all keepers: 1 in a child. What has started when one fails is ended. */
static int fork_all(struct fork_op *op, struct node *node, struct err *e)
{
	for (size_t i = 0; i < op->n; i++) {
		int r = box_fork(op->box, node, op->child, op->n, i, e);
		if (r < 0)
			op_fail(op, e);
		if (r)
			return r;
	}
	for (size_t i = 0; i < op->n; i++) {
		struct fork_child *c = &op->child[i];
		c->source = (struct loop_source){ .fd = c->report_fd, .ready = child_ready };
		int r = loop_add(&op->box->loop, &c->source, EPOLLIN);
		if (r) {
			err_set(e, -r, "wait for the forks: %s", strerror(-r));
			op_fail(op, e);
			return r;
		}
	}
	return 0;
}

int method_fork(struct request *rq, json_t **result, struct err *e)
{
	const json_t *names = json_object_get(rq->params, "names");
	int64_t n = json_get_int(rq->params, "n", names ? (int64_t)json_array_size(names) : 1);
	if (n < 1 || n > FORKS_MAX)
		return err_set(e, EINVAL, "the number of forks must be 1 to %d", FORKS_MAX);
	if (names && json_array_size(names) != (size_t)n)
		return err_set(e, EINVAL, "%zu names for %lld forks", json_array_size(names),
			       (long long)n);
	struct fork_op *op = NULL;
	int r = op_new(rq, (size_t)n, &op, e);
	if (r)
		return r;
	struct node *node = NULL;
	r = claim_names(op, names, e);
	if (!r)
		r = fork_node(rq, &node, e);
	if (!r) {
		snprintf(op->node_id, sizeof(op->node_id), "%s", node->id);
		r = fork_all(op, node, e);
	}
	if (r == 1)	/* in the child the request is the parent's */
		return HANDLER_LATER;
	if (r) {
		op_free(op);
		return r;
	}
	static const struct request_events events = { .gone = op_gone };
	op->rq = rq;
	op->waiting = op->n;
	rq->data = op;
	request_keep(rq, &events);
	return HANDLER_LATER;
}
