/*
 * sock_queue.c - what is queued in a socket, with the descriptors beside it.
 *
 * It is read by MSG_PEEK at an offset (SO_PEEK_OFF, which is put back), so
 * that the live queue stays as it is. Nothing is read behind its end: there
 * the kernel would tell, and so forget, a pending error.
 *
 * In a stream descriptors belong to a buffer of the kernel, and come with its
 * first byte, whoever reads it. A peek ends behind the first buffer that has
 * some; where that begins, sys_stream_whole() says. (A peek for less shows
 * them, too: it looks at the buffers behind, for nothing.)
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>

#include "parts/sockets.h"
#include "sys/proc.h"

enum {
	STREAM_BYTES = 16384,	/* in one buffer of the kernel */
	MESSAGE_BYTES = 65536,	/* at first */
	NO_OFFSET = -1,		/* of SO_PEEK_OFF */
};

static void packet_free(struct sock_packet *p)
{
	vec_deinit(&p->bytes);
	vec_deinit(&p->files);
}

void sock_queue_free(struct image_sock *s)
{
	vec_each(struct sock_packet, p, &s->packets)
		packet_free(p);
	vec_deinit(&s->packets);
}

static long peek(int fd, int offset, struct sys_packet *p, size_t cap)
{
	sys_packet_init(p);
	int r = sys_sockopt_set(fd, SOL_SOCKET, SO_PEEK_OFF, offset);
	return r ? r : sys_packet_recv(fd, p, cap, MSG_PEEK | MSG_TRUNC);
}

/* In pieces of a size that one buffer takes. */
int sock_queue_add(struct image_sock *s, const char *bytes, size_t len)
{
	for (size_t at = 0; at < len; at += STREAM_BYTES) {
		size_t n = len - at < STREAM_BYTES ? len - at : STREAM_BYTES;
		struct sock_packet *p = vec_add(&s->packets);
		if (!p)
			return -ENOMEM;
		*p = (struct sock_packet){ .bytes = VEC_INIT(char), .files = VEC_INIT(int) };
		if (vec_reserve(&p->bytes, n))
			return -ENOMEM;
		memcpy(p->bytes.data, bytes + at, n);
		p->bytes.n = n;
	}
	return 0;
}

/* Move the bytes and descriptors of a packet into the image. */
static int keep(struct look *l, int queue, struct sys_packet *p, struct err *e)
{
	struct image_sock *s = image_sock(l->image, queue);
	struct sock_packet *out = vec_add(&s->packets);
	if (!out)
		return err_set(e, ENOMEM, "out of memory");
	*out = (struct sock_packet){ .bytes = p->bytes,
				     .files = VEC_INIT(int),
				     .from = p->from };
	p->bytes = VEC_INIT(char);
	size_t index = s->packets.n - 1;
	while (p->fds.n) {
		int fd = *(int *)vec_at(&p->fds, 0);
		vec_remove(&p->fds, 0);
		int file = files_look_own(l, queue, fd, e);
		if (file < 0)
			return file;
		out = vec_at(&s->packets, index);
		int *add = vec_add(&out->files);
		if (!add)
			return err_set(e, ENOMEM, "out of memory");
		*add = file;
	}
	return 0;
}

static int refuse(struct look *l, int file, long r, struct err *e)
{
	return kind_refuse_file(l, file, r == -EPERM ? "messages with SCM_CREDENTIALS are queued" :
						       strerror((int)-r), e);
}

/* What one peek shows: its length, or -errno with e set. */
static long stream_part(struct look *l, int file, int offset, size_t len, struct err *e)
{
	struct image_sock *s = image_sock(l->image, file);
	struct sys_packet p;
	long n = peek(s->fd, offset, &p, len), plain = n;
	if (n >= 0 && p.has_creds)
		n = -EPERM;
	if (n > 0 && p.fds.n) {
		int r = sys_sockopt_set(s->fd, SOL_SOCKET, SO_PEEK_OFF, offset);
		plain = r ? r : sys_stream_whole(s->fd, (size_t)n);
	}
	if (n > 0 && plain > 0)
		plain = sock_queue_add(s, p.bytes.data, (size_t)plain) ?: plain;
	int r = n <= 0 ? refuse(l, file, n ? n : -EIO, e) :
			 plain < 0 ? refuse(l, file, plain, e) : 0;
	if (r == 0 && p.fds.n) {
		memmove(p.bytes.data, (char *)p.bytes.data + plain, (size_t)(n - plain));
		p.bytes.n = (size_t)(n - plain);
		r = keep(l, file, &p, e);
	}
	sys_packet_deinit(&p);
	return r ? r : n;
}

static int look_stream(struct look *l, int file, struct err *e)
{
	size_t total = image_sock(l->image, file)->in_bytes;
	for (size_t at = 0; at < total;) {
		long n = stream_part(l, file, (int)at, total - at, e);
		if (n < 0)
			return (int)n;
		at += (size_t)n;
	}
	return 0;
}

enum { MESSAGE_NONE, MESSAGE_EMPTY, MESSAGE_FULL };

/*
 * One message, at an offset or, at NO_OFFSET, the first of all, of which only
 * an empty one is kept. Which of the three above, or -errno; *len: its length.
 */
