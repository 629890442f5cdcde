#include "wire/client.h"

#include <errno.h>
#include <stdio.h>

#include "sys/stream.h"
#include "wire/rpc.h"
#include "wire/runtime.h"

void client_init(struct client *c, int fd, const char *name)
{
	*c = (struct client){ .fd = fd, .next_id = 1 };
	frame_reader_init(&c->reader);
	snprintf(c->name, sizeof(c->name), "%s", name);
}

void client_deinit(struct client *c)
{
	cleanup_fd(&c->fd);
	frame_reader_deinit(&c->reader);
}

int client_open(struct client *c, const char *name, struct err *e)
{
	client_init(c, -1, name);
	int r = runtime_check_name(name, e);
	if (r)
		return r;
	scoped_fd int runtime_fd = runtime_open(e);
	if (runtime_fd < 0)
		return runtime_fd;
	int fd = runtime_connect(runtime_fd, name, e);
	if (fd < 0)
		return fd;
	c->fd = fd;
	return 0;
}

static int client_lost(struct client *c, struct err *e)
{
	err_set(e, ECONNRESET, "the keeper of '%s' ended before it answered", c->name);
	return err_remedy(e, "see the file 'log' in the sandbox's runtime directory; `mulligan gc` "
			     "removes what is left of it");
}

static int client_send_all(struct client *c, const char *bytes, size_t len, const int *fds,
			   size_t n_fds, struct err *e)
{
	while (len) {
		long n = sys_stream_send(c->fd, bytes, len, fds, n_fds);
		if (n == -EPIPE || n == -ECONNRESET)
			return client_lost(c, e);
		if (n < 0)
			return err_set(e, (int)-n, "send to the keeper of '%s': %s", c->name,
				       err_name((int)-n));
		bytes += n;
		len -= (size_t)n;
		n_fds = 0;
	}
	return 0;
}

int client_send(struct client *c, const char *method, json_t *params, const int *fds, size_t n_fds,
		struct err *e)
{
	struct buf b = BUF_INIT;
	int id = (int)c->next_id++;
	rpc_add_request(&b, id, method, params);
	int r;
	if (b.failed)
		r = err_set(e, E2BIG, "the request '%s' does not fit into a frame", method);
	else
		r = client_send_all(c, b.data, b.len, fds, n_fds, e);
	buf_deinit(&b);
	return r ? r : id;
}

int client_stream(struct client *c, enum frame_kind kind, unsigned int flags, const void *bytes,
		  size_t len, struct err *e)
{
	uint8_t header[FRAME_HEADER_BYTES];
	frame_header(header, kind, flags, len);
	int r = client_send_all(c, (char *)header, sizeof(header), NULL, 0, e);
	return r ? r : client_send_all(c, bytes, len, NULL, 0, e);
}

int client_next(struct client *c, struct frame *f, struct err *e)
{
	for (;;) {
		int r = frame_reader_next(&c->reader, f, e);
		if (r)
			return r;
		long n = frame_reader_fill(&c->reader, c->fd);
		if (n == 0 || n == -ECONNRESET)
			return client_lost(c, e);
		if (n < 0)
			return err_set(e, (int)-n, "receive from the keeper of '%s': %s", c->name,
				       err_name((int)-n));
	}
}

int client_call(struct client *c, const char *method, json_t *params, json_t **result,
		struct err *e)
{
	int id = client_send(c, method, params, NULL, 0, e);
	if (id < 0)
		return id;
	for (;;) {
		struct frame f;
		int r = client_next(c, &f, e);
		if (r < 0)
			return r;
		frame_close_fds(&f);
		if (f.kind != FRAME_JSON)
			continue;
		int64_t replied;
		r = rpc_reply_parse(&f, &replied, result, e);
		if (replied == id || (r && !replied))
			return r;
		if (!r)
			json_decref(*result);
	}
}
