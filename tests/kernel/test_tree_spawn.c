/*
 * One template holds the memory of all processes of a checkpoint. It makes
 * PID 1 by clone3(CLONE_VM | new namespaces), which copies no page table;
 * PID 1 forks the tree by clone3(set_tid), and each process moves its own
 * memory into place. A fork copies the page tables of everything the
 * template holds, so with P processes P * P images, unless the others' are
 * MADV_DONTFORK at that moment.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel/facts.h"

enum {
	N_VMAS = 60,
	VMA_PAGES = 10,
	VMA_STRIDE = VMA_PAGES + 2, /* in pages; gaps keep VMAs apart */
	IMAGE_BYTES = N_VMAS * VMA_STRIDE * PAGE,
	FIRST_PID = 100,
	MAX_PROCESSES = 100,
};

#define STAGING 0x300000000000ul /* image i lies at STAGING + i * STAGING_STEP */
#define STAGING_STEP (1ul << 30)
#define PLACE 0x100000000000ul /* where each process wants its image */

struct tree {
	int n;
	bool dontfork;
	uint32_t gate;
	uint32_t n_parked;
	uint32_t n_wrong; /* processes with a wrong pid or wrong bytes */
	uint32_t failed;  /* errno of a clone3 that failed */
	double start_us, cloned_us, parked_us;
};

static char *image(int i)
{
	return (char *)(STAGING + (unsigned long)i * STAGING_STEP);
}

static void map_images(int n)
{
	for (int i = 0; i < n; i++)
		for (int v = 0; v < N_VMAS; v++) {
			char *at = image(i) + v * VMA_STRIDE * PAGE;
			char *p = mmap(at, VMA_PAGES * PAGE, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
			t_assert(p == at);
			for (int k = 0; k < VMA_PAGES; k++)
				p[k * PAGE] = (char)(i + 1);
		}
}

/* Move image i into place, VMA by VMA: that works on kernels before 6.17. */
static bool move_into_place(int i)
{
	for (int v = 0; v < N_VMAS; v++) {
		char *from = image(i) + v * VMA_STRIDE * PAGE;
		char *to = (char *)PLACE + v * VMA_STRIDE * PAGE;
		if (mremap(from, VMA_PAGES * PAGE, VMA_PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			   to) != to)
			return false;
		if (to[0] != (char)(i + 1))
			return false;
	}
	return true;
}

/* A process of the tree: unmap the others' memory, take its place, park. */
static void __attribute__((noreturn)) process_main(struct tree *t, int i)
{
	if (!t->dontfork) {
		munmap(image(0), (size_t)i * STAGING_STEP);
		munmap(image(i + 1), (size_t)(t->n - i - 1) * STAGING_STEP + PAGE);
	}
	bool right = move_into_place(i) && syscall(SYS_getpid) == FIRST_PID + i;
	__atomic_add_fetch(&t->n_wrong, !right, __ATOMIC_RELAXED);
	uint32_t n = __atomic_add_fetch(&t->n_parked, 1, __ATOMIC_ACQ_REL);
	if ((int)n == t->n)
		fact_set_word(&t->n_parked, n);
	fact_wait_word(&t->gate, 1);
	_exit(0);
}

/* PID 1: it runs in the template's memory, so it makes only plain calls. */
static void pid1_main(void *arg)
{
	struct tree *t = arg;
	t->cloned_us = fact_now_us();
	for (int i = 0; i < t->n; i++) {
		pid_t tid = FIRST_PID + i;
		struct fact_clone c = {
			.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&tid, .n_set_tid = 1};
		if (t->dontfork)
			madvise(image(i), IMAGE_BYTES, MADV_DOFORK);
		pid_t pid = fact_clone3(&c);
		if (pid == 0)
			process_main(t, i);
		if (t->dontfork)
			madvise(image(i), IMAGE_BYTES, MADV_DONTFORK);
		if (pid < 0) {
			t->failed = (uint32_t)errno;
			fact_set_word(&t->n_parked, (uint32_t)t->n);
			return;
		}
	}
	fact_wait_word(&t->n_parked, (uint32_t)t->n);
	t->parked_us = fact_now_us();
	fact_wait_word(&t->gate, 1);
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
}

static struct tree *tree_new(int n, bool dontfork)
{
	struct tree *t =
		mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	t_assert(t != MAP_FAILED);
	t->n = n;
	t->dontfork = dontfork;
	return t;
}

/* Instantiate once; the time from clone3 until all are parked. */
static double instantiate(struct tree *t)
{
	static char stack[65536] __attribute__((aligned(16)));
	struct fact_clone c = {.flags = CLONE_VM | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC |
					CLONE_NEWUTS | CLONE_NEWNET,
			       .exit_signal = SIGCHLD,
			       .stack = (uintptr_t)stack,
			       .stack_bytes = sizeof(stack)};
	t->gate = t->n_parked = t->n_wrong = t->failed = 0;
	if (t->dontfork)
		for (int i = 0; i < t->n; i++)
			madvise(image(i), IMAGE_BYTES, MADV_DONTFORK);
	t->start_us = fact_now_us();
	pid_t pid = fact_clone3_vm(&c, pid1_main, t);
	if (pid < 0 && errno == EPERM)
		t_skip("new namespaces are not allowed here");
	t_sys(pid);
	fact_wait_word(&t->n_parked, (uint32_t)t->n);
	t_sleep_ms(2);
	fact_set_word(&t->gate, 1);
	t_eq(t_wait(pid), 0);
	if (t->failed)
		t_fail("clone3(set_tid): %s", strerror((int)t->failed));
	t_eq(t->n_wrong, 0);
	return t->parked_us - t->start_us;
}

/* Median of three runs, in milliseconds; a line of figures. */
static double measure(int n, bool dontfork)
{
	struct tree *t = tree_new(n, dontfork);
	double us[3];
	map_images(n);
	for (int i = 0; i < 3; i++)
		us[i] = instantiate(t);
	double ms = fact_quantile(us, 3, 0.5) / 1e3;
	t_note("%3d processes, %s: %7.1f ms, %5.2f ms each (PID 1 up after %.2f ms)", n,
	       dontfork ? "others MADV_DONTFORK" : "everything inherited", ms, ms / n,
	       (t->cloned_us - t->start_us) / 1e3);
	return ms;
}

static void measure_in_child(int n, bool dontfork, double *result)
{
	pid_t pid = t_fork();
	if (pid == 0) {
		*result = measure(n, dontfork);
		_exit(0);
	}
	t_join(pid);
}

TEST(tree_of_100_needs_dontfork, .timeout_s = 120)
{
	fact_enter_userns();
	double *ms = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	t_assert(ms != MAP_FAILED);
	for (int k = 0, n = 1; n <= MAX_PROCESSES; n *= 10, k++) {
		measure_in_child(n, false, &ms[2 * k]);
		measure_in_child(n, true, &ms[2 * k + 1]);
	}
	t_note("100 processes: DONTFORK is %.1f times faster", ms[4] / ms[5]);
	t_assert(ms[5] < ms[4]);
	if (ms[5] / 100 > 20 * (ms[3] / 10))
		t_fail("the price of a process grew from %.2f to %.2f ms", ms[3] / 10, ms[5] / 100);
}
