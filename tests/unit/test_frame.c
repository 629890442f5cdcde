#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness/harness.h"
#include "sys/stream.h"
#include "wire/errjson.h"
#include "wire/frame.h"
#include "wire/rpc.h"

static void fill(struct frame_reader *r, const void *bytes, size_t len, size_t step)
{
	for (size_t at = 0; at < len; at += step)
		frame_reader_feed(r, (const char *)bytes + at, len - at < step ? len - at : step);
}

/* The next frame of bytes fed in pieces of `step`. */
static int next_in_steps(struct frame_reader *r, const struct buf *b, size_t step, struct frame *f,
			 struct err *e)
{
	for (size_t at = 0; at < b->len; at += step) {
		frame_reader_feed(r, b->data + at, b->len - at < step ? b->len - at : step);
		int got = frame_reader_next(r, f, e);
		if (got)
			return got;
	}
	return 0;
}

TEST(frame_survives_any_fragmentation)
{
	const char bytes[] = "a\0b\xff\n{}";
	for (size_t step = 1; step < 32; step++) {
		struct frame_reader r;
		struct frame f;
		struct err e = ERR_INIT;
		struct buf b = BUF_INIT;
		frame_add(&b, FRAME_STDERR, FRAME_F_END, bytes, sizeof(bytes));
		frame_reader_init(&r);
		t_eq(t_ok_e(next_in_steps(&r, &b, step, &f, &e), &e), 1);
		t_eq(f.kind, FRAME_STDERR);
		t_eq(f.flags, FRAME_F_END);
		t_eq(f.len_bytes, sizeof(bytes));
		t_mem_eq(f.data, bytes, sizeof(bytes));
		t_eq(t_ok_e(frame_reader_next(&r, &f, &e), &e), 0);
		frame_reader_deinit(&r);
		buf_deinit(&b);
	}
}

TEST(frames_behind_each_other_are_all_found)
{
	struct frame_reader r;
	struct frame f;
	struct err e = ERR_INIT;
	struct buf b = BUF_INIT;
	char text[16];
	for (int i = 0; i < 100; i++) {
		int n = snprintf(text, sizeof(text), "%d", i);
		frame_add(&b, FRAME_STDOUT, 0, text, (size_t)n);
	}
	frame_add(&b, FRAME_STDOUT, 0, "", 0);
	frame_reader_init(&r);
	fill(&r, b.data, b.len, 13);
	for (int i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "%d", i);
		t_eq(t_ok_e(frame_reader_next(&r, &f, &e), &e), 1);
		t_eq(f.len_bytes, strlen(text));
		t_mem_eq(f.data, text, f.len_bytes);
	}
	t_eq(t_ok_e(frame_reader_next(&r, &f, &e), &e), 1);
	t_eq(f.len_bytes, 0);
	t_eq(t_ok_e(frame_reader_next(&r, &f, &e), &e), 0);
	frame_reader_deinit(&r);
	buf_deinit(&b);
}

/* A header alone: {length, kind, version}. */
static int refused(uint32_t len, uint8_t kind, uint16_t version, struct err *e)
{
	uint8_t h[FRAME_HEADER_BYTES] = {
		(uint8_t)len, (uint8_t)(len >> 8), (uint8_t)(len >> 16), (uint8_t)(len >> 24),
		kind, 0, (uint8_t)version, (uint8_t)(version >> 8),
	};
	struct frame_reader r;
	struct frame f;
	frame_reader_init(&r);
	frame_reader_feed(&r, h, sizeof(h));
	int got = frame_reader_next(&r, &f, e);
	frame_reader_deinit(&r);
	return got;
}

TEST(bad_headers_are_refused_before_their_bytes_come)
{
	struct err e = ERR_INIT;
	t_eq(refused(10, FRAME_JSON, FRAME_VERSION, &e), 0);
	t_eq(refused(10, FRAME_JSON, FRAME_VERSION + 1, &e), -EPROTO);
	t_assert(strstr(e.cause, "version") && e.remedy[0]);
	t_eq(refused(0xffffffff, FRAME_JSON, FRAME_VERSION, &e), -EMSGSIZE);
	t_eq(refused(FRAME_MAX_BYTES + 1, FRAME_JSON, FRAME_VERSION, &e), -EMSGSIZE);
	t_eq(refused(FRAME_MAX_BYTES, FRAME_JSON, FRAME_VERSION, &e), 0);
	t_eq(refused(1, 0, FRAME_VERSION, &e), -EBADMSG);
	t_eq(refused(1, 200, FRAME_VERSION, &e), -EBADMSG);
	/* the version is told even if the rest makes no sense to us */
	t_eq(refused(0xffffffff, 200, 7, &e), -EPROTO);
}

TEST(random_bytes_never_yield_a_frame_outside_them)
{
	srand(7);
	for (int round = 0; round < 2000; round++) {
		uint8_t bytes[300];
		struct frame_reader r;
		struct frame f;
		struct err e = ERR_INIT;
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)rand();
		/* often a header that is right but for its length */
		if (round & 1) {
			bytes[1] = (uint8_t)(rand() & 1);
			bytes[2] = bytes[3] = 0;
			bytes[4] = FRAME_STDIN;
			bytes[6] = FRAME_VERSION;
			bytes[7] = 0;
		}
		frame_reader_init(&r);
		fill(&r, bytes, sizeof(bytes), 1 + (size_t)rand() % 40);
		while (frame_reader_next(&r, &f, &e) > 0)
			t_assert(f.data >= r.in.data &&
				 f.data + f.len_bytes <= r.in.data + r.in.len);
		frame_reader_deinit(&r);
	}
}

