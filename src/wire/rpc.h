/*
 * rpc.h - requests and replies in JSON frames.
 *
 *	{"id": n, "method": "checkpoint", "params": {...}, "version": 1}
 *	{"id": n, "result": {...}}  or  {"id": n, "error": {code, cause, ...}}
 */
#pragma once

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "wire/frame.h"
#include "wire/json.h"

struct rpc_request {
	int64_t id;
	const char *method;	/* in doc */
	json_t *params;		/* in doc, never NULL */
	json_t *doc;		/* reference */
};

/* Decode; on failure out->id is the request's if it could be read. */
must_check int rpc_request_parse(struct rpc_request *out, const struct frame *f, struct err *e);
void rpc_request_deinit(struct rpc_request *r);

/* Append a frame to b. params/result are borrowed. */
void rpc_add_request(struct buf *b, int64_t id, const char *method, json_t *params);
void rpc_add_result(struct buf *b, int64_t id, json_t *result);
void rpc_add_error(struct buf *b, int64_t id, const struct err *e);

/*
 * Decode a reply: 0 and a new reference in *result, or the keeper's error in
 * *e. *id is set in both cases.
 */
must_check int rpc_reply_parse(const struct frame *f, int64_t *id, json_t **result,
			       struct err *e);
