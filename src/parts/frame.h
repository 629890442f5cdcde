/*
 * frame.h - a signal frame that makes a thread what it was.
 *
 * What rt_sigreturn(2) reads on x86-64, from the kernel's
 * arch/x86/include/uapi/asm/{sigcontext,ucontext}.h:
 *
 *	+0	return address of the handler (not read)
 *	+8	struct ucontext: flags, link, stack_t, 23 words of registers,
 *		8 reserved words, signal mask
 *	+1024	XSAVE area, aligned to 64: software bytes at +464 say its size
 *		and features, a second magic follows it
 */
#pragma once

#include "base/cleanup.h"
#include "parts/image.h"

/*
 * Lay the frame of t as it will stand at address `at` (aligned to 64).
 * Returns its length, or -EOVERFLOW when it does not fit into cap bytes.
 */
must_check int frame_lay(const struct image_thread *t, uint64_t at, uint8_t *out,
			 size_t cap);
