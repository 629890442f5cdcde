/*
 * buf.h - a growing run of bytes: text and encoders write into it.
 *
 * The first allocation failure makes the buffer remember `failed`; later
 * writes do nothing, so a writer checks once, at the end. The bytes are
 * followed by a NUL that is not counted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	char *data;
	size_t len;
	size_t cap;
	bool failed;
};

#define BUF_INIT ((struct buf){ 0 })

void buf_add(struct buf *b, const void *bytes, size_t len);
void buf_str(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Space for len more bytes at the end, uncounted until buf_grew(). */
char *buf_room(struct buf *b, size_t len);
void buf_grew(struct buf *b, size_t len);

/* Drop the first len bytes. */
void buf_consume(struct buf *b, size_t len);
void buf_deinit(struct buf *b);
