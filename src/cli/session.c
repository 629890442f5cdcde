#include "cli/session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>

#include "sys/file.h"
#include "sys/stream.h"
#include "sys/tty.h"
#include "wire/errjson.h"
#include "wire/rpc.h"

enum { CAPTURE_HALF = 512 << 10 };	/* kept of the begin, and of the end */

struct pump {
	struct session *s;
	struct buf pending;	/* frames not sent yet */
	int64_t exec_id;
	bool input_open;
	bool keeper_gone;	/* refuses input: read what it still says */
	int signal_fd;
	struct termios was;
};

static void capture_add(struct capture *c, const char *bytes, size_t len)
{
	c->total_bytes += len;
	size_t room = CAPTURE_HALF - c->head.len;
	size_t n = len < room ? len : room;
	buf_add(&c->head, bytes, n);
	buf_add(&c->tail, bytes + n, len - n);
	/* cut in large steps, not at every frame */
	if (c->tail.len > 2 * CAPTURE_HALF)
		buf_consume(&c->tail, c->tail.len - CAPTURE_HALF);
}

json_t *session_text(const struct capture *c, bool *truncated)
{
	size_t skip = c->tail.len > CAPTURE_HALF ? c->tail.len - CAPTURE_HALF : 0;
	uint64_t missing = c->total_bytes - c->head.len - (c->tail.len - skip);
	struct buf text = BUF_INIT;
	buf_add(&text, c->head.data, c->head.len);
	if (missing)
		buf_printf(&text, "\n[%llu bytes not shown]\n", (unsigned long long)missing);
	if (c->tail.len)
		buf_add(&text, c->tail.data + skip, c->tail.len - skip);
	*truncated |= missing > 0;
	json_t *j = json_text(text.data ? text.data : "", text.len);
	buf_deinit(&text);
	return j;
}

void session_deinit(struct session *s)
{
	for (int i = 0; i < 2; i++) {
		buf_deinit(&s->out[i].head);
		buf_deinit(&s->out[i].tail);
	}
	json_decref(s->result);
	s->result = NULL;
}

static void pump_resize(struct pump *p)
{
	uint16_t rows, cols;
	if (sys_tty_get_size(STDIN_FILENO, &rows, &cols) || !rows || !cols)
		return;
	scoped_json json_t *params = json_pack("{s:i, s:i}", "rows", rows, "cols", cols);
	rpc_add_request(&p->pending, p->s->client->next_id++, "resize", params);
}

static int pump_signal(struct pump *p)
{
	struct signalfd_siginfo info;
	if (read(p->signal_fd, &info, sizeof(info)) == sizeof(info))
		pump_resize(p);
	return 0;
}

static void pump_input(struct pump *p)
{
	char bytes[FRAME_CHUNK_BYTES];
	ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0)
		p->input_open = false;
	frame_add(&p->pending, FRAME_STDIN, n <= 0 ? FRAME_F_END : 0, bytes,
		  n <= 0 ? 0 : (size_t)n);
}

static void pump_flush(struct pump *p)
{
	while (p->pending.len && !p->keeper_gone) {
		long n = sys_stream_send(p->s->client->fd, p->pending.data, p->pending.len, NULL,
					 0);
		if (n == -EAGAIN)
			return;
		/* the reason comes as end of file, or as a reply before it */
		if (n < 0)
			p->keeper_gone = true;
		else
			buf_consume(&p->pending, (size_t)n);
	}
}

static int pump_output(struct pump *p, const struct frame *f, struct err *e)
{
	int which = f->kind == FRAME_STDERR;
	if (p->s->capture) {
		capture_add(&p->s->out[which], f->data, f->len_bytes);
		return 0;
	}
	int r = sys_write_all(which ? STDERR_FILENO : STDOUT_FILENO, f->data, f->len_bytes);
	return r ? err_set(e, -r, "write to standard %s: %s", which ? "error" : "output",
			   strerror(-r)) :
		   0;
}

/* 1: the exec's reply has come. */
static int pump_frame(struct pump *p, struct frame *f, struct err *e)
{
	frame_close_fds(f);
	if (f->kind == FRAME_STDOUT || f->kind == FRAME_STDERR)
		return pump_output(p, f, e);
	if (f->kind != FRAME_JSON)
		return 0;
	int64_t id;
	scoped_json json_t *result = NULL;
	struct err told = ERR_INIT;
	int r = rpc_reply_parse(f, &id, &result, &told);
	if (id != p->exec_id && id)
		return 0;	/* of a resize: the command may be over */
	if (r) {
		*e = told;
		return r;
	}
	p->s->result = take_ptr(result);
	return 1;
}

