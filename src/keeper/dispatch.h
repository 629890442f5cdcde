/*
 * dispatch.h - from a request to the function that serves it.
 *
 * A handler answers through *result (a new reference), or fails with *e set,
 * or keeps the request and returns HANDLER_LATER: then request_reply() or
 * request_fail() ends it. Parameters have been checked against the methods
 * table. The whole list is handler_table in dispatch.c.
 */
#pragma once

#include "base/err.h"
#include "keeper/box.h"
#include "keeper/conn.h"

enum { HANDLER_LATER = 1 };

typedef int handler_fn(struct request *rq, json_t **result, struct err *e);

/* The conns' dispatch function. */
void dispatch(struct request *rq);

handler_fn method_create, method_exec, method_attach, method_wait, method_kill, method_resize,
	method_commands, method_checkpoint, method_rollback, method_reset, method_fork, method_tree,
	method_diff, method_delete_checkpoint, method_info, method_inspect, method_copy_out,
	method_copy_in, method_shutdown;

/* What several methods answer; new references. */
json_t *box_info_json(struct box *b);
json_t *box_tree_json(struct box *b);
json_t *box_commands_json(struct box *b);
json_t *live_processes_json(struct box *b, const struct tree_image *then);
json_t *stages_json(const struct stage_times *t);
