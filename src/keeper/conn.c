#include "keeper/conn.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "sys/stream.h"
#include "wire/rpc.h"

enum conn_state {
	CONN_OPEN,
	CONN_CLOSING,
	CONN_DEAD,
};

struct conn {
	struct loop_source source;
	struct conns *owner;
	enum conn_state state;
	bool held;			/* input waits in the reader */
	bool lost;			/* sending failed: dies at the next pump */
	bool starved;			/* `room` is owed to the stream */
	struct frame_reader reader;
	struct buf out;
	size_t sent_bytes;		/* of out */
	struct request *requests;	/* open ones */
	struct request *stream;		/* whose raw frames these are */
	struct loop_task pump;
	struct conn *next, **link;
};

static void conn_ready(struct loop_source *s, uint32_t events);
static void conn_decode(struct conn *c);
static void conn_flush(struct conn *c);

static struct conn *conn_of_source(struct loop_source *s)
{
	return loop_owner(s, struct conn, source);
}

static struct conn *conn_of_pump(struct loop_task *t)
{
	return loop_owner(t, struct conn, pump);
}

static void request_free(struct request *rq)
{
	if (rq->conn && rq->conn->stream == rq)
		rq->conn->stream = NULL;
	if (rq->link) {
		*rq->link = rq->next;
		if (rq->next)
			rq->next->link = rq->link;
	}
	for (size_t i = 0; i < FRAME_FDS_MAX; i++)
		cleanup_fd(&rq->fds[i]);
	json_decref(rq->params);
	free(rq);
}

static void conn_free(struct conn *c)
{
	frame_reader_deinit(&c->reader);
	buf_deinit(&c->out);
	free(c);
}

static void conns_reap(struct loop_task *t)
{
	struct conns *cs = (struct conns *)((char *)t - offsetof(struct conns, reap));
	while (cs->dead) {
		struct conn *c = cs->dead;
		cs->dead = c->next;
		conn_free(c);
	}
}

void conns_init(struct conns *cs, struct loop *loop, struct box *box, request_fn *dispatch)
{
	*cs = (struct conns){
		.loop = loop,
		.box = box,
		.dispatch = dispatch,
		.reap.run = conns_reap,
	};
}

/* Take it off the loop and the list; its memory goes when nobody is in it. */
static void conn_detach(struct conn *c)
{
	struct conns *cs = c->owner;
	loop_remove(cs->loop, &c->source);
	loop_task_cancel(cs->loop, &c->pump);
	cleanup_fd(&c->source.fd);
	c->state = CONN_DEAD;
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	c->next = cs->dead;
	cs->dead = c;
	loop_soon(cs->loop, &cs->reap);
}

static void conn_kill(struct conn *c)
{
	if (c->state == CONN_DEAD)
		return;
	conn_detach(c);
	while (c->requests) {
		struct request *rq = c->requests;
		if (rq->events && rq->events->gone)
			rq->events->gone(rq);
		request_free(rq);
	}
}

static void conn_pump_run(struct loop_task *t)
{
	struct conn *c = conn_of_pump(t);
	conn_flush(c);
	if (c->lost)
		conn_kill(c);
	else
		conn_decode(c);
}

int conns_add(struct conns *cs, int fd, struct conn **out)
{
	struct conn *c = calloc(1, sizeof(*c));
	int r = c ? sys_stream_set_blocking(fd, 0) : -ENOMEM;
	if (r) {
		close(fd);
		free(c);
		return r;
	}
	*c = (struct conn){
		.source = { .fd = fd, .ready = conn_ready },
		.owner = cs,
		.pump.run = conn_pump_run,
		.next = cs->first,
		.link = &cs->first,
	};
	frame_reader_init(&c->reader);
	r = loop_add(cs->loop, &c->source, EPOLLIN);
	if (r) {
		close(fd);
		free(c);
		return r;
	}
	if (c->next)
		c->next->link = &c->next;
	cs->first = c;
	if (out)
		*out = c;
	return 0;
}

void conns_abandon(struct conns *cs)
{
	while (cs->first) {
		struct conn *c = cs->first;
		conn_detach(c);
		while (c->requests)
			request_free(c->requests);
	}
}

static size_t conn_unsent(const struct conn *c)
{
	return c->out.len - c->sent_bytes;
}

/* It dies in the next pump, not under the feet of whoever is sending. */
static void conn_lose(struct conn *c)
{
	c->lost = true;
	loop_soon(c->owner->loop, &c->pump);
}

static void conn_watch(struct conn *c)
{
	uint32_t events = 0;
	if (c->state == CONN_DEAD)
		return;		/* abandoned: this is a fork's child now */
	if (c->state == CONN_OPEN && !c->held)
		events |= EPOLLIN;
	if (conn_unsent(c))
		events |= EPOLLOUT;
	if (loop_change(c->owner->loop, &c->source, events))
		conn_lose(c);
}

/* Send what the socket takes. */
static void conn_flush(struct conn *c)
{
	if (c->state == CONN_DEAD || c->lost)
		return;
	while (conn_unsent(c) && !c->out.failed) {
		long n = sys_stream_send(c->source.fd, c->out.data + c->sent_bytes, conn_unsent(c),
					 NULL, 0);
		if (n == -EAGAIN)
			break;
		if (n < 0) {
			conn_lose(c);
			return;
		}
		c->sent_bytes += (size_t)n;
	}
	if (c->out.failed || (c->state == CONN_CLOSING && !conn_unsent(c))) {
		conn_lose(c);
		return;
	}
	if (!conn_unsent(c)) {
		c->out.len = 0;
		c->sent_bytes = 0;
	} else if (c->sent_bytes > CONN_OUT_BYTES) {
		buf_consume(&c->out, c->sent_bytes);
		c->sent_bytes = 0;
	}
	conn_watch(c);
}