/* Receive and handle what there is: 1 done, 0 more to come. */
static int pump_receive(struct pump *p, struct err *e)
{
	struct client *c = p->s->client;
	long n = frame_reader_fill(&c->reader, c->fd);
	if (n == -EAGAIN)
		return 0;
	if (n <= 0) {
		err_set(e, ECONNRESET, "the keeper of '%s' ended before the command did", c->name);
		return err_remedy(e, "the sandbox was removed or its keeper died: `mulligan ps`");
	}
	for (;;) {
		struct frame f;
		int r = frame_reader_next(&c->reader, &f, e);
		if (r <= 0)
			return r;
		r = pump_frame(p, &f, e);
		if (r)
			return r;
	}
}

static int pump_turn(struct pump *p, struct err *e)
{
	struct pollfd fds[] = {
		{ .fd = p->s->client->fd, .events = POLLIN },
		{ .fd = p->input_open && !p->pending.len ? STDIN_FILENO : -1, .events = POLLIN },
		{ .fd = p->signal_fd, .events = POLLIN },
	};
	if (p->pending.len && !p->keeper_gone)
		fds[0].events |= POLLOUT;
	if (poll(fds, 3, -1) < 0)
		return errno == EINTR ? 0 : err_set(e, errno, "poll: %s", strerror(errno));
	if (fds[2].revents)
		pump_signal(p);
	if (fds[1].revents)
		pump_input(p);
	pump_flush(p);
	if (p->pending.failed)
		return err_set(e, ENOMEM, "no memory for standard input");
	return fds[0].revents & (POLLIN | POLLHUP | POLLERR) ? pump_receive(p, e) : 0;
}

static int pump_start(struct pump *p, struct err *e)
{
	struct session *s = p->s;
	int r = sys_stream_set_blocking(s->client->fd, 0);
	if (r)
		return err_set(e, -r, "prepare the connection: %s", strerror(-r));
	if (s->tty) {
		uint16_t rows, cols;
		sigset_t winch;
		sigemptyset(&winch);
		sigaddset(&winch, SIGWINCH);
		sigprocmask(SIG_BLOCK, &winch, NULL);
		p->signal_fd = signalfd(-1, &winch, SFD_CLOEXEC | SFD_NONBLOCK);
		if (!sys_tty_get_size(STDIN_FILENO, &rows, &cols) && rows && cols) {
			json_object_set_new(s->params, "rows", json_integer(rows));
			json_object_set_new(s->params, "cols", json_integer(cols));
		}
	}
	p->input_open = s->has_stdin;
	json_object_set_new(s->params, "stdin", json_boolean(s->has_stdin));
	p->exec_id = s->client->next_id++;
	rpc_add_request(&p->pending, p->exec_id, "exec", s->params);
	if (p->pending.failed)
		return err_set(e, E2BIG, "the command line is too long");
	return 0;
}

int session_run(struct session *s, struct err *e)
{
	struct pump p = { .s = s, .signal_fd = -1 };
	int r = pump_start(&p, e);
	bool raw = !r && s->tty && !sys_tty_raw(STDIN_FILENO, &p.was);
	pump_flush(&p);
	while (!r)
		r = pump_turn(&p, e);
	if (raw)
		sys_tty_restore(STDIN_FILENO, &p.was);
	cleanup_fd(&p.signal_fd);
	buf_deinit(&p.pending);
	int back = sys_stream_set_blocking(s->client->fd, 1);
	return r < 0 ? r : back < 0 ? err_set(e, -back, "restore the connection") : 0;
}

int session_exit_code(const struct cli_args *args, const struct session *s)
{
	const json_t *r = s->result;
	const char *state = json_get_string(r, "state", "");
	struct err e = ERR_INIT;
	if (json_get_bool(r, "timed_out", false))
		return CLI_TIMED_OUT;
	if (!strcmp(state, "failed")) {
		err_from_json(&e, json_object_get(r, "error"));
		cli_fail(args, &e);
		return e.code == ENOENT ? CLI_NO_PROGRAM :
		       e.code == EACCES || e.code == ENOEXEC ? CLI_CANNOT_RUN : CLI_TOOL;
	}
	if (json_object_get(r, "exit_code"))
		return (int)json_get_int(r, "exit_code", 0);
	if (json_object_get(r, "signal"))
		return CLI_SIGNAL + (int)json_get_int(r, "signal", 0);
	err_set(&e, ECANCELED, "the command did not end by itself: %s",
		!strcmp(state, "rolled_back") ? "the sandbox was rolled back to before its start" :
						"its sandbox stopped");
	cli_fail(args, &e);
	return CLI_TOOL;
}
