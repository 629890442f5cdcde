/* client.h - the blocking side: one connection to one keeper. */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"
#include "wire/frame.h"
#include "wire/json.h"

struct client {
	int fd;
	int64_t next_id;
	struct frame_reader reader;
	char name[64];		/* of the sandbox, for messages */
};

void client_init(struct client *c, int fd, const char *name);
void client_deinit(struct client *c);

/* Connect to the sandbox `name`. */
must_check int client_open(struct client *c, const char *name, struct err *e);

/* Send a request and return its id. fds may be NULL. */
must_check int client_send(struct client *c, const char *method, json_t *params, const int *fds,
			   size_t n_fds, struct err *e);

/* Send raw bytes of a stream. */
must_check int client_stream(struct client *c, enum frame_kind kind, unsigned int flags,
			     const void *bytes, size_t len, struct err *e);

/* Wait for a frame: 1, or -errno; the end of the connection is an error. */
must_check int client_next(struct client *c, struct frame *f, struct err *e);

/*
 * A whole call: send, wait for the reply. *result is a new reference. Raw
 * frames that come meanwhile are dropped.
 */
must_check int client_call(struct client *c, const char *method, json_t *params, json_t **result,
			   struct err *e);
