/*
 * A thousand checkpoints are a thousand templates, each a fork of an earlier
 * one. Which one decides the price: the kernel links the anon_vma of every
 * VMA with those of all ancestors that still live, so a fork costs the
 * length of the chain. Template n forked from n & (n - 1) (its lowest set bit
 * cleared) has at most log2 n ancestors; forked from n - 1 it has n.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel/facts.h"

enum {
	N_VMAS = 100,
	VMA_PAGES = 8,    /* the last one PROT_NONE: keeps them apart */
	DIRTY_PAGES = 33, /* pages a checkpoint adds: a shell and python */
	WINDOW = 16,      /* forks averaged for one figure */
	END = ~0u,
};

struct slot {
	uint32_t request; /* child to fork, or END */
	uint32_t is_up;
	double fork_us;
};

struct chain {
	struct slot *slots;
	char *vmas[N_VMAS];
	unsigned n;
	unsigned (*parent_of)(unsigned);
};

static unsigned parent_skip(unsigned n)
{
	return n & (n - 1);
}

static unsigned parent_naive(unsigned n)
{
	return n - 1;
}

static void map_image(struct chain *c)
{
	for (int i = 0; i < N_VMAS; i++) {
		c->vmas[i] = mmap(NULL, VMA_PAGES * PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		t_assert(c->vmas[i] != MAP_FAILED);
		t_sys(mprotect(c->vmas[i] + (VMA_PAGES - 1) * PAGE, PAGE, PROT_NONE));
		for (int p = 0; p < VMA_PAGES - 1; p++)
			c->vmas[i][p * PAGE] = 1;
	}
}

/* A template: fork the children asked for, until the end. */
static void __attribute__((noreturn)) serve(struct chain *c, unsigned me)
{
	fact_set_word(&c->slots[me].is_up, 1);
	for (;;) {
		uint32_t *request = &c->slots[me].request;
		while (!__atomic_load_n(request, __ATOMIC_ACQUIRE))
			fact_wait_word(&c->slots[me].is_up, 0);
		unsigned child = __atomic_exchange_n(request, 0, __ATOMIC_ACQ_REL);
		if (child == END)
			_exit(0);
		c->slots[me].is_up = 1;
		double start = fact_now_us();
		pid_t pid = fork();
		if (pid == 0) {
			me = child;
			for (unsigned k = 0; k < DIRTY_PAGES; k++)
				c->vmas[(child * 7 + k) % N_VMAS][PAGE * (k % 7)]++;
			fact_set_word(&c->slots[me].is_up, 1);
			continue;
		}
		c->slots[child].fork_us = pid < 0 ? -1 : fact_now_us() - start;
	}
}

/* Ask template me for something; it sleeps on its is_up word. */
static void ask(struct chain *c, unsigned me, uint32_t request)
{
	__atomic_store_n(&c->slots[me].request, request, __ATOMIC_RELEASE);
	fact_set_word(&c->slots[me].is_up, 0);
}

static double mean_us(const struct chain *c, unsigned up_to)
{
	double sum = 0;
	unsigned from = up_to > WINDOW ? up_to - WINDOW : 0;
	for (unsigned n = from + 1; n <= up_to; n++)
		sum += c->slots[n].fork_us;
	return sum / (up_to - from);
}

/* Build n templates by a rule. Returns the slab they took, in MiB. */
static long build(struct chain *c, unsigned n, unsigned (*parent_of)(unsigned))
{
	size_t bytes = (n + 1) * sizeof(struct slot);
	*c = (struct chain){.n = n, .parent_of = parent_of};
	c->slots = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	t_assert(c->slots != MAP_FAILED);
	map_image(c);
	signal(SIGCHLD, SIG_IGN);
	long slab_mb = fact_meminfo_mb("SUnreclaim");
	if (t_fork() == 0)
		serve(c, 0);
	fact_wait_word(&c->slots[0].is_up, 1);
	for (unsigned i = 1; i <= n; i++) {
		ask(c, parent_of(i), i);
		fact_wait_word(&c->slots[i].is_up, 1);
	}
	t_sleep_ms(100);
	for (unsigned i = 1; i <= n; i++)
		if (c->slots[i].fork_us < 0)
			t_fail("fork %u failed (limit of processes?)", i);
	return fact_meminfo_mb("SUnreclaim") - slab_mb;
}

static void end(struct chain *c)
{
	for (unsigned i = 0; i <= c->n; i++)
		ask(c, i, END);
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
}

static void need_processes(unsigned n)
{
	struct rlimit limit;
	t_sys(getrlimit(RLIMIT_NPROC, &limit));
	if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < n + 200)
		t_skip("RLIMIT_NPROC is %lu, the chain needs %u", limit.rlim_cur, n + 200);
}

TEST(skip_rule_keeps_forks_cheap_for_1000_templates, .timeout_s = 120)
{
	struct chain c;
	need_processes(1000);
	long slab_mb = build(&c, 1000, parent_skip);
	double first = mean_us(&c, 32), last = mean_us(&c, 1000);
	static const unsigned at[] = {16, 108, 300, 500, 999};
	for (unsigned i = 0; i < sizeof(at) / sizeof(*at); i++)
		t_note("skip rule: fork at depth %4u: %6.2f ms", at[i], mean_us(&c, at[i]) / 1e3);
	double dearest = 0;
	for (unsigned n = 1; n <= 1000; n++)
		dearest = c.slots[n].fork_us > dearest ? c.slots[n].fork_us : dearest;
	t_note("skip rule: dearest fork %.2f ms, slab of 1000 templates %ld MB", dearest / 1e3,
	       slab_mb);
	end(&c);
	if (last > 10 * first)
		t_fail("forks grew from %.0f to %.0f us", first, last);
	if (slab_mb > 600)
		t_fail("1000 templates took %ld MB of slab", slab_mb);
}

/*
 * The rule that was rejected, as deep as is cheap to build (CHAIN_NAIVE
 * templates, default 200). Fork time grows with the depth, slab with its
 * square; the figures for 1,000 are extrapolated so.
 */
TEST(naive_chain_grows_with_its_length, .timeout_s = 300)
{
	struct chain c;
	const char *text = getenv("CHAIN_NAIVE");
	unsigned n = text ? (unsigned)atoi(text) : 200;
	t_assert(n >= 4 * WINDOW && n <= 1000);
	need_processes(n);
	long slab_mb = build(&c, n, parent_naive);
	double first = mean_us(&c, WINDOW), last = mean_us(&c, n);
	t_note("naive: fork at depth %4u: %6.2f ms", WINDOW, first / 1e3);
	t_note("naive: fork at depth %4u: %6.2f ms", n / 2, mean_us(&c, n / 2) / 1e3);
	t_note("naive: fork at depth %4u: %6.2f ms, slab %ld MB", n, last / 1e3, slab_mb);
	double times = 1000.0 / n;
	t_note("naive: extrapolated to 1000: fork >= %.0f ms, slab %.0f MB", last * times / 1e3,
	       (double)slab_mb * times * times);
	end(&c);
	if (last < 3 * first)
		t_fail("forks did not grow (%.0f to %.0f us): the skip rule may be needless here",
		       first, last);
}
