/*
 * prog.h - write programs for the puppet.
 *
 *	struct prog p;
 *	prog_init(&p, &arena);
 *	prog_sys(&p, SYS_umask, image->umask);
 *	prog_sys(&p, SYS_openat, dir, prog_string(&arena, "x"), O_RDONLY);
 *	prog_out(&p, 7);			result to slot 7
 *	prog_sys(&p, SYS_close, 7);
 *	prog_slots(&p, 1 << 0);			argument 0 is slot 7's value
 *	uint64_t start = prog_seal(&p);		address in the target
 *
 * An arena is a run of memory known here at `local` and in the target at
 * `remote`. Running out of it, or of memory, makes the arena remember
 * `failed`; the writer checks once, before it runs anything.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/vec.h"
#include "puppet/abi.h"

struct prog_arena {
	uint8_t *local;
	uint64_t remote;
	size_t used_bytes;
	size_t cap_bytes;
	int memfd;		/* -1: private heap memory, copied by hand */
	bool failed;
};

/*
 * An arena in a new memfd (close-on-exec), mapped here; struct pup_status is
 * laid at its start. 0 or -errno.
 */
must_check int prog_arena_init(struct prog_arena *a, uint64_t remote,
			       size_t cap_bytes);

/* The same in heap memory, for a live process: sent and fetched by copying. */
must_check int prog_arena_init_heap(struct prog_arena *a, uint64_t remote,
				    size_t cap_bytes);
void prog_arena_deinit(struct prog_arena *a);

static inline struct pup_status *prog_status(struct prog_arena *a)
{
	return (struct pup_status *)a->local;
}

/* Address in the target of a field that lies in the arena here. */
uint64_t prog_remote(const struct prog_arena *a, const void *local);

/*
 * Zeroed space of len bytes aligned to 16. Returns it here, NULL when the
 * arena is full; *remote (may be NULL) is its address in the target.
 */
void *prog_space(struct prog_arena *a, size_t len, uint64_t *remote);

/* Copy bytes, or a string with its NUL, into the arena: target's address. */
uint64_t prog_data(struct prog_arena *a, const void *bytes, size_t len);
uint64_t prog_string(struct prog_arena *a, const char *s);

struct prog {
	struct vec ops;			/* struct pup_op */
	struct prog_arena *arena;
	struct pup_op *sealed;		/* in the arena, once sealed */
	unsigned int next_slot;		/* first slot not handed out yet */
};

void prog_init(struct prog *p, struct prog_arena *arena);
void prog_deinit(struct prog *p);

/* Append an operation; returns its index, for prog_result(). */
size_t prog_add(struct prog *p, unsigned int line, enum pup_opcode op,
		uint16_t nr, const uint64_t a[6]);

#define prog_sys(p, nr, ...)                           \
	prog_add(p, __LINE__, PUP_OP_SYS, (uint16_t)(nr), \
		 (const uint64_t[6]){ __VA_ARGS__ })
#define prog_op(p, op, ...) \
	prog_add(p, __LINE__, op, 0, (const uint64_t[6]){ __VA_ARGS__ })

/* About the operation added last: */
void prog_out(struct prog *p, unsigned int slot);	/* keep its result */
void prog_slots(struct prog *p, unsigned int mask);	/* a[i] is a slot */
void prog_mayfail(struct prog *p);			/* errors are answers */
void prog_exact(struct prog *p, uint64_t bytes);	/* result must equal */

/* A slot that nobody else of this program uses. */
unsigned int prog_slot(struct prog *p);

/* Lay the operations and PUP_OP_END in the arena: address in the target. */
uint64_t prog_seal(struct prog *p);

/* Result of operation i after the program ran. */
int64_t prog_result(const struct prog *p, size_t i);
