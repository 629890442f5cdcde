#include "keeper/watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "keeper/dispatch.h"
#include "wire/errjson.h"

enum { BACKLOG_BYTES = 256 << 10 };	/* the log keeps 1 MB of the end */

static const enum frame_kind frame_of[STREAMS] = {
	[STREAM_STDOUT] = FRAME_STDOUT,
	[STREAM_STDERR] = FRAME_STDERR,
};

struct watcher *watch_new(struct request *rq, struct command *c)
{
	struct watcher *w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->box = rq->box;
	w->rq = rq;
	w->command = c;
	rq->data = w;
	w->next = w->box->watchers;
	w->box->watchers = w;
	return w;
}

static void watch_free(struct watcher *w)
{
	struct watcher **at = &w->box->watchers;
	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	buf_deinit(&w->input);
	free(w);
}

static void watch_drop(struct watcher *w)
{
	struct command *c = w->command;
	struct box *b = w->box;
	bool owns = w->owns;
	watch_free(w);
	if (owns)
		command_forget(b->commands, c);
}

static void watch_gone(struct request *rq)
{
	struct watcher *w = rq->data;
	struct err ignored;	/* it ended by itself meanwhile */
	if (w->owns && !command_is_over(w->command) &&
	    command_kill(w->box->commands, w->command, &ignored))
		ignored.code = 0;
	watch_drop(w);
}

/* Give the command what the client sent; the client waits while it is too much. */
static void watch_feed(struct watcher *w)
{
	struct commands *t = w->box->commands;
	if (w->input.len) {
		/* `input_room` may come during the call: leave nothing for it */
		struct buf bytes = w->input;
		w->input = BUF_INIT;
		long n = command_write(t, w->command, bytes.data, bytes.len);
		if (n >= 0)	/* else nobody reads it any more: drop it */
			buf_add(&w->input, bytes.data + n, bytes.len - (size_t)n);
		buf_deinit(&bytes);
	}
	request_hold(w->rq, w->input.len > 0);
	if (!w->input.len && w->input_ends)
		command_close_stdin(t, w->command);
}

static void watch_data(struct request *rq, const struct frame *f)
{
	struct watcher *w = rq->data;
	if (f->kind != FRAME_STDIN || w->input_ends)
		return;
	buf_add(&w->input, f->data, f->len_bytes);
	w->input_ends = f->flags & FRAME_F_END;
	watch_feed(w);
}

/*
 * A command must not run ahead of the client that runs it by more than its
 * log can keep. Others who follow it get what is left when they are slow.
 */
static void watch_throttle(struct watcher *w)
{
	if (!w->owns || !w->streams || command_is_over(w->command))
		return;
	for (enum stream_kind s = STREAM_STDOUT; s < STREAMS; s++) {
		const struct stream *stream = &w->command->stream[s];
		bool behind = stream->log.total_bytes - w->pos[s] > BACKLOG_BYTES;
		if (stream->fd >= 0 && stream->is_paused != behind)
			command_pause(w->box->commands, w->command, s, behind);
	}
}

/* Send what there is; true when the client has all of it. */
static bool watch_send(struct watcher *w)
{
	char bytes[FRAME_CHUNK_BYTES];
	for (enum stream_kind s = STREAM_STDOUT; w->streams && s < STREAMS; s++) {
		const struct log *log = &w->command->stream[s].log;
		while (w->pos[s] < log->total_bytes) {
			if (!request_has_room(w->rq))
				return false;
			uint64_t at;
			size_t n = log_read(log, w->pos[s], bytes, sizeof(bytes), &at);
			if (!n)
				break;
			w->truncated |= at != w->pos[s];
			request_send(w->rq, frame_of[s], 0, bytes, n);
			w->pos[s] = at + n;
		}
	}
	return true;
}

static bool watch_is_done(const struct watcher *w)
{
	if (command_is_over(w->command) || w->until_now)
		return true;
	return w->until_started && w->command->state != COMMAND_STARTING;
}