static int look_message(struct look *l, int file, int offset, size_t *len, struct err *e)
{
	struct image_sock *s = image_sock(l->image, file);
	struct sys_packet p;
	size_t cap = MESSAGE_BYTES;
	long n = peek(s->fd, offset, &p, cap);
	while (n > (long)cap) {
		cap = (size_t)n;
		sys_packet_deinit(&p);
		n = peek(s->fd, offset, &p, cap);
	}
	/* the end of a connection has no credentials, not even those of nobody */
	bool end = n == -EAGAIN || n == -ENOTCONN ||
		   (n == 0 && s->type == SOCK_SEQPACKET && !p.is_message);
	int what = end ? MESSAGE_NONE : n > 0 ? MESSAGE_FULL : MESSAGE_EMPTY;
	*len = n > 0 ? (size_t)n : 0;
	if (n >= 0 && p.has_creds)
		n = -EPERM;
	int r = end ? 0 : n < 0 ? refuse(l, file, n, e) : 0;
	if (r == 0 && !end && (offset != NO_OFFSET || what == MESSAGE_EMPTY))
		r = keep(l, file, &p, e);
	sys_packet_deinit(&p);
	return r ? r : what;
}

static bool had_empty(const struct look *l, uint64_t ino)
{
	vec_each(uint64_t, had, l->empties)
		if (*had == ino)
			return true;
	return false;
}

static int note_empty(struct look *l, uint64_t ino)
{
	if (had_empty(l, ino))
		return 0;
	uint64_t *had = vec_add(l->empties);
	if (!had)
		return -ENOMEM;
	*had = ino;
	return 0;
}

static void forget_empty(struct look *l, uint64_t ino)
{
	for (size_t i = l->empties->n; i-- > 0;)
		if (*(uint64_t *)vec_at(l->empties, i) == ino)
			vec_remove(l->empties, i);
}

/*
 * The kernel shows an empty message once to peeks at an offset, and the first
 * message of all to those without one each time. So an empty one that was
 * seen behind others may be there, unseen, for as long as the queue has any.
 */
static int look_messages(struct look *l, int file, struct err *e)
{
	uint64_t ino = image_file(l->image, file)->ino;
	size_t len;
	int what = look_message(l, file, NO_OFFSET, &len, e);
	if (what == MESSAGE_NONE)
		forget_empty(l, ino);
	else if (what > 0 && had_empty(l, ino))
		return kind_refuse_file(l, file, "a socket in whose queue an empty message may wait, "
						 "which the kernel shows only once", e);
	for (size_t at = 0; what > 0; at += len) {
		what = look_message(l, file, (int)at, &len, e);
		if (what == MESSAGE_EMPTY && note_empty(l, ino))
			return err_set(e, ENOMEM, "out of memory");
	}
	return what;
}

/*
 * To see them, the socket must want them. What is sent to one that was not
 * accepted yet has some, unasked: where it does not want them they do not count.
 */
static int want_creds(const struct image_sock *s, int *before)
{
	*before = 1;
	if (s->domain != AF_UNIX || (s->type != SOCK_DGRAM && sock_is_named(&s->name)))
		return 0;
	int r = sys_sockopt_int(s->fd, SOL_SOCKET, SO_PASSCRED, before);
	return r || *before ? r : sys_sockopt_set(s->fd, SOL_SOCKET, SO_PASSCRED, 1);
}

int sock_queue_look(struct look *l, int file, struct err *e)
{
	const struct image_sock *s = image_sock(l->image, file);
	if (!s->in_bytes)
		return 0;
	int creds, offset;
	int r = sys_sockopt_int(s->fd, SOL_SOCKET, SO_PEEK_OFF, &offset);
	if (r == 0)
		r = want_creds(s, &creds);
	if (r)
		return refuse(l, file, r, e);
	r = s->type == SOCK_STREAM ? look_stream(l, file, e) : look_messages(l, file, e);
	s = image_sock(l->image, file);
	int back = sys_sockopt_set(s->fd, SOL_SOCKET, SO_PEEK_OFF, offset);
	if (back)
		back = sys_sockopt_set(s->fd, SOL_SOCKET, SO_PEEK_OFF, offset);
	int creds_back = creds ? 0 : sys_sockopt_set(s->fd, SOL_SOCKET, SO_PASSCRED, 0);
	if (creds_back)
		creds_back = sys_sockopt_set(s->fd, SOL_SOCKET, SO_PASSCRED, 0);
	if (r == 0 && (back || creds_back))
		r = refuse(l, file, back ? back : creds_back, e);
	return r;
}

int sock_queue_send(struct files_open *o, const struct sock_packet *p, int from,
		    const struct sys_sockname *to)
{
	/* the bytes are not touched by sending */
	struct sys_packet out = { .bytes = p->bytes, .fds = VEC_INIT(int) };
	int r = vec_reserve(&out.fds, p->files.n);
	vec_each(int, file, &p->files)
		if (r == 0)
			*(int *)vec_add(&out.fds) = *kind_fd(o, *file);
	if (r == 0)
		r = sys_packet_send(from, &out, to);
	vec_deinit(&out.fds);
	return r;
}

int sock_queue_fill(struct files_open *o, const struct image_sock *s, int from)
{
	int r = 0;
	vec_each(struct sock_packet, p, &s->packets)
		if (r == 0)
			r = sock_queue_send(o, p, from, NULL);
	return r;
}
