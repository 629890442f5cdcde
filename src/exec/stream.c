#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>

#include "exec/internal.h"
#include "sys/event.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/tty.h"

enum {
	READ_BYTES = 64 << 10, /* a pipe's default capacity */
	READS_A_TURN = 8,      /* then others have their turn */
	TTY_MOST_BYTES = 128 << 10, /* more than a terminal can hold on its way */
};

int stream_identify(struct stream *s, int fd)
{
	struct stat st;
	int r = sys_fstat(fd, &st);
	if (r)
		return r;
	int flags = sys_fcntl(fd, F_GETFL, 0);
	r = flags < 0 ? flags : sys_fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	if (r < 0)
		return r;
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	return 0;
}

uint32_t stream_events(const struct command *c, enum stream_kind kind)
{
	uint32_t out = c->input.len ? EPOLLOUT : 0;
	if (kind == STREAM_STDIN)
		return out; /* EPOLLERR is always told */
	return (c->stream[kind].is_paused ? 0 : EPOLLIN) | (c->is_tty ? out : 0);
}

int stream_watch(struct commands *t, struct command *c, enum stream_kind kind)
{
	struct stream *s = &c->stream[kind];
	s->is_paused = false; /* whoever paused it followed another life of it */
	uint32_t events = stream_events(c, kind);
	int r = sys_epoll_add(t->epoll_fd, s->fd, events, stream_tag(c->id, kind));
	if (r)
		return r;
	s->armed = events;
	s->is_watched = true;
	return 0;
}

static void stream_unwatch(struct commands *t, struct stream *s)
{
	if (s->is_watched)
		sys_epoll_remove(t->epoll_fd, s->fd);
	s->is_watched = false;
}

static void stream_rearm(struct commands *t, struct command *c, enum stream_kind kind)
{
	struct stream *s = &c->stream[kind];
	uint32_t wanted = stream_events(c, kind);
	if (!s->is_watched || s->armed == wanted)
		return;
	sys_epoll_change(t->epoll_fd, s->fd, wanted, stream_tag(c->id, kind));
	s->armed = wanted;
}

void command_pause(struct commands *t, struct command *c, enum stream_kind kind, bool paused)
{
	c->stream[kind].is_paused = paused;
	stream_rearm(t, c, kind);
}

void stream_close(struct commands *t, struct command *c, enum stream_kind kind)
{
	struct stream *s = &c->stream[kind];
	stream_unwatch(t, s);
	cleanup_fd(&s->fd);
	command_changed(c);
	s->is_open = false;
	if (kind == STREAM_STDIN || c->is_tty) {
		buf_deinit(&c->input);
		c->input = BUF_INIT;
		c->input_ends = true;
	}
}

/*
 * End of a stream: every writer is gone. A terminal may be opened again as
 * long as its session lives, so its master stays.
 */
static void stream_eof(struct commands *t, struct command *c, enum stream_kind kind)
{
	if (c->is_tty && !command_is_over(c))
		stream_unwatch(t, &c->stream[kind]);
	else
		stream_close(t, c, kind);
}

/* Read once, at most cap bytes. Returns how many, 0: nothing more now. */
static size_t stream_read(struct commands *t, struct command *c, enum stream_kind kind, size_t cap)
{
	struct stream *s = &c->stream[kind];
	char bytes[READ_BYTES];
	ssize_t n;
	do
		n = read(s->fd, bytes, cap < sizeof(bytes) ? cap : sizeof(bytes));
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0) {
		/* EIO is how a terminal without a slave says end of file */
		stream_eof(t, c, kind);
		return 0;
	}
	command_changed(c);
	if (!c->forgotten)
		log_add(&s->log, bytes, (size_t)n);
	return (size_t)n;
}

void stream_drain(struct commands *t, struct command *c, enum stream_kind kind, bool bounded)
{
	struct stream *s = &c->stream[kind];
	if (s->fd < 0)
		return;
	size_t left = SIZE_MAX;
	int queued;
	/* FIONREAD does not count what the line discipline has not got yet */
	if (bounded && c->is_tty)
		left = TTY_MOST_BYTES;
	else if (bounded && ioctl(s->fd, FIONREAD, &queued) == 0)
		left = (size_t)queued;
	uint64_t before = s->log.total_bytes;
	while (s->fd >= 0 && left) {
		size_t n = stream_read(t, c, kind, left);
		if (!n)
			break;
		left -= n;
	}
	if (s->log.total_bytes != before)
		commands_tell_output(t, c, kind);
}