static void watch_update(struct watcher *w)
{
	bool all = watch_send(w);
	watch_throttle(w);
	if (!all || !watch_is_done(w))
		return;
	struct request *rq = w->rq;
	json_t *result = command_json(w->command);
	if (w->truncated)
		json_object_set_new(result, "truncated", json_true());
	watch_drop(w);
	request_reply(rq, result);
}

static void watch_room(struct request *rq)
{
	watch_update(rq->data);
}

static const struct request_events watch_events = {
	.data = watch_data,
	.room = watch_room,
	.gone = watch_gone,
};

int watch_start(struct watcher *w, struct err *e)
{
	if (w->streams) {
		int r = request_stream(w->rq, &watch_events, e);
		if (r) {
			watch_free(w);
			return r;
		}
	}
	request_keep(w->rq, &watch_events);
	watch_update(w);
	return 0;
}

void watch_command(struct box *b, struct command *c)
{
	for (struct watcher *w = b->watchers, *next; w; w = next) {
		next = w->next;
		if (w->command == c)
			watch_update(w);
	}
}

void watch_input_room(struct box *b, struct command *c)
{
	for (struct watcher *w = b->watchers; w; w = w->next)
		if (w->command == c && w->input.len)
			watch_feed(w);
}

void watch_rolled_back(struct box *b)
{
	for (struct watcher *w = b->watchers, *next; w; w = next) {
		next = w->next;
		for (enum stream_kind s = STREAM_STDOUT; s < STREAMS; s++)
			if (w->pos[s] > w->command->stream[s].log.total_bytes)
				w->pos[s] = w->command->stream[s].log.total_bytes;
		watch_update(w);
	}
}

void watch_abandon(struct box *b)
{
	while (b->watchers)
		watch_free(b->watchers);
}

static void command_end_json(json_t *j, const struct command *c)
{
	if (c->state == COMMAND_EXITED)
		json_object_set_new(j, "exit_code", json_integer(WEXITSTATUS(c->wait_status)));
	if (c->state == COMMAND_KILLED)
		json_object_set_new(j, "signal", json_integer(WTERMSIG(c->wait_status)));
	if (c->state == COMMAND_FAILED)
		json_object_set_new(j, "error", err_to_json(&c->error));
}

json_t *command_json(const struct command *c)
{
	char handle[24];
	snprintf(handle, sizeof(handle), "c%llu", (unsigned long long)c->id);
	const struct log *out = &c->stream[STREAM_STDOUT].log;
	const struct log *err = &c->stream[STREAM_STDERR].log;
	uint64_t end = c->ended_ns ? c->ended_ns : clock_now_ns();
	json_t *j = json_pack("{s:s, s:s, s:b, s:b, s:I, s:I, s:b, s:o}", "handle", handle, "state",
			      command_state_name(c->state), "timed_out", c->timed_out, "oom_killed",
			      c->oom_killed, "stdout_bytes", (json_int_t)out->total_bytes,
			      "stderr_bytes", (json_int_t)err->total_bytes, "truncated", false,
			      "duration_ms", json_ms(end - c->started_ns));
	command_end_json(j, c);
	return j;
}

int command_param(const struct request *rq, struct command **out, struct err *e)
{
	const char *handle = json_get_string(rq->params, "handle", NULL);
	const struct request *sibling = handle ? NULL : request_streaming(rq);
	if (sibling && sibling->events == &watch_events) {
		const struct watcher *w = sibling->data;
		*out = w->command;
		return 0;
	}
	if (!handle)
		return err_set(e, EINVAL, "no command streams on this connection: name a handle");
	char *end = NULL;
	uint64_t id = handle[0] == 'c' ? strtoull(handle + 1, &end, 10) : 0;
	*out = end && end != handle + 1 && !*end ? commands_find(rq->box->commands, id) : NULL;
	if (*out && !(*out)->forgotten)
		return 0;
	err_set(e, ENOENT, "no command has the handle '%.32s'", handle);
	return err_remedy(e, "`mulligan inspect` lists the commands of a sandbox");
}
