/* errjson.h - struct err as JSON, both ways: {code, cause, remedy, pid?, fd?, path?}. */
#pragma once

#include "base/err.h"
#include "wire/json.h"

/* The code is the errno's symbolic name. New reference. */
json_t *err_to_json(const struct err *e);

/* Fill *e from such an object, whatever is in it. Returns -e->code. */
int err_from_json(struct err *e, const json_t *j);
