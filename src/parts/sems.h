/* sems.h - sets of System V semaphores. */
#pragma once

#include "parts/files.h"

/* Read all sets of the caller's IPC namespace, which is the sandbox's. */
must_check int sems_look(struct look *l, struct err *e);

/* When all processes are known: refuse what only its own process can undo. */
must_check int sems_look_end(struct look *l, struct err *e);

/* The keeper: make all of them in PID 1's namespace, with their ids and values. */
must_check int sems_make(const struct files_open *o, struct err *e);
