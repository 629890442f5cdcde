/*
 * syscall.h - system calls without a libc, x86-64.
 *
 * For freestanding code: the puppet and mulligan-init. The kernel takes the
 * number in rax and arguments in rdi, rsi, rdx, r10, r8, r9, destroys rcx and
 * r11, and returns -errno in rax. See syscall(2), "Architecture calling
 * conventions".
 */
#pragma once

static inline long raw_syscall6(long nr, long a, long b, long c, long d, long e,
				long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;
	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8),
			   "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline long raw_syscall4(long nr, long a, long b, long c, long d)
{
	return raw_syscall6(nr, a, b, c, d, 0, 0);
}

static inline long raw_syscall3(long nr, long a, long b, long c)
{
	return raw_syscall6(nr, a, b, c, 0, 0, 0);
}

/*
 * clone3 onto a stack of its own: the child calls fn(arg) there and must not
 * return. Returns the child's pid, or -errno, in the parent.
 */
static inline long raw_clone3_call(long nr, void *args, unsigned long len,
				   void (*fn)(void *), void *arg)
{
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
			 : "a"(nr), "D"(args), "S"(len), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

/* Make the stack pointer `frame` and return through rt_sigreturn(2). */
static inline __attribute__((noreturn)) void raw_sigreturn(unsigned long frame)
{
	__asm__ volatile("mov %0, %%rsp\n\t"
			 "mov $15, %%eax\n\t"
			 "syscall\n\t"
			 "hlt"
			 :
			 : "r"(frame)
			 : "memory");
	__builtin_unreachable();
}
