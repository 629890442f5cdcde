/* x87, SSE and AVX registers while a loop spins and makes no system call. */
#include "guest.h"

#include <pthread.h>
#include <immintrin.h>

static volatile bool stop;

/* Hold values in vector and x87 registers until stop; give them back. */
__attribute__((target("avx"))) static void spin_avx(double *out, const double *in)
{
	__asm__ volatile("vmovupd (%[in]), %%ymm0\n\t"
			 "vmovupd 32(%[in]), %%ymm7\n\t"
			 "vmovupd 64(%[in]), %%ymm15\n\t"
			 "fldl 96(%[in])\n\t"
			 "fldl 104(%[in])\n"
			 "1:\tpause\n\t"
			 "cmpb $0, (%[stop])\n\t"
			 "je 1b\n\t"
			 "vmovupd %%ymm0, (%[out])\n\t"
			 "vmovupd %%ymm7, 32(%[out])\n\t"
			 "vmovupd %%ymm15, 64(%[out])\n\t"
			 "fstpl 104(%[out])\n\t"
			 "fstpl 96(%[out])\n\t"
			 "vzeroupper"
			 :
			 : [in] "r"(in), [out] "r"(out), [stop] "r"(&stop)
			 : "memory", "xmm0", "xmm7", "xmm15", "st", "st(1)");
}

static void spin_sse(double *out, const double *in)
{
	__asm__ volatile("movupd (%[in]), %%xmm1\n\t"
			 "movupd 16(%[in]), %%xmm8\n\t"
			 "fldl 32(%[in])\n"
			 "1:\tpause\n\t"
			 "cmpb $0, (%[stop])\n\t"
			 "je 1b\n\t"
			 "movupd %%xmm1, (%[out])\n\t"
			 "movupd %%xmm8, 16(%[out])\n\t"
			 "fstpl 32(%[out])"
			 :
			 : [in] "r"(in), [out] "r"(out), [stop] "r"(&stop)
			 : "memory", "xmm1", "xmm8", "st");
}

static void *spin(void *arg)
{
	double in[14], out[14] = {0};
	unsigned short control = 0x0e7f, now; /* round towards zero, extended */
	unsigned mxcsr = _mm_getcsr() | 0x6000, words = 5;
	for (int i = 0; i < 14; i++)
		in[i] = 1.0 / (i + 3 + (double)(uintptr_t)arg);
	__asm__ volatile("fldcw %0" : : "m"(control));
	_mm_setcsr(mxcsr);
	if (__builtin_cpu_supports("avx")) {
		spin_avx(out, in);
		words = 14;
	} else {
		spin_sse(out, in);
	}
	__asm__ volatile("fnstcw %0" : "=m"(now));
	guest_eq(now, control);
	guest_eq(_mm_getcsr() & 0xffc0, mxcsr & 0xffc0);
	guest_check(memcmp(in, out, words * sizeof(*in)) == 0);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t a, b;
	guest_start(argc, argv);
	guest_eq(pthread_create(&a, NULL, spin, (void *)0), 0);
	guest_eq(pthread_create(&b, NULL, spin, (void *)100), 0);
	guest_sleep_ms(20);
	guest_ready();
	guest_wait_go();
	stop = true;
	guest_eq(pthread_join(a, NULL), 0);
	guest_eq(pthread_join(b, NULL), 0);
	return 0;
}
