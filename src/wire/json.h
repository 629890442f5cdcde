/*
 * json.h - what jansson leaves to its callers.
 *
 * Guests choose names, paths and comms: such bytes need not be UTF-8, which
 * JSON demands. Everything of theirs goes through json_text().
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define scoped_json __attribute__((cleanup(json_scope_end)))

static inline void json_scope_end(json_t **j)
{
	json_decref(*j);
	*j = NULL;
}

/* Are these bytes UTF-8 (without NUL, surrogates and overlong forms)? */
bool json_is_text(const char *bytes, size_t len);

/* A string of any bytes; those that are not UTF-8 become U+FFFD. */
json_t *json_text(const char *bytes, size_t len);
json_t *json_text_z(const char *s);

/* Milliseconds with three digits, from nanoseconds. */
json_t *json_ms(uint64_t ns);

/* Append as one line, without spaces that nobody needs. */
void json_write(struct buf *b, const json_t *j);

/* Members that may be missing; the string lives as long as the object. */
const char *json_get_string(const json_t *o, const char *key, const char *otherwise);
int64_t json_get_int(const json_t *o, const char *key, int64_t otherwise);
bool json_get_bool(const json_t *o, const char *key, bool otherwise);