/* Refuse all further input: the stream of frames cannot be understood. */
static void conn_refuse(struct conn *c, const struct err *e)
{
	rpc_add_error(&c->out, 0, e);
	c->state = CONN_CLOSING;
	conn_flush(c);
}

static void conn_request(struct conn *c, struct frame *f)
{
	struct rpc_request in;
	struct err e = ERR_INIT;
	int r = rpc_request_parse(&in, f, &e);
	const struct method *m = r ? NULL : methods_find(in.method);
	if (!r && !m)
		r = err_set(&e, ENOSYS, "no method is named '%.80s'", in.method);
	struct request *rq = r ? NULL : calloc(1, sizeof(*rq));
	if (!r && !rq)
		r = err_set(&e, ENOMEM, "no memory for the request");
	if (r) {
		frame_close_fds(f);
		rpc_add_error(&c->out, in.id, &e);
		rpc_request_deinit(&in);
		conn_flush(c);
		return;
	}
	*rq = (struct request){
		.box = c->owner->box,
		.conn = c,
		.id = in.id,
		.method = m,
		.params = json_incref(in.params),
		.arrived_ns = clock_now_ns(),
		.next = c->requests,
		.link = &c->requests,
	};
	memcpy(rq->fds, f->fds, sizeof(rq->fds));
	rpc_request_deinit(&in);
	if (rq->next)
		rq->next->link = &rq->next;
	c->requests = rq;
	c->owner->dispatch(rq);
}

static void conn_frame(struct conn *c, struct frame *f)
{
	if (f->kind == FRAME_JSON) {
		conn_request(c, f);
		return;
	}
	frame_close_fds(f);
	/* bytes of a request that has just ended are still under way: drop them */
	if (c->stream && c->stream->events->data)
		c->stream->events->data(c->stream, f);
}

static void conn_decode(struct conn *c)
{
	while (c->state == CONN_OPEN && !c->held) {
		struct frame f;
		struct err e = ERR_INIT;
		int r = frame_reader_next(&c->reader, &f, &e);
		if (r < 0)
			conn_refuse(c, &e);
		if (r <= 0)
			break;
		conn_frame(c, &f);
	}
	conn_watch(c);
}

static void conn_read(struct conn *c)
{
	long n = frame_reader_fill(&c->reader, c->source.fd);
	if (n == -EAGAIN)
		return;
	if (n <= 0)
		conn_kill(c);
	else
		conn_decode(c);
}

static void conn_ready(struct loop_source *s, uint32_t events)
{
	struct conn *c = conn_of_source(s);
	if (events & EPOLLOUT)
		conn_flush(c);
	if (c->starved && c->stream && conn_unsent(c) < CONN_OUT_BYTES / 2) {
		c->starved = false;
		if (c->stream->events->room)
			c->stream->events->room(c->stream);
	}
	/* a client that hung up has no use for what it would have been sent */
	if ((events & (EPOLLHUP | EPOLLERR)) && !(events & EPOLLIN))
		conn_kill(c);
	else if ((events & EPOLLIN) && c->state == CONN_OPEN && !c->held)
		conn_read(c);
}

void conns_close(struct conns *cs)
{
	for (struct conn *c = cs->first, *next; c; c = next) {
		next = c->next;
		conn_flush(c);
	}
	while (cs->first)
		conn_kill(cs->first);
	conns_reap(&cs->reap);
}

void request_reply(struct request *rq, json_t *result)
{
	struct conn *c = rq->conn;
	rpc_add_result(&c->out, rq->id, result);
	json_decref(result);
	request_free(rq);
	conn_flush(c);
}

void request_fail(struct request *rq, const struct err *e)
{
	struct conn *c = rq->conn;
	rpc_add_error(&c->out, rq->id, e);
	request_free(rq);
	conn_flush(c);
}

int request_stream(struct request *rq, const struct request_events *events, struct err *e)
{
	if (rq->conn->stream) {
		err_set(e, EBUSY, "another request streams on this connection");
		return err_remedy(e, "open one more connection");
	}
	rq->events = events;
	rq->conn->stream = rq;
	return 0;
}

const struct request *request_streaming(const struct request *rq)
{
	return rq->conn->stream;
}

void request_keep(struct request *rq, const struct request_events *events)
{
	rq->events = events;
}

void request_send(struct request *rq, enum frame_kind kind, unsigned int flags, const void *bytes,
		  size_t len)
{
	struct conn *c = rq->conn;
	frame_add(&c->out, kind, flags, bytes, len);
	/* what is queued goes in one write at the end of this turn */
	if (c->state != CONN_DEAD)
		loop_soon(c->owner->loop, &c->pump);
}

bool request_has_room(const struct request *rq)
{
	struct conn *c = rq->conn;
	if (conn_unsent(c) < CONN_OUT_BYTES)
		return true;
	c->starved = true;
	return false;
}

void request_hold(struct request *rq, bool hold)
{
	struct conn *c = rq->conn;
	if (c->held == hold)
		return;
	c->held = hold;
	if (!hold)
		loop_soon(c->owner->loop, &c->pump);
}
