/* facts.c - helpers of the tests of kernel facts. */
#include "kernel/facts.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

double fact_now_us(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

long fact_meminfo_mb(const char *key)
{
	char line[256];
	long kb = 0;
	size_t len = strlen(key);
	FILE *f = fopen("/proc/meminfo", "re");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, key, len) == 0 && line[len] == ':')
			kb = atol(line + len + 1);
	if (f)
		fclose(f);
	return kb / 1024;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double fact_quantile(double *values, size_t n, double q)
{
	qsort(values, n, sizeof(*values), compare);
	return values[(size_t)((double)(n - 1) * q + 0.5)];
}

static void write_file(const char *path, const char *text)
{
	int fd = (int)t_sys(open(path, O_WRONLY | O_CLOEXEC));
	t_sys(write(fd, text, strlen(text)));
	close(fd);
}

void fact_enter_userns(void)
{
	t_become(ORDINARY_UID, ORDINARY_UID);
	uid_t uid = geteuid();
	gid_t gid = getegid();
	char map[64];
	if (unshare(CLONE_NEWUSER) < 0)
		t_skip("no user namespaces for ordinary users: %s", strerror(errno));
	snprintf(map, sizeof(map), "0 %u 1", uid);
	write_file("/proc/self/uid_map", map);
	write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", gid);
	write_file("/proc/self/gid_map", map);
}

pid_t fact_clone3(struct fact_clone *c)
{
	return (pid_t)syscall(SYS_clone3, c, sizeof(*c));
}

pid_t fact_clone3_vm(struct fact_clone *c, void (*fn)(void *), void *arg)
{
	/* the child starts on the new stack: what it needs is in registers */
	register long ret __asm__("rax") = SYS_clone3;
	register void *a1 __asm__("rdi") = c;
	register long a2 __asm__("rsi") = sizeof(*c);
	register void *child_fn __asm__("r12") = (void *)fn;
	register void *child_arg __asm__("r13") = arg;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "and $-16, %%rsp\n\t"
			 "mov %%r13, %%rdi\n\t"
			 "call *%%r12\n\t"
			 "mov $60, %%eax\n\t"
			 "xor %%edi, %%edi\n\t"
			 "syscall\n\t"
			 "1:"
			 : "+a"(ret)
			 : "r"(a1), "r"(a2), "r"(child_fn), "r"(child_arg)
			 : "rcx", "r11", "memory");
	if (ret < 0) {
		errno = (int)-ret;
		return -1;
	}
	return (pid_t)ret;
}

void fact_wait_word(const uint32_t *word, uint32_t want)
{
	for (;;) {
		uint32_t now = __atomic_load_n(word, __ATOMIC_ACQUIRE);
		if (now == want)
			return;
		syscall(SYS_futex, word, FUTEX_WAIT, now, NULL, NULL, 0);
	}
}

void fact_set_word(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
