/* internal.h - what the files of template/ share. */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"

/* The puppet's text in a sealed memfd, made once. Returns it, or -errno. */
must_check int template_blob_memfd(struct err *e);
