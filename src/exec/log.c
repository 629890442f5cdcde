#include "exec/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	CHUNK_MIN = 1 << 10,  /* most commands say less */
	CHUNK_MAX = 64 << 10, /* what is forgotten at once, at most */
};

/* Bytes that several logs may see a beginning of. */
struct chunk {
	unsigned int refs;
	uint32_t used; /* bytes written by anybody; only grows */
	uint32_t cap;
	char bytes[];
};

/* What one log sees of a chunk: its first len bytes. */
struct part {
	struct chunk *chunk;
	uint64_t start; /* position of the first byte */
	uint32_t len;
};

static struct chunk *chunk_new(uint64_t wanted)
{
	uint64_t cap = wanted;
	if (cap < CHUNK_MIN)
		cap = CHUNK_MIN;
	if (cap > CHUNK_MAX)
		cap = CHUNK_MAX;
	struct chunk *c = malloc(sizeof(*c) + cap);
	if (c)
		*c = (struct chunk){.refs = 1, .cap = (uint32_t)cap};
	return c;
}

static void chunk_unref(struct chunk *c)
{
	if (c && --c->refs == 0)
		free(c);
}

void log_init(struct log *l, uint64_t head_bytes, uint64_t tail_bytes, int spill_fd)
{
	*l = (struct log){
		.parts = VEC_INIT(struct part),
		.head_bytes = head_bytes,
		.tail_bytes = tail_bytes,
		.spill_fd = spill_fd,
	};
}

static void log_drop_parts(struct log *l)
{
	vec_each (struct part, p, &l->parts)
		chunk_unref(p->chunk);
	vec_deinit(&l->parts);
}

void log_deinit(struct log *l)
{
	log_drop_parts(l);
	cleanup_fd(&l->spill_fd);
}

static struct part *log_last(const struct log *l)
{
	return l->parts.n ? vec_at(&l->parts, l->parts.n - 1) : NULL;
}

/* How many bytes may go in place behind the last part. */
static uint32_t log_room(const struct log *l)
{
	const struct part *p = log_last(l);
	if (!p || p->start + p->len != l->total_bytes)
		return 0;
	/* somebody else wrote behind our end: leave it to them */
	if (p->len != p->chunk->used)
		return 0;
	/* a part must not straddle the end of the head */
	uint64_t room = p->chunk->cap - p->len;
	if (l->total_bytes < l->head_bytes && l->head_bytes - l->total_bytes < room)
		room = l->head_bytes - l->total_bytes;
	else if (l->total_bytes == l->head_bytes && p->start < l->head_bytes)
		room = 0;
	return (uint32_t)room;
}

/* A new empty part at the end; chunks grow with the log. 0 or -ENOMEM. */
static int log_grow(struct log *l)
{
	struct chunk *c = chunk_new(l->kept_bytes);
	if (!c)
		return -ENOMEM;
	struct part *p = vec_add(&l->parts);
	if (!p) {
		chunk_unref(c);
		return -ENOMEM;
	}
	*p = (struct part){.chunk = c, .start = l->total_bytes};
	return 0;
}

/* Index of the first part that is not of the head. */
static size_t log_tail_index(const struct log *l)
{
	size_t low = 0, high = l->parts.n;
	while (low < high) {
		size_t mid = (low + high) / 2;
		const struct part *p = vec_at(&l->parts, mid);
		if (p->start < l->head_bytes)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Forget parts between head and tail that are wholly out of the tail. */
static void log_trim(struct log *l)
{
	if (l->total_bytes <= l->head_bytes + l->tail_bytes)
		return;
	uint64_t tail_start = l->total_bytes - l->tail_bytes;
	size_t i = log_tail_index(l);
	while (i < l->parts.n) {
		struct part *p = vec_at(&l->parts, i);
		if (p->start + p->len > tail_start)
			return;
		l->kept_bytes -= p->len;
		chunk_unref(p->chunk);
		vec_remove(&l->parts, i);
	}
}

static void log_spill(struct log *l, const char *bytes, size_t len)
{
	uint64_t at = l->total_bytes;
	while (l->spill_fd >= 0 && !l->spill_error && len) {
		ssize_t n = pwrite(l->spill_fd, bytes, len, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			l->spill_error = n < 0 ? errno : EIO;
			return;
		}
		bytes += n;
		at += (size_t)n;
		len -= (size_t)n;
	}
}

void log_add(struct log *l, const void *bytes, size_t len)
{
	const char *from = bytes;
	log_spill(l, from, len);
	while (len) {
		uint32_t room = log_room(l);
		if (!room) {
			if (log_grow(l)) {
				l->lost = true;
				l->total_bytes += len;
				return;
			}
			room = log_room(l);
		}
		struct part *p = log_last(l);
		size_t n = len < room ? len : room;
		memcpy(p->chunk->bytes + p->len, from, n);
		p->len += (uint32_t)n;
		p->chunk->used = p->len;
		l->total_bytes += n;
		l->kept_bytes += n;
		from += n;
		len -= n;
		log_trim(l);
	}
}

/* Index of the part that has pos, or of the first one behind it. */
static size_t log_find(const struct log *l, uint64_t pos)
{
	size_t low = 0, high = l->parts.n;
	while (low < high) {
		size_t mid = (low + high) / 2;
		const struct part *p = vec_at(&l->parts, mid);
		if (p->start + p->len <= pos)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

size_t log_read(const struct log *l, uint64_t pos, void *out, size_t cap, uint64_t *at)
{
	char *to = out;
	size_t done = 0;
	*at = pos;
	for (size_t i = log_find(l, pos); i < l->parts.n && done < cap; i++) {
		const struct part *p = vec_at(&l->parts, i);
		if (!done && p->start > pos)
			*at = pos = p->start;
		if (p->start > pos)
			break;
		size_t skip = (size_t)(pos - p->start);
		size_t n = p->len - skip;
		if (n > cap - done)
			n = cap - done;
		memcpy(to + done, p->chunk->bytes + skip, n);
		done += n;
		pos += n;
	}
	return done;
}

bool log_is_truncated(const struct log *l)
{
	return l->kept_bytes < l->total_bytes;
}

uint64_t log_gap(const struct log *l)
{
	uint64_t end = 0;
	vec_each (struct part, p, &l->parts) {
		if (p->start != end)
			break;
		end += p->len;
	}
	return end;
}

int log_copy(struct log *dst, const struct log *src)
{
	struct log copy = *src;
	copy.spill_fd = -1;
	int r = vec_copy(&copy.parts, &src->parts);
	if (r)
		return r;
	vec_each (struct part, p, &copy.parts)
		p->chunk->refs++;
	*dst = copy;
	return 0;
}

void log_cut_spill(struct log *l)
{
	if (l->spill_fd >= 0 && !l->spill_error && ftruncate(l->spill_fd, (off_t)l->total_bytes))
		l->spill_error = errno;
}
