/*
 * frame.h - what travels between a client and a keeper.
 *
 * A unix stream socket carries frames:
 *
 *	u32 length | u8 kind | u8 flags | u16 version | `length` bytes
 *
 * all little-endian. The header keeps its form in every version, so that two
 * programs of different versions can tell each other so. Descriptors travel
 * beside the first byte of the header of the frame they belong to.
 *
 * JSON frames hold one request or one reply (rpc.h); the others hold raw bytes
 * of the request that streams on this connection, of which there is one at a
 * time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"

enum {
	FRAME_VERSION = 1,
	FRAME_HEADER_BYTES = 8,
	FRAME_MAX_BYTES = 16 << 20,	/* one frame; longer streams use many */
	FRAME_CHUNK_BYTES = 64 << 10,	/* what writers of streams fill */
	FRAME_FDS_MAX = 4,		/* descriptors beside one frame */
};

enum frame_kind {
	FRAME_JSON = 1,
	FRAME_STDIN = 2,	/* client to command */
	FRAME_STDOUT = 3,	/* command to client */
	FRAME_STDERR = 4,
	FRAME_FILES = 5,	/* tar bytes of a copy, either way */
};

enum frame_flags {
	FRAME_F_END = 1,	/* the stream of this kind ends here */
};

struct frame {
	enum frame_kind kind;
	uint8_t flags;
	uint16_t version;
	const char *data;	/* in the reader, until its next call */
	size_t len_bytes;
	int fds[FRAME_FDS_MAX];	/* owned by the receiver; -1: none */
};

/* Write the header of a frame of len bytes. */
void frame_header(uint8_t out[FRAME_HEADER_BYTES], enum frame_kind kind, unsigned int flags,
		  size_t len_bytes);

/* Append a whole frame to b. */
void frame_add(struct buf *b, enum frame_kind kind, unsigned int flags, const void *data,
	       size_t len_bytes);

/* Bytes received that are not a whole frame yet. */
struct frame_reader {
	struct buf in;
	size_t done_bytes;		/* of the frame handed out last */
	int fds[FRAME_FDS_MAX];
	size_t n_fds;
};

void frame_reader_init(struct frame_reader *r);
void frame_reader_deinit(struct frame_reader *r);

/* Receive what there is: bytes, 0 at end of file, -EAGAIN, -errno. */
must_check long frame_reader_fill(struct frame_reader *r, int sock);

/* Give it bytes that came another way. */
void frame_reader_feed(struct frame_reader *r, const void *bytes, size_t len);

/*
 * Next whole frame: 1, or 0 when more bytes are needed. -EPROTO: another
 * version (out->version is set), -EMSGSIZE: too long, -EBADMSG: no such kind;
 * the connection is of no use after these.
 */
must_check int frame_reader_next(struct frame_reader *r, struct frame *out, struct err *e);

/* Close the descriptors that came with it. */
void frame_close_fds(struct frame *f);
