/*
 * tty_queue.c - what is queued in a terminal.
 *
 * Nothing tells what is in the queues but reading them. So what is read out is
 * put in again, into the live terminal as into the restored one, and all
 * settings that would do something to it (echo, signals, translation) are off
 * meanwhile. In line mode (drivers/tty/n_tty.c):
 *
 *  - each read(2) has one line, so that where lines end is seen; one that does
 *    not end with '\n' ended with an end-of-file mark, which is not read;
 *  - an unfinished line is only seen when line mode is switched off, which
 *    forgets where lines end: so the lines are taken first;
 *  - on the way back whatever is special is quoted with ^V.
 *
 * What is written to one end reaches the other's queue in a worker of the
 * kernel. The settings must not be changed before: in line mode a ^S behind
 * all else tells, by stopping the output, that it was seen; otherwise the
 * number of bytes does.
 *
 * Half-way there is no way back but on: what was read must be put in again,
 * behind nothing. So each call is tried several times before it counts as
 * failed, and what fails for good still has the settings put back.
 */
#include "parts/tty_queue.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "sys/fd.h"

enum {
	CHAR_EOF = 4,		/* ^D, and the usual ones of ^V, ^Q, ^S */
	CHAR_QUOTE = 0x16,
	CHAR_START = 0x11,
	CHAR_STOP = 0x13,
	READ_BYTES = 2 * SYS_TTY_QUEUE,
	NAP_NS = 20000,
	TRIES = 3,
};

/* For what the kernel's workers bring: they may be starved of CPU. */
#define PATIENCE_NS 10000000000ull

/* Of each call, one after the other, until it is done. */
static int try_settings(int fd, const struct sys_termios *term)
{
	int r = -EIO;
	for (int i = 0; r && i < TRIES; i++)
		r = sys_tty_set_settings(fd, term);
	return r;
}

static int try_poll(int fd, int events)
{
	int r = -EIO;
	for (int i = 0; r < 0 && i < TRIES; i++)
		r = sys_tty_poll(fd, events);
	return r;
}

static int try_flow(int fd, int action)
{
	int r = -EIO;
	for (int i = 0; r && i < TRIES; i++)
		r = sys_tty_flow(fd, action);
	return r;
}

static int try_queued(int fd, int *n)
{
	int r = -EIO;
	for (int i = 0; r && i < TRIES; i++)
		r = sys_tty_get(fd, FIONREAD, n);
	return r;
}

static int try_flags(int fd, int flags)
{
	int r = -EIO;
	for (int i = 0; r && i < TRIES; i++)
		r = sys_fcntl(fd, F_SETFL, flags);
	return r;
}

static ssize_t try_read(int fd, void *bytes, size_t cap)
{
	ssize_t n = -EIO;
	for (int i = 0; n < 0 && n != -EAGAIN && i < TRIES; i++)
		n = sys_read(fd, bytes, cap);
	return n;
}

static ssize_t try_write(int fd, const void *bytes, size_t len)
{
	ssize_t n = -EIO;
	for (int i = 0; n < 0 && n != -EAGAIN && i < TRIES; i++)
		n = sys_write(fd, bytes, len);
	return n;
}

int tty_set(int fd, unsigned long request, int value)
{
	int r = -EIO;
	for (int i = 0; r && i < TRIES; i++)
		r = sys_tty_set(fd, request, value);
	return r;
}

int tty_set_exclusive(int fd, bool exclusive)
{
	int r = -EIO;
	for (int i = 0; r && i < TRIES; i++)
		r = sys_tty_set_exclusive(fd, exclusive);
	return r;
}

static bool by_lines(const struct sys_termios *term)
{
	return (term->lflag & ICANON) && !(term->lflag & EXTPROC);
}

/* Settings under which bytes pass as they are. */
static struct sys_termios quiet_of(const struct sys_termios *term)
{
	struct sys_termios q = *term;
	q.iflag &= IUTF8;
	q.oflag = 0;
	q.lflag &= ICANON | EXTPROC;
	memset(q.cc, 0, sizeof(q.cc));	/* _POSIX_VDISABLE: no special characters */
	if (by_lines(term)) {
		q.iflag |= IXON;
		q.lflag |= IEXTEN;
		q.cc[VEOF] = CHAR_EOF;
		q.cc[VLNEXT] = CHAR_QUOTE;
		q.cc[VSTART] = CHAR_START;
		q.cc[VSTOP] = CHAR_STOP;
	} else {
		q.cc[VMIN] = 1;
	}
	return q;
}

