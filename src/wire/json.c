#include "wire/json.h"

#include <string.h>

/* Length of the valid UTF-8 sequence at p, 0 if there is none. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
	unsigned char c = p[0];
	if (c == 0)
		return 0;
	if (c < 0x80)
		return 1;
	size_t len = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
	if (c < 0xc2 || c > 0xf4 || len > left)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	/* overlong, surrogates, beyond U+10FFFF */
	if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) ||
	    (c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

bool json_is_text(const char *bytes, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t n = utf8_length((const unsigned char *)bytes + i, len - i);
		if (!n)
			return false;
		i += n;
	}
	return true;
}

json_t *json_text(const char *bytes, size_t len)
{
	if (json_is_text(bytes, len))
		return json_stringn_nocheck(bytes, len);
	struct buf b = BUF_INIT;
	for (size_t i = 0; i < len;) {
		size_t n = utf8_length((const unsigned char *)bytes + i, len - i);
		if (n)
			buf_add(&b, bytes + i, n);
		else
			buf_str(&b, "\xef\xbf\xbd");
		i += n ? n : 1;
	}
	json_t *j = b.failed ? NULL : json_stringn_nocheck(b.data, b.len);
	buf_deinit(&b);
	return j;
}

json_t *json_text_z(const char *s)
{
	return json_text(s, strlen(s));
}

json_t *json_ms(uint64_t ns)
{
	return json_real((double)(ns / 1000) / 1000.0);
}

static int json_write_piece(const char *piece, size_t len, void *b)
{
	buf_add(b, piece, len);
	return ((struct buf *)b)->failed ? -1 : 0;
}

void json_write(struct buf *b, const json_t *j)
{
	if (json_dump_callback(j, json_write_piece, b,
			       JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15)))
		b->failed = true;
}

const char *json_get_string(const json_t *o, const char *key, const char *otherwise)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : otherwise;
}

int64_t json_get_int(const json_t *o, const char *key, int64_t otherwise)
{
	const json_t *j = json_object_get(o, key);
	return json_is_integer(j) ? json_integer_value(j) : otherwise;
}

bool json_get_bool(const json_t *o, const char *key, bool otherwise)
{
	const json_t *j = json_object_get(o, key);
	return json_is_boolean(j) ? json_boolean_value(j) : otherwise;
}
