/*
 * actor.h - the guest of the model test: a tree of processes that do as told.
 *
 * The first process, the post, reads requests from its standard input, a line
 * each, "NUMBER SLOT ACT WORD..", and answers "NUMBER RESULT" when it was done.
 * It acts itself in slot 0; every other process of the tree waits at a slot of
 * one shared page array. A process knows nothing of checkpoints.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	SLOTS = 10,
	TEXT_BYTES = 1 << 15,	/* a request, or a whole tree of files as an answer */
	WORDS = 8,
	HELPERS = 3,		/* threads of a process beside its first */
	AREAS = 6,		/* mappings that can be asked for */
	SLOTS_FD = 499,		/* the memory of all slots */
	CHANNEL_FD = 500,	/* pipes of the slots lie from here on */
	FDS = 64,		/* numbers that are told of */
};

struct slot {
	_Atomic uint32_t asked, done;	/* futexes; equal while it waits */
	pid_t pid;
	char text[TEXT_BYTES];		/* the request, then the answer */
};

/* One request on its way through an actor. */
struct act {
	char *word[WORDS];
	size_t n_words;
	char *out;			/* TEXT_BYTES */
	size_t len;
};

struct act_row {
	const char *name;
	void (*run)(struct act *a);
};

/* ends with a row without a name */
extern const struct act_row file_acts[], memory_acts[], queue_acts[], process_acts[];

extern struct slot *slots;		/* shared by all */
extern int own_slot;
extern const char *own_path;		/* of the program */

/* The i-th word as a number, 0 where there is none. */
long act_number(const struct act *a, size_t i);
const char *act_word(const struct act *a, size_t i);

/* Append to the answer. */
__attribute__((format(printf, 2, 3))) void act_say(struct act *a, const char *fmt, ...);

/* Say what a call returned: its result, or -errno when it is -1. */
void act_result(struct act *a, long result);

/* Say length, checksum and beginning of some bytes. */
void act_bytes(struct act *a, const void *bytes, size_t len);

/* As of zlib. */
uint32_t crc32_of(uint32_t crc, const void *bytes, size_t len);

/* word i times word i+1 in hex, in a buffer that the next call uses again. */
const char *act_data(const struct act *a, size_t i, size_t *len);

/* Serve a slot until the process ends. `seen`: its number while it waited. */
_Noreturn void serve(int slot, uint32_t seen);

void futex_wait(_Atomic uint32_t *word, uint32_t while_is);
void futex_wake(_Atomic uint32_t *word);

/* parts of what `state` tells */
void say_files(struct act *a);
void say_areas(struct act *a);
void say_helpers(struct act *a);

/* In a child: the threads are the parent's alone. */
void helpers_forget(void);
