/*
 * conn.h - clients of a keeper, and what they have asked for.
 *
 * A connection decodes frames into requests. Handlers answer at once or keep
 * the request and answer later; a client may have several requests open, one
 * of which may stream raw frames. A client that reads slowly stops what
 * streams to it (conn_has_room), one that writes fast is not read while its
 * stream cannot take more (conn_hold).
 *
 *	OPEN -> CLOSING (refuses input, sends what is left) -> DEAD (freed soon)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "keeper/loop.h"
#include "wire/frame.h"
#include "wire/json.h"
#include "wire/methods.h"

struct box;
struct conn;
struct request;

enum { CONN_OUT_BYTES = 4 << 20 };	/* unsent bytes at which streams pause */

/* What a request that stays open wants to hear of its client; any may be NULL. */
struct request_events {
	/* a raw frame; its bytes are valid during the call */
	void (*data)(struct request *rq, const struct frame *f);
	/* the client reads again */
	void (*room)(struct request *rq);
	/* the client is gone: free what the request holds; it is freed after */
	void (*gone)(struct request *rq);
};

struct request {
	struct box *box;
	struct conn *conn;
	int64_t id;
	const struct method *method;
	json_t *params;		/* reference */
	int fds[FRAME_FDS_MAX];	/* that came with it, owned; -1: none */
	uint64_t arrived_ns;	/* clock_now_ns() */
	const struct request_events *events;
	void *data;		/* the handler's */
	struct request *next, **link;
};

/* Decides what to do with a request: see dispatch.h. */
typedef void request_fn(struct request *rq);

struct conns {
	struct loop *loop;
	struct box *box;
	request_fn *dispatch;
	struct conn *first;
	struct conn *dead;
	struct loop_task reap;
};

void conns_init(struct conns *cs, struct loop *loop, struct box *box, request_fn *dispatch);

/* Serve a client; fd is taken over. */
must_check int conns_add(struct conns *cs, int fd, struct conn **out);

/* Close all without a word and without telling requests: in a fork's child. */
void conns_abandon(struct conns *cs);

/* Close all, after what they wait for was sent as far as they take it now. */
void conns_close(struct conns *cs);

/* Answer and end the request. result's reference is taken. */
void request_reply(struct request *rq, json_t *result);
void request_fail(struct request *rq, const struct err *e);

/* From now on raw frames are this request's. -EBUSY: another one streams. */
must_check int request_stream(struct request *rq, const struct request_events *events,
			      struct err *e);

/* The request that streams on the connection of rq, or NULL. */
const struct request *request_streaming(const struct request *rq);

/* Keep the request open, without raw frames. */
void request_keep(struct request *rq, const struct request_events *events);

/* Send raw bytes of a stream. */
void request_send(struct request *rq, enum frame_kind kind, unsigned int flags,
		  const void *bytes, size_t len);

bool request_has_room(const struct request *rq);

/* Stop or go on decoding what the client sends. */
void request_hold(struct request *rq, bool hold);
