/*
 * methods.h - the table of everything that a client can ask of a keeper.
 *
 * A row is the whole interface of a method: the keeper checks parameters
 * against it before a handler runs, `mulligan help` prints it, and stubs in
 * other languages are made from it (methods_describe).
 */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"
#include "wire/json.h"

enum value_type {
	VALUE_STRING,
	VALUE_INT,	/* 0 .. 2^63-1 */
	VALUE_BOOL,
	VALUE_STRINGS,	/* array of strings */
	VALUE_MAP,	/* object of strings */
	VALUE_OBJECT,	/* array or object, described in help */
	VALUE_REAL,
};

struct method_value {
	const char *name;
	enum value_type type;
	bool required;
	const char *help;
};

enum method_flags {
	METHOD_STREAMS = 1,	/* raw frames may follow the request */
	METHOD_SETUP = 2,	/* only on the connection a keeper is born with */
	METHOD_BROKEN_OK = 4,	/* answered in every state of the sandbox */
};

struct method {
	const char *name;
	const char *help;
	unsigned int flags;
	const struct method_value *params;	/* ends with name NULL */
	const struct method_value *result;	/* ends with name NULL */
};

extern const struct method methods_table[];
extern const size_t methods_count;

/* The row of that name, or NULL. */
const struct method *methods_find(const char *name);

/* -EINVAL when a parameter is unknown, missing, or of another type. */
must_check int method_check(const struct method *m, const json_t *params, struct err *e);

/* The whole table as JSON. New reference. */
json_t *methods_describe(void);
