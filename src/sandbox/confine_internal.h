/* confine_internal.h - the lists and rules that the filter is made of. */
#pragma once

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>

#include "sandbox/confine.h"

/* Call numbers as libseccomp spells them. */
extern const int confine_allowed[];
extern const size_t confine_n_allowed;
extern const int confine_refused[]; /* EPERM */
extern const size_t confine_n_refused;

/* A call that is judged by the low half of an argument. (confine_args.c) */
struct confine_rule {
	uint32_t nr;
	unsigned int arg;
	int mask;		/* bits of the argument that count */
	enum { CONFINE_ONLY, CONFINE_NONE_OF } kind;
	uint32_t error;		/* errno value of the other ones */
	const uint32_t *values;
	size_t n_values;	/* jumps have 8 bits: at most 250 */
};
extern const struct confine_rule confine_rules[];
extern const size_t confine_n_rules;

/* The rules as instructions that fall through where none says no. */
size_t confine_front_insns(void);
void confine_front_write(struct sock_filter *f);
