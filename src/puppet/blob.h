/*
 * blob.h - the puppet's bytes, as the keeper carries them.
 *
 * In a process the blob is one run of addresses, anywhere: text_bytes of code
 * and constants (r-x), then zeroed data up to mem_bytes (rw-). Both are whole
 * pages.
 */
#pragma once

#include <stdint.h>

extern const uint8_t puppet_blob[];		/* text_bytes of them */
extern const uint64_t puppet_text_bytes;
extern const uint64_t puppet_mem_bytes;

enum {
	PUPPET_ENTRY_LIVE = 0x00,	/* rdi: first op, rsi: status or 0 */
	PUPPET_ENTRY_TEMPLATE = 0x10,
};