static int add_bytes(struct vec *v, const char *bytes, size_t n)
{
	if (vec_reserve(v, v->n + n))
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		*(char *)vec_add(v) = bytes[i];
	return 0;
}

/* Read what is there; in line mode that is one line a read. */
static int read_all(int fd, struct vec *data, struct vec *lines)
{
	char bytes[READ_BYTES];
	for (;;) {
		int ready = try_poll(fd, POLLIN);
		if (ready < 0 || !(ready & POLLIN))
			return ready < 0 ? ready : 0;
		/* what is read must be kept */
		if (vec_reserve(data, data->n + sizeof(bytes)) ||
		    (lines && vec_reserve(lines, lines->n + 1)))
			return -ENOMEM;
		ssize_t n = try_read(fd, bytes, sizeof(bytes));
		if (n < 0)
			return n == -EAGAIN ? 0 : (int)n;
		(void)!add_bytes(data, bytes, (size_t)n);
		if (lines)
			*(uint32_t *)vec_add(lines) = (uint32_t)n;
		/* marks alone: no more of them than the queue can have */
		if (!n && (!lines || lines->n > SYS_TTY_QUEUE))
			return lines ? -EIO : 0;
	}
}

static int take_lines(const struct tty_ends *ends, struct image_tty *t)
{
	int r = read_all(ends->slave, &t->input, &t->lines);
	struct sys_termios raw = t->term;
	raw.lflag &= ~(uint32_t)ICANON;
	raw.cc[VMIN] = 1;
	raw.cc[VTIME] = 0;
	if (r == 0)
		r = try_settings(ends->slave, &raw);
	return r ? r : read_all(ends->slave, &t->input, NULL);
}

static int take_stop(const struct tty_ends *ends, struct image_tty *t)
{
	int ready = try_poll(ends->slave, POLLOUT);
	if (ready < 0)
		return ready;
	t->stopped = !(ready & POLLOUT);
	if (!t->stopped)
		return 0;
	int r = try_flow(ends->slave, TCOON);
	if (r == 0)
		r = ready = try_poll(ends->slave, POLLOUT);
	if (r < 0)
		return r;
	t->stopped_by_call = ready & POLLOUT;
	return 1;
}

static int take(const struct tty_ends *ends, struct image_tty *t, bool output)
{
	int queued = 0;
	int r = output ? read_all(ends->master, &t->output, NULL) : 0;
	int stopped = r ? 0 : take_stop(ends, t);
	if (r || stopped < 0)
		return r ? r : stopped;
	if (by_lines(&t->term)) {
		r = take_lines(ends, t);
		return r ? r : 1;
	}
	r = try_poll(ends->slave, POLLIN);
	if (r >= 0)
		r = try_queued(ends->slave, &queued);
	if (r == 0 && queued)
		r = read_all(ends->slave, &t->input, NULL);
	return r ? r : stopped || queued || t->output.n;
}

static void nap(void)
{
	struct timespec ts = { 0, NAP_NS };
	nanosleep(&ts, NULL);
}

/* Write all; a queue that does not take it in time is an error. */
static int write_all(int fd, const void *bytes, size_t len)
{
	uint64_t until = clock_now_ns() + PATIENCE_NS;
	for (size_t at = 0; at < len;) {
		ssize_t n = try_write(fd, (const char *)bytes + at, len - at);
		if (n < 0 && n != -EAGAIN)
			return (int)n;
		if (n > 0)
			at += (size_t)n;
		else if (clock_now_ns() > until)
			return -EIO;
		else
			nap();
	}
	return 0;
}

/* Wait until so many bytes have reached the queue, as far as it has room. */
static int await_bytes(int fd, size_t n)
{
	uint64_t until = clock_now_ns() + PATIENCE_NS;
	size_t want = n < SYS_TTY_QUEUE - 1 ? n : SYS_TTY_QUEUE - 1;
	for (;;) {
		int have;
		int r = try_queued(fd, &have);
		if (r || (size_t)have >= want)
			return r;
		if (clock_now_ns() > until)
			return -EIO;
		nap();
	}
}

