/* queues.h - System V message queues. */
#pragma once

#include "parts/files.h"

/* Read all queues of the caller's IPC namespace, which is the sandbox's. */
must_check int queues_look(struct look *l, struct err *e);

/* The keeper: make all of them in PID 1's namespace, with their messages. */
must_check int queues_make(const struct files_open *o, struct err *e);
