/*
 * start.h - what init needs of the architecture besides system calls, x86-64.
 */
#pragma once

#include <asm/unistd.h>

/* The kernel enters a program with the stack aligned and no frame; fn gets the
 * address of what lies there: argc, argv. */
#define INIT_START(fn)                                                                             \
	__asm__(".globl _start\n"                                                                  \
		"_start:\n\t"                                                                      \
		"xor %ebp, %ebp\n\t"                                                               \
		"mov %rsp, %rdi\n\t"                                                               \
		"and $-16, %rsp\n\t"                                                               \
		"call " #fn "\n\t"                                                                 \
		"hlt\n")

/*
 * clone(2) onto the stack that ends at `top`: the child calls fn(arg) there
 * and must not return. The child's pid or -errno. Not clone3: seccomp filters
 * cannot look into its arguments and refuse it.
 */
static inline long raw_clone_call(long flags, void *top, void (*fn)(void *), void *arg)
{
	register long r10 __asm__("r10") = 0;
	register void *r8 __asm__("r8") = (void *)fn;
	register void *r9 __asm__("r9") = arg;
	long ret;
	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "mov %%r9, %%rdi\n\t"
			 "and $-16, %%rsp\n\t"
			 "call *%%r8\n\t"
			 "hlt\n"
			 "1:"
			 : "=a"(ret)
			 : "a"(__NR_clone), "D"(flags), "S"(top), "d"(0), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
