/* internal.h - what the files of store/ share. */
#pragma once

#include "base/err.h"

/*
 * err_set() with the errno's text added to the words, and a remedy where the
 * code itself calls for one (a full disk).
 */
int store_fail(struct err *e, int r, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
