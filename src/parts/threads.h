/* threads.h - what only a thread can tell of itself. */
#pragma once

#include "parts/image.h"
#include "puppet/prog.h"
#include "task/freeze.h"

/* Answers in an arena: hostile input. */
struct thread_answers {
	uint64_t clear_tid;
	uint64_t altstack[3];
	int32_t pdeath_signal, tsc;
};

/* Whether a stopped thread runs the puppet's code, not its own. */
bool threads_in_puppet(const struct frozen_thread *ft);

/* Questions to the thread that runs p; the answers lie in p's arena. */
void threads_ask_one(struct prog *p, struct thread_answers *answers);
void threads_heard_one(struct image_thread *t, const struct thread_answers *answers);
