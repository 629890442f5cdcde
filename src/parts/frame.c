#include "parts/frame.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

enum {
	FRAME_FPU = 1024,		/* offset of the XSAVE area */
	FPU_SOFTWARE = 464,		/* struct _fpx_sw_bytes in it */
	UC_FP_XSTATE = 1,
	UC_SIGCONTEXT_SS = 2,
	UC_STRICT_RESTORE_SS = 4,
	FP_XSTATE_MAGIC1_ = 0x46505853,
	FP_XSTATE_MAGIC2_ = 0x46505845,
	/* kernel-internal results, include/linux/errno.h */
	RESTART_SYS = 512,
	RESTART_NOINTR = 513,
	RESTART_NOHAND = 514,
	RESTART_BLOCK = 516,
};

struct frame_ucontext {
	uint64_t return_address;
	uint64_t flags, link;
	uint64_t stack_sp;
	uint32_t stack_flags, pad;
	uint64_t stack_size;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t di, si, bp, bx, dx, ax, cx, sp, ip, fl;
	uint16_t cs, gs, fs, ss;
	uint64_t err, trapno, oldmask, cr2;
	uint64_t fpstate;
	uint64_t reserved[8];
	uint64_t mask;
};
_Static_assert(sizeof(struct frame_ucontext) == 8 + 40 + 256 + 8, "kernel's layout");

/*
 * A sleep that gives back the time that was left starts again from what it
 * gave back; other calls that ended with a restart block start again whole.
 */
static void restart_block(struct user_regs_struct *r)
{
	if (r->orig_rax == SYS_nanosleep && r->rsi)
		r->rdi = r->rsi;
	else if (r->orig_rax == SYS_clock_nanosleep && r->r10)
		r->rdx = r->r10;
}

static struct user_regs_struct restart_call(const struct user_regs_struct *regs)
{
	struct user_regs_struct r = *regs;
	if ((long)r.orig_rax < 0)
		return r;
	switch (-(long)r.rax) {
	case RESTART_BLOCK:
		restart_block(&r);
		__attribute__((fallthrough));
	case RESTART_SYS:
	case RESTART_NOINTR:
	case RESTART_NOHAND:
		r.rax = r.orig_rax;
		r.rip -= 2;
	}
	return r;
}

static void lay_fpu(const struct image_thread *t, uint8_t *out)
{
	memcpy(out, t->xstate, t->xstate_bytes);
	uint64_t features;
	memcpy(&features, t->xstate + FPU_SOFTWARE, sizeof(features));
	struct {
		uint32_t magic1, extended_size;
		uint64_t features;
		uint32_t xstate_size, padding[7];
	} sw = { FP_XSTATE_MAGIC1_, t->xstate_bytes + 4, features, t->xstate_bytes, { 0 } };
	memcpy(out + FPU_SOFTWARE, &sw, sizeof(sw));
	uint32_t magic2 = FP_XSTATE_MAGIC2_;
	memcpy(out + t->xstate_bytes, &magic2, sizeof(magic2));
}

int frame_lay(const struct image_thread *t, uint64_t at, uint8_t *out, size_t cap)
{
	if (FRAME_FPU + t->xstate_bytes + 4 > cap)
		return -EOVERFLOW;
	struct user_regs_struct r = restart_call(&t->regs);
	memset(out, 0, FRAME_FPU);
	struct frame_ucontext uc = {
		.flags = UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS,
		.stack_sp = (uint64_t)t->altstack.ss_sp,
		.stack_flags = (uint32_t)t->altstack.ss_flags & ~1u /* SS_ONSTACK */,
		.stack_size = t->altstack.ss_size,
		.r8 = r.r8, .r9 = r.r9, .r10 = r.r10, .r11 = r.r11,
		.r12 = r.r12, .r13 = r.r13, .r14 = r.r14, .r15 = r.r15,
		.di = r.rdi, .si = r.rsi, .bp = r.rbp, .bx = r.rbx,
		.dx = r.rdx, .ax = r.rax, .cx = r.rcx, .sp = r.rsp,
		.ip = r.rip, .fl = r.eflags,
		.cs = (uint16_t)r.cs, .ss = (uint16_t)r.ss,
		.fpstate = at + FRAME_FPU,
		.mask = t->mask,
	};
	memcpy(out, &uc, sizeof(uc));
	lay_fpu(t, out + FRAME_FPU);
	return (int)(FRAME_FPU + t->xstate_bytes + 4);
}