/* Send ^S or ^Q and wait until it works. */
static int flow(const struct tty_ends *ends, char c)
{
	uint64_t until = clock_now_ns() + PATIENCE_NS;
	int r = write_all(ends->master, &c, 1);
	while (r == 0) {
		int ready = try_poll(ends->slave, POLLOUT);
		if (ready < 0)
			return ready;
		if (!(ready & POLLOUT) == (c == CHAR_STOP))
			return 0;
		if (clock_now_ns() > until)
			return -EIO;
		nap();
	}
	return r;
}

static int add_quoted(struct vec *out, const char *bytes, size_t n, bool finished)
{
	for (size_t i = 0; i < n; i++) {
		char c = bytes[i];
		bool ends = finished && i == n - 1 && c == '\n';
		bool special = c == '\n' || c == CHAR_EOF || c == CHAR_QUOTE || c == CHAR_START ||
			       c == CHAR_STOP;
		char quoted[2] = { CHAR_QUOTE, c };
		int r = special && !ends ? add_bytes(out, quoted, 2) : add_bytes(out, &c, 1);
		if (r)
			return r;
	}
	char mark = CHAR_EOF;
	return finished && (!n || bytes[n - 1] != '\n') ? add_bytes(out, &mark, 1) : 0;
}

static int give_lines(const struct tty_ends *ends, const struct image_tty *t)
{
	struct vec out = VEC_INIT(char);
	const char *bytes = t->input.data;
	size_t at = 0;
	int r = 0;
	vec_each(uint32_t, line, &t->lines) {
		r = r ? r : add_quoted(&out, bytes + at, *line, true);
		at += *line;
	}
	if (r == 0)
		r = add_quoted(&out, bytes + at, t->input.n - at, false);
	if (r == 0)
		r = write_all(ends->master, out.data, out.n);
	vec_deinit(&out);
	if (r == 0)
		r = flow(ends, CHAR_STOP);
	return r ? r : flow(ends, CHAR_START);
}

static int give_stop(const struct tty_ends *ends, const struct image_tty *t,
		     struct sys_termios *q)
{
	if (!t->stopped || t->stopped_by_call)
		return 0;
	q->iflag |= IXON;
	q->cc[VSTART] = CHAR_START;
	q->cc[VSTOP] = CHAR_STOP;
	int r = try_settings(ends->slave, q);
	return r ? r : flow(ends, CHAR_STOP);
}

static int give_all(const struct tty_ends *ends, const struct image_tty *t,
		    struct sys_termios *q)
{
	int r = try_settings(ends->slave, q);
	if (r == 0 && by_lines(&t->term) && t->input.n + t->lines.n) {
		r = give_lines(ends, t);
	} else if (r == 0 && t->input.n) {
		r = write_all(ends->master, t->input.data, t->input.n);
		if (r == 0)
			r = await_bytes(ends->slave, t->input.n);
	}
	if (r == 0)
		r = write_all(ends->slave, t->output.data, t->output.n);
	if (r == 0)
		r = await_bytes(ends->master, t->output.n);
	return r ? r : give_stop(ends, t, q);
}

int tty_give(const struct tty_ends *ends, const struct image_tty *t)
{
	struct sys_termios q = quiet_of(&t->term);
	int r = give_all(ends, t, &q);
	if (r) {
		/* whatever ^S of ours is there: without IXON the output goes on */
		q.iflag &= ~(uint32_t)IXON;
		(void)!try_settings(ends->slave, &q);
	}
	int back = try_settings(ends->slave, &t->term);
	bool stops = t->stopped && (r || t->stopped_by_call);
	if (stops && try_flow(ends->slave, TCOOFF) && back == 0)
		back = -EIO;
	return r ? r : back;
}

int tty_peek(const struct tty_ends *ends, struct image_tty *t)
{
	int flags = sys_fcntl(ends->master, F_GETFL, 0);
	if (flags < 0)
		return flags;
	int r = sys_fcntl(ends->master, F_SETFL, flags | O_NONBLOCK);
	if (r == 0 && t->packets)
		r = sys_tty_set(ends->master, TIOCPKT, 0);
	if (r == 0) {
		r = take(ends, t, !t->command);
		int back = r ? tty_give(ends, t) : 0;
		r = r < 0 ? r : back;
	}
	int packets = t->packets ? tty_set(ends->master, TIOCPKT, 1) : 0;
	int back = try_flags(ends->master, flags);
	return r ? r : packets ? packets : back;
}