TEST(descriptors_come_with_their_frame)
{
	int pair[2], pipe_fds[2];
	struct frame_reader r;
	struct frame f;
	struct err e = ERR_INIT;
	struct buf b = BUF_INIT;
	t_ok(sys_stream_pair(pair));
	t_sys(pipe(pipe_fds));
	frame_add(&b, FRAME_JSON, 0, "{}", 2);
	t_eq(t_ok(sys_stream_send(pair[0], b.data, b.len, &pipe_fds[1], 1)), b.len);
	frame_reader_init(&r);
	t_eq(t_ok(frame_reader_fill(&r, pair[1])), b.len);
	t_eq(t_ok_e(frame_reader_next(&r, &f, &e), &e), 1);
	t_assert(f.fds[0] >= 0 && f.fds[1] == -1);
	t_sys(write(f.fds[0], "x", 1));
	char c;
	t_eq(read(pipe_fds[0], &c, 1), 1);
	frame_close_fds(&f);
	t_eq(f.fds[0], -1);
	/* descriptors nobody took are closed with the reader */
	t_eq(t_ok(sys_stream_send(pair[0], b.data, 3, &pipe_fds[1], 1)), 3);
	t_eq(t_ok(frame_reader_fill(&r, pair[1])), 3);
	frame_reader_deinit(&r);
	buf_deinit(&b);
	for (int i = 0; i < 2; i++) {
		close(pair[i]);
		close(pipe_fds[i]);
	}
}

TEST(requests_and_replies_go_both_ways)
{
	struct frame_reader r;
	struct frame f;
	struct err e = ERR_INIT;
	struct buf b = BUF_INIT;
	scoped_json json_t *params = json_pack("{s:s}", "tag", "x");
	rpc_add_request(&b, 5, "checkpoint", params);
	rpc_add_result(&b, 5, params);
	frame_reader_init(&r);
	frame_reader_feed(&r, b.data, b.len);
	struct rpc_request rq;
	t_eq(t_ok_e(frame_reader_next(&r, &f, &e), &e), 1);
	t_ok_e(rpc_request_parse(&rq, &f, &e), &e);
	t_eq(rq.id, 5);
	t_str_eq(rq.method, "checkpoint");
	t_str_eq(json_get_string(rq.params, "tag", ""), "x");
	rpc_request_deinit(&rq);
	int64_t id;
	scoped_json json_t *result = NULL;
	t_eq(t_ok_e(frame_reader_next(&r, &f, &e), &e), 1);
	t_ok_e(rpc_reply_parse(&f, &id, &result, &e), &e);
	t_eq(id, 5);
	t_str_eq(json_get_string(result, "tag", ""), "x");
	frame_reader_deinit(&r);
	buf_deinit(&b);
}

static int parse_text(const char *text, struct rpc_request *rq)
{
	struct err e = ERR_INIT;
	struct frame f = { .kind = FRAME_JSON, .data = text, .len_bytes = strlen(text) };
	int r = rpc_request_parse(rq, &f, &e);
	if (r)
		t_assert(e.cause[0]);
	return r;
}

TEST(malformed_requests_are_refused_with_their_id)
{
	static const char *const bad[] = {
		"", "nonsense", "[]", "{}", "{\"method\":5}", "{\"method\":\"x\",\"params\":[]}",
		"{\"id\":1,\"id\":2,\"method\":\"x\"}", "{\"method\":\"x\"} trailing",
	};
	struct rpc_request rq;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		t_eq(parse_text(bad[i], &rq), -EBADMSG);
	t_eq(parse_text("{\"id\":9,\"method\":\"x\",\"version\":2}", &rq), -EPROTO);
	t_eq(rq.id, 9);
	t_ok(parse_text("{\"method\":\"x\"}", &rq));
	t_assert(json_is_object(rq.params));
	rpc_request_deinit(&rq);
}

TEST(errors_are_the_same_after_the_wire)
{
	struct err e = ERR_INIT, back = ERR_INIT;
	err_set(&e, ENOTSUP, "process 7 (x) has an io_uring");
	err_remedy(&e, "end it");
	err_about(&e, 7, 0);
	err_path(&e, "/dev/ring");
	scoped_json json_t *j = err_to_json(&e);
	t_eq(err_from_json(&back, j), -ENOTSUP);
	t_str_eq(back.cause, e.cause);
	t_str_eq(back.remedy, e.remedy);
	t_str_eq(back.path, e.path);
	t_eq(back.pid, 7);
	t_eq(back.fd, 0);
	t_assert(!back.broken);
	/* what is no error object is an error all the same */
	scoped_json json_t *odd = json_pack("{s:s}", "code", "ENOSUCHCODE");
	t_eq(err_from_json(&back, odd), -EIO);
	t_assert(back.cause[0]);
}

TEST(guests_bytes_become_valid_json)
{
	static const struct {
		const char *bytes;
		const char *text;
	} rows[] = {
		{ "plain", "plain" },
		{ "\xc3\xa4", "\xc3\xa4" },
		{ "a\xff" "b", "a\xef\xbf\xbd" "b" },
		{ "\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd" },		/* overlong */
		{ "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" }, /* surrogate */
		{ "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80" },
		{ "cut\xf0\x9f", "cut\xef\xbf\xbd\xef\xbf\xbd" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		scoped_json json_t *j = json_text_z(rows[i].bytes);
		t_str_eq(json_string_value(j), rows[i].text);
	}
	t_assert(!json_is_text("a\0b", 3));
	scoped_json json_t *nul = json_text("a\0b", 3);
	t_str_eq(json_string_value(nul), "a\xef\xbf\xbd" "b");
}