static void stream_pump(struct commands *t, struct command *c, enum stream_kind kind)
{
	struct stream *s = &c->stream[kind];
	uint64_t before = s->log.total_bytes;
	for (int i = 0; i < READS_A_TURN && s->fd >= 0; i++)
		if (stream_read(t, c, kind, READ_BYTES) < READ_BYTES)
			break;
	if (s->log.total_bytes != before)
		commands_tell_output(t, c, kind);
}

static enum stream_kind input_kind(const struct command *c)
{
	return c->is_tty ? STREAM_STDOUT : STREAM_STDIN;
}

/* Give stdin what waits for it; close it if that was the last. */
static void input_flush(struct commands *t, struct command *c)
{
	enum stream_kind kind = input_kind(c);
	struct stream *s = &c->stream[kind];
	size_t had = c->input.len;
	command_changed(c);
	while (s->fd >= 0 && c->input.len) {
		ssize_t n = write(s->fd, c->input.data, c->input.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) {
			stream_eof(t, c, kind); /* EPIPE: nobody reads it */
			return;
		}
		buf_consume(&c->input, (size_t)n);
	}
	if (!c->input.len && c->input_ends && !c->is_tty)
		stream_close(t, c, kind);
	else
		stream_rearm(t, c, kind);
	if (had && !c->input.len && !c->forgotten && t->events.input_room) {
		t->busy++;
		t->events.input_room(t->events.ctx, c);
		t->busy--;
	}
}

void stream_ready(struct commands *t, struct command *c, enum stream_kind kind, uint32_t events)
{
	if (events & EPOLLOUT)
		input_flush(t, c);
	if (kind == STREAM_STDIN) {
		if (events & (EPOLLERR | EPOLLHUP))
			stream_close(t, c, kind);
		return;
	}
	if (c->stream[kind].fd >= 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		stream_pump(t, c, kind);
}

void stream_check_input(struct commands *t, struct command *c)
{
	struct pollfd end = {.fd = c->stream[STREAM_STDIN].fd};
	if (end.fd >= 0 && poll(&end, 1, 0) > 0 && end.revents & (POLLERR | POLLHUP))
		stream_close(t, c, STREAM_STDIN);
}

void streams_end(struct commands *t, struct command *c)
{
	stream_drain(t, c, STREAM_STDOUT, true);
	stream_drain(t, c, STREAM_STDERR, true);
	if (c->stream[STREAM_STDIN].fd >= 0)
		stream_close(t, c, STREAM_STDIN);
	if (c->is_tty && c->stream[STREAM_STDOUT].fd >= 0)
		stream_close(t, c, STREAM_STDOUT);
}

bool streams_are_open(const struct command *c)
{
	return c->stream[STREAM_STDOUT].fd >= 0 || c->stream[STREAM_STDERR].fd >= 0;
}

long command_write(struct commands *t, struct command *c, const void *bytes, size_t len)
{
	const struct stream *s = &c->stream[input_kind(c)];
	if (s->fd < 0 || c->input_ends)
		return -EPIPE;
	size_t room = COMMAND_INPUT_MAX - c->input.len;
	if (len > room)
		len = room;
	buf_add(&c->input, bytes, len);
	if (c->input.failed)
		return -ENOMEM;
	input_flush(t, c);
	return (long)len;
}

/*
 * On a terminal in line mode the end of file is a character, and it must
 * stand at the start of a line to mean the end of the input.
 */
void command_close_stdin(struct commands *t, struct command *c)
{
	if (c->is_tty) {
		struct termios term;
		const struct stream *s = &c->stream[STREAM_STDOUT];
		if (s->fd < 0 || c->input_ends || tcgetattr(s->fd, &term))
			return;
		char eof = (char)term.c_cc[VEOF];
		buf_add(&c->input, &eof, 1);
	}
	c->input_ends = true;
	input_flush(t, c);
}

int command_resize(struct command *c, uint16_t rows, uint16_t cols)
{
	if (!c->is_tty || c->stream[STREAM_STDOUT].fd < 0)
		return -ENOTTY;
	return sys_tty_set_size(c->stream[STREAM_STDOUT].fd, rows, cols);
}
