#include "wire/frame.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "sys/stream.h"

static void put_u16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static void put_u32(uint8_t *p, uint32_t v)
{
	put_u16(p, (uint16_t)v);
	put_u16(p + 2, (uint16_t)(v >> 16));
}

static uint16_t get_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get_u32(const uint8_t *p)
{
	return get_u16(p) | (uint32_t)get_u16(p + 2) << 16;
}

void frame_header(uint8_t out[FRAME_HEADER_BYTES], enum frame_kind kind, unsigned int flags,
		  size_t len_bytes)
{
	assert(len_bytes <= FRAME_MAX_BYTES);
	put_u32(out, (uint32_t)len_bytes);
	out[4] = (uint8_t)kind;
	out[5] = (uint8_t)flags;
	put_u16(out + 6, FRAME_VERSION);
}

void frame_add(struct buf *b, enum frame_kind kind, unsigned int flags, const void *data,
	       size_t len_bytes)
{
	uint8_t header[FRAME_HEADER_BYTES];
	frame_header(header, kind, flags, len_bytes);
	buf_add(b, header, sizeof(header));
	buf_add(b, data, len_bytes);
}

void frame_reader_init(struct frame_reader *r)
{
	*r = (struct frame_reader){ 0 };
}

void frame_reader_deinit(struct frame_reader *r)
{
	for (size_t i = 0; i < r->n_fds; i++)
		close(r->fds[i]);
	buf_deinit(&r->in);
	*r = (struct frame_reader){ 0 };
}

static void frame_reader_drop_done(struct frame_reader *r)
{
	if (r->done_bytes)
		buf_consume(&r->in, r->done_bytes);
	r->done_bytes = 0;
}

long frame_reader_fill(struct frame_reader *r, int sock)
{
	frame_reader_drop_done(r);
	char *at = buf_room(&r->in, FRAME_CHUNK_BYTES);
	if (!at)
		return -ENOMEM;
	size_t n_fds = FRAME_FDS_MAX - r->n_fds;
	long n = sys_stream_recv(sock, at, FRAME_CHUNK_BYTES, r->fds + r->n_fds, &n_fds);
	r->n_fds += n_fds;
	if (n > 0)
		buf_grew(&r->in, (size_t)n);
	return n;
}

void frame_reader_feed(struct frame_reader *r, const void *bytes, size_t len)
{
	frame_reader_drop_done(r);
	buf_add(&r->in, bytes, len);
}

static int frame_check_header(struct frame *f, uint8_t kind, struct err *e)
{
	if (f->version != FRAME_VERSION) {
		err_set(e, EPROTO, "the other side speaks protocol version %u, this one version %d",
			f->version, FRAME_VERSION);
		return err_remedy(e, "use the mulligan that created the sandbox, or remove it "
				     "and create it anew");
	}
	if (f->len_bytes > FRAME_MAX_BYTES)
		return err_set(e, EMSGSIZE, "a frame of %zu bytes exceeds the limit of %d",
			       f->len_bytes, FRAME_MAX_BYTES);
	if (kind < FRAME_JSON || kind > FRAME_FILES)
		return err_set(e, EBADMSG, "unknown kind of frame %u", kind);
	return 0;
}

int frame_reader_next(struct frame_reader *r, struct frame *out, struct err *e)
{
	frame_reader_drop_done(r);
	if (r->in.failed)
		return err_set(e, ENOMEM, "no memory for a frame");
	if (r->in.len < FRAME_HEADER_BYTES)
		return 0;
	const uint8_t *h = (const uint8_t *)r->in.data;
	*out = (struct frame){
		.kind = h[4],
		.flags = h[5],
		.version = get_u16(h + 6),
		.len_bytes = get_u32(h),
		.fds = { -1, -1, -1, -1 },
	};
	int ret = frame_check_header(out, h[4], e);
	if (ret)
		return ret;
	if (r->in.len - FRAME_HEADER_BYTES < out->len_bytes)
		return 0;
	out->data = r->in.data + FRAME_HEADER_BYTES;
	r->done_bytes = FRAME_HEADER_BYTES + out->len_bytes;
	for (size_t i = 0; i < r->n_fds; i++)
		out->fds[i] = r->fds[i];
	r->n_fds = 0;
	return 1;
}

void frame_close_fds(struct frame *f)
{
	for (size_t i = 0; i < FRAME_FDS_MAX; i++)
		cleanup_fd(&f->fds[i]);
}
