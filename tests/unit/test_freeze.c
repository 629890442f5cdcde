#include "task/freeze.h"

#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/ptrace.h>
#include <sys/rseq.h>
#include <time.h>

#include "base/clock.h"
#include "sys/fault.h"
#include "sys/probe.h"
#include "unit/pidns.h"

extern char **environ;

static struct frozen *freeze_now(struct freezer *z, pid_t pid1)
{
	struct frozen *f = NULL;
	struct err e = ERR_INIT;
	t_ok_e(freeze_tree(z, pid1, &f, &e), &e);
	return f;
}

static struct freezer *new_freezer(void)
{
	struct freezer *z = freezer_new();
	t_assert(z);
	return z;
}

/* --- what is stopped and how it is listed --- */

static void *count_thread(void *word)
{
	for (;;)
		__atomic_add_fetch((uint64_t *)word, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void counting_child(struct board *b)
{
	b->pid[1] = getpid();
	count_thread((void *)&b->count[4]);
}

static void counting_parent(struct board *b)
{
	b->pid[0] = getpid();
	guest(counting_child, b);
	for (int i = 0; i < 3; i++) {
		pthread_t t;
		pthread_create(&t, NULL, count_thread, (void *)&b->count[1 + i]);
	}
	count_thread((void *)&b->count[0]);
}

static void start_counting(struct board *b)
{
	guest(counting_parent, b);
}

TEST_BOTH(freeze_stops_all_and_thaw_lets_go)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_counting, b);
	struct freezer *z = new_freezer();
	for (int i = 0; i < 5; i++)
		board_await(&b->count[i], 1000);
	struct frozen *f = freeze_now(z, pid1);
	uint64_t before[5];
	memcpy(before, (void *)b->count, sizeof(before));
	t_sleep_ms(20);
	t_mem_eq(before, (void *)b->count, sizeof(before));

	t_eq(f->procs.n, 2);
	t_eq(f->n_threads, 5);
	struct frozen_proc *p = frozen_proc(f, 0);
	t_eq(p->ns_pid, b->pid[0]);
	t_eq(p->parent, -1);
	t_eq(p->threads.n, 4);
	t_eq(frozen_thread(p, 0)->ns_tid, p->ns_pid);
	t_assert(frozen_thread(p, 1)->ns_tid > p->ns_pid);
	t_assert(frozen_thread(p, 0)->regs.rip);
	t_eq(frozen_proc(f, 1)->ns_pid, b->pid[1]);
	t_eq(frozen_proc(f, 1)->parent, 0);
	t_eq(frozen_find(f, b->pid[1]), 1);
	t_eq(frozen_find(f, 4711), -1);
	thaw(f);
	for (int i = 0; i < 5; i++)
		board_await_more(&b->count[i], 1000);
	t_eq(freezer_settle(z), 0);
	freezer_free(z);
	pidns_end(pid1);
}

static void end_with_7(struct board *b)
{
	b->pid[1] = getpid();
	_exit(7);
}

static void have_zombie(struct board *b)
{
	guest(end_with_7, b);
	b->pid[0] = getpid();
	siginfo_t info;
	waitid(P_ALL, 0, &info, WEXITED | WNOWAIT);
	b->count[0] = 1;
	for (;;)
		pause();
}

static void start_zombie(struct board *b)
{
	guest(have_zombie, b);
}

TEST_BOTH(zombies_are_listed_with_their_status)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_zombie, b);
	struct freezer *z = new_freezer();
	board_await(&b->count[0], 1);
	struct frozen *f = freeze_now(z, pid1);
	t_eq(f->procs.n, 2);
	t_eq(frozen_proc(f, 0)->zombie, false);
	t_eq(frozen_proc(f, 1)->zombie, true);
	t_eq(frozen_proc(f, 1)->exit_code, 7 << 8);
	t_eq(frozen_proc(f, 1)->ns_pid, b->pid[1]);
	t_eq(frozen_proc(f, 1)->threads.n, 0);
	thaw(f);
	freezer_free(z);
	pidns_end(pid1);
}

static void stopped_guest(struct board *b)
{
	b->pid[0] = getpid();
	b->count[0] = 1;
	raise(SIGSTOP);
	for (;;)
		b->count[1]++;
}

static void start_stopped(struct board *b)
{
	guest(stopped_guest, b);
}

TEST_BOTH(stopped_processes_stay_stopped)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_stopped, b);
	struct freezer *z = new_freezer();
	board_await(&b->count[0], 1);
	pid_t pid = 0;
	for (int i = 0; i < 20; i++) {
		if (pid)
			await_state(pid, 'T');
		else
			t_sleep_ms(20);
		struct frozen *f = freeze_now(z, pid1);
		struct frozen_thread *t = frozen_thread(frozen_proc(f, 0), 0);
		t_eq(t->stop, FREEZE_GROUP);
		t_eq(t->group_signal, SIGSTOP);
		pid = t->tid;
		thaw(f);
	}
	await_state(pid, 'T');
	t_eq(b->count[1], 0);
	kill(pid, SIGCONT);
	board_await(&b->count[1], 1000);
	freezer_free(z);
	pidns_end(pid1);
}

static void *outlive_leader(void *arg)
{
	struct board *b = arg;
	for (;;)
		b->count[0]++;
	return NULL;
}

static void lose_leader(struct board *b)
{
	pthread_t t;
	pthread_create(&t, NULL, outlive_leader, b);
	pthread_exit(NULL);
}

static void start_leaderless(struct board *b)
{
	guest(lose_leader, b);
}

TEST_BOTH(a_leader_that_ended_is_told_from_a_zombie)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_leaderless, b);
	struct freezer *z = new_freezer();
	board_await(&b->count[0], 1000);
	await_state(first_child(pid1), 'Z');
	for (int i = 0; i < 5; i++) {
		struct frozen *f = freeze_now(z, pid1);
		t_eq(f->procs.n, 1);
		t_eq(frozen_proc(f, 0)->zombie, false);
		t_eq(frozen_proc(f, 0)->threads.n, 2);
		t_eq(frozen_thread(frozen_proc(f, 0), 0)->stop, FREEZE_DEAD);
		t_eq(frozen_thread(frozen_proc(f, 0), 1)->stop, FREEZE_TRAP);
		thaw(f);
		board_await_more(&b->count[0], 1000);
	}
	freezer_free(z);
	pidns_end(pid1);
}

/* --- what a freeze must not disturb --- */

static void check(struct board *b, int slot, long r, long want)
{
	if (r != want)
		board_wrong(b, slot * 1000 + (r < 0 ? errno : 900));
	b->count[slot]++;
}

static void sleep_nano(struct board *b)
{
	for (;;) {
		struct timespec ts = { 0, 3000000 };
		check(b, 0, clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL), 0);
	}
}

static void sleep_poll(struct board *b)
{
	for (;;)
		check(b, 1, poll(NULL, 0, 3), 0);
}

static void sleep_epoll(struct board *b)
{
	int fd = epoll_create1(0);
	struct epoll_event ev;
	for (;;)
		check(b, 2, epoll_wait(fd, &ev, 1, 3), 0);
}

static void sleep_sigtimedwait(struct board *b)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (;;) {
		struct timespec ts = { 0, 3000000 };
		errno = 0;
		long r = sigtimedwait(&set, NULL, &ts);
		check(b, 3, r == -1 && errno == EAGAIN ? 0 : -1, 0);
	}
}

static void sleep_futex(struct board *b)
{
	static int word;
	for (;;) {
		struct timespec ts = { 0, 3000000 };
		errno = 0;
		long r = syscall(SYS_futex, &word, 0, 0, &ts, NULL, 0);
		check(b, 4, r == -1 && errno == ETIMEDOUT ? 0 : -1, 0);
	}
}

static void ping_pong(struct board *b)
{
	int to[2], from[2];
	check(b, 5, pipe(to) | pipe(from), 0);
	char c = 0;
	if (fork() == 0)
		for (;;) {
			usleep(1000);
			check(b, 6, read(to[0], &c, 1), 1);
			check(b, 6, write(from[1], &c, 1), 1);
		}
	for (;;) {
		check(b, 5, write(to[1], &c, 1), 1);
		check(b, 5, read(from[0], &c, 1), 1);
	}
}

static void wait_children(struct board *b)
{
	for (;;) {
		pid_t pid = fork();
		if (pid == 0) {
			usleep(2000);
			_exit(3);
		}
		int status = 0;
		check(b, 7, wait4(pid, &status, 0, NULL), pid);
		check(b, 7, WEXITSTATUS(status), 3);
	}
}

static volatile sig_atomic_t handled;

static void on_signal(int sig)
{
	handled++;
}

/* Handlers run once a signal, and sigsuspend ends only then. */
static void suspend(struct board *b)
{
	struct sigaction act = { .sa_handler = on_signal };
	sigaction(SIGUSR1, &act, NULL);
	sigset_t set, none;
	sigemptyset(&none);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pid_t me = getpid();
	int ack[2];
	check(b, 8, pipe(ack), 0);
	if (fork() == 0)
		for (;;) {
			char c;
			kill(me, SIGUSR1);
			check(b, 9, read(ack[0], &c, 1), 1);
			usleep(1000);
		}
	for (int n = 1;; n++) {
		check(b, 8, sigsuspend(&none) == -1 && errno == EINTR ? 0 : -1,
		      0);
		check(b, 8, handled, n);
		check(b, 8, write(ack[1], "", 1), 1);
	}
}

/* An epoll_pwait that a handler really interrupts must still say EINTR. */
static void interrupted_epoll(struct board *b)
{
	struct sigaction act = { .sa_handler = on_signal };
	sigaction(SIGUSR1, &act, NULL);
	sigset_t set, none;
	sigemptyset(&none);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pid_t me = getpid();
	int ack[2];
	check(b, 10, pipe(ack), 0);
	if (fork() == 0)
		for (;;) {
			char c;
			usleep(3000);
			kill(me, SIGUSR1);
			check(b, 11, read(ack[0], &c, 1), 1);
		}
	int fd = epoll_create1(0);
	struct epoll_event ev;
	for (int n = 1;; n++) {
		errno = 0;
		long r = epoll_pwait(fd, &ev, 1, 5000, &none);
		check(b, 10, r == -1 && errno == EINTR ? 0 : -1, 0);
		check(b, 10, handled, n);
		check(b, 10, write(ack[1], "", 1), 1);
	}
}

static void start_sleepers(struct board *b)
{
	guest(sleep_nano, b);
	guest(sleep_poll, b);
	guest(sleep_epoll, b);
	guest(sleep_sigtimedwait, b);
	guest(sleep_futex, b);
	guest(ping_pong, b);
	guest(wait_children, b);
	guest(suspend, b);
	guest(interrupted_epoll, b);
}

enum { SLEEPERS = 12, ROUNDS = 200 };

TEST_BOTH(rounds_of_freezing_leave_sleepers_undisturbed, .timeout_s = 60)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_sleepers, b);
	struct freezer *z = new_freezer();
	for (int i = 0; i < SLEEPERS; i++)
		board_await(&b->count[i], 3);
	size_t restarted = 0;
	for (int round = 0; round < ROUNDS; round++) {
		struct frozen *f = freeze_now(z, pid1);
		vec_each(struct frozen_proc, p, &f->procs)
			vec_each(struct frozen_thread, t, &p->threads)
				restarted += t->restarts;
		thaw(f);
		if (round % 4 == 0)
			t_sleep_ms(5);
	}
	for (int i = 0; i < SLEEPERS; i++)
		board_await_more(&b->count[i], 3);
	if (b->wrong)
		t_fail("guests saw %d wrong results, the last %d",
		       (int)b->wrong, (int)b->wrong_what);
	t_note("%zu calls were started again", restarted);
	t_assert(restarted > 0);
	t_eq(freezer_settle(z), 0);
	freezer_free(z);
	pidns_end(pid1);
}

/* Timeouts of calls that are started again and again. */
static void time_out(struct board *b, int slot, int64_t want_ms, bool signals)
{
	int fd = epoll_create1(0);
	struct epoll_event ev;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (;;) {
		struct timespec ts = { 0, want_ms * 1000000 };
		uint64_t start_ns = clock_now_ns();
		long r = signals ? sigtimedwait(&set, NULL, &ts) + 1 :
				   epoll_wait(fd, &ev, 1, (int)want_ms);
		int64_t ms = (int64_t)(clock_now_ns() - start_ns) / 1000000;
		if (r != 0 || ms < want_ms)
			board_wrong(b, slot * 1000 + ms);
		if ((uint64_t)ms > b->count[slot + 10])
			b->count[slot + 10] = (uint64_t)ms;
		b->count[slot]++;
	}
}

static void time_out_epoll(struct board *b)
{
	time_out(b, 0, 200, false);
}

static void time_out_signal(struct board *b)
{
	time_out(b, 1, 200, true);
}

/* Woken every few ms: its timeout of 30 ms must never be reached. */
static void woken_in_time(struct board *b)
{
	int p[2];
	if (pipe(p))
		board_wrong(b, errno);
	if (fork() == 0)
		for (;;) {
			if (write(p[1], "", 1) != 1)
				board_wrong(b, errno);
			usleep(7000);
		}
	int fd = epoll_create1(0);
	struct epoll_event ev = { .events = EPOLLIN };
	epoll_ctl(fd, EPOLL_CTL_ADD, p[0], &ev);
	for (;;) {
		char c;
		uint64_t start_ns = clock_now_ns();
		long r = epoll_wait(fd, &ev, 1, 30);
		int64_t ms = (int64_t)(clock_now_ns() - start_ns) / 1000000;
		if (r == 0 && ms < 29)
			board_wrong(b, 3000 + ms);
		if (r == 1 && read(p[0], &c, 1) != 1)
			board_wrong(b, 4000);
		b->count[2]++;
	}
}

static void start_timeouts(struct board *b)
{
	guest(time_out_epoll, b);
	guest(time_out_signal, b);
	guest(woken_in_time, b);
}

TEST_BOTH(timeouts_end_under_steady_freezing, .timeout_s = 60)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_timeouts, b);
	struct freezer *z = new_freezer();
	uint64_t end_ns = clock_now_ns() + 3000000000u;
	while (clock_now_ns() < end_ns) {
		thaw(freeze_now(z, pid1));
		t_sleep_ms(10);
	}
	t_note("200 ms took up to %d and %d ms", (int)b->count[10],
	       (int)b->count[11]);
	if (b->wrong)
		t_fail("guests saw %d wrong results, the last %d",
		       (int)b->wrong, (int)b->wrong_what);
	t_assert(b->count[0] >= 6);
	t_assert(b->count[1] >= 6);
	t_assert(b->count[2] >= 50);
	freezer_free(z);
	pidns_end(pid1);
}

static volatile int next_value;
static struct board *volatile signal_board;

static void on_queued(int sig, siginfo_t *info, void *context)
{
	if (info->si_value.sival_int != next_value || info->si_code != SI_QUEUE)
		board_wrong(signal_board, info->si_value.sival_int);
	next_value = info->si_value.sival_int + 1;
	signal_board->count[0]++;
}

static void receive_signals(struct board *b)
{
	signal_board = b;
	struct sigaction act = { .sa_sigaction = on_queued,
				 .sa_flags = SA_SIGINFO };
	sigaction(SIGRTMIN + 3, &act, NULL);
	b->pid[0] = getpid();
	b->count[1] = 1;
	for (;;)
		b->count[2]++;
}

static void send_signals(struct board *b)
{
	while (!b->count[1])
		usleep(1000);
	for (int n = 0;; n++) {
		union sigval value = { .sival_int = n };
		while (sigqueue(b->pid[0], SIGRTMIN + 3, value))
			usleep(100);
		if (n % 16 == 0)
			usleep(100);
	}
}

static void start_signals(struct board *b)
{
	guest(receive_signals, b);
	guest(send_signals, b);
}

TEST_BOTH(signals_arrive_once_in_order_with_their_values, .timeout_s = 60)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_signals, b);
	struct freezer *z = new_freezer();
	board_await(&b->count[0], 100);
	int kept = 0;
	for (int round = 0; round < 500; round++) {
		struct frozen *f = freeze_now(z, pid1);
		struct frozen_thread *t = frozen_thread(frozen_proc(f, 0), 0);
		if (t->stop == FREEZE_SIGNAL) {
			kept++;
			t_eq(t->kept.si_signo, SIGRTMIN + 3);
			t_eq(t->kept.si_code, SI_QUEUE);
		}
		thaw(f);
		if (round % 50 == 0)
			t_sleep_ms(3);
	}
	board_await_more(&b->count[0], 1000);
	t_note("%d of 500 stops were at a signal", kept);
	if (b->wrong)
		t_fail("%d signals were lost or changed, the last is %d",
		       (int)b->wrong, (int)b->wrong_what);
	freezer_free(z);
	pidns_end(pid1);
}

/* --- restartable sequences --- */

/*
 * Spends its life in an rseq critical section, counting how often it was
 * aborted, and tells where the section begins, ends, and is aborted.
 */
static void in_critical_section(struct board *b)
{
	char *rseq = (char *)__builtin_thread_pointer() + __rseq_offset;
	for (;;) {
		__asm__ volatile(
			".pushsection rseq_sections, \"aw\"\n"
			".balign 32\n"
			"3: .long 0, 0\n .quad 1f, 2f - 1f, 4f\n"
			".popsection\n"
			"lea 1f(%%rip), %%rax\n mov %%rax, 8(%[count])\n"
			"lea 2f(%%rip), %%rax\n mov %%rax, 16(%[count])\n"
			"lea 4f(%%rip), %%rax\n mov %%rax, 24(%[count])\n"
			"lea 3b(%%rip), %%rax\n mov %%rax, 8(%[rseq])\n"
			"1: mov $1000000, %%rcx\n"
			"5: dec %%rcx\n jnz 5b\n"
			"2: jmp 6f\n"
			".byte 0x0f, 0xb9, 0x3d\n .long 0x53053053\n"
			"4: incq 32(%[count])\n"
			"6: incq (%[count])\n"
			"movq $0, 8(%[rseq])\n"
			:
			: [count] "r"(b->count), [rseq] "r"(rseq)
			: "rax", "rcx", "memory", "cc");
	}
}

static void start_critical(struct board *b)
{
	guest(in_critical_section, b);
}

TEST_BOTH(critical_sections_of_rseq_are_aborted)
{
	if (!__rseq_size)
		t_skip("libc does not register rseq");
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_critical, b);
	struct freezer *z = new_freezer();
	board_await(&b->count[0], 3);
	int aborted = 0;
	for (int i = 0; i < 50; i++) {
		struct frozen *f = freeze_now(z, pid1);
		uint64_t rip =
			frozen_thread(frozen_proc(f, 0), 0)->regs.rip;
		t_assert(rip < b->count[1] || rip >= b->count[2]);
		aborted += rip == b->count[3];
		uint64_t before = b->count[4];
		bool at_abort = rip == b->count[3];
		thaw(f);
		board_await_more(&b->count[0], 1);
		if (at_abort)
			t_assert(b->count[4] > before);
	}
	t_note("%d of 50 freezes hit the section", aborted);
	t_assert(aborted > 10);
	freezer_free(z);
	pidns_end(pid1);
}

/* --- vfork --- */

static void spawn_loop(struct board *b)
{
	for (;;) {
		pid_t pid;
		char *argv[] = { "true", NULL };
		int status = -1;
		if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ))
			board_wrong(b, 1);
		else if (waitpid(pid, &status, 0) != pid || status)
			board_wrong(b, status);
		b->count[0]++;
	}
}

static void start_spawners(struct board *b)
{
	for (int i = 0; i < 4; i++)
		guest(spawn_loop, b);
}

TEST_BOTH(vfork_loops_freeze_without_failure, .timeout_s = 60)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_spawners, b);
	struct freezer *z = new_freezer();
	board_await(&b->count[0], 10);
	unsigned int retries = 0;
	uint64_t worst_ns = 0;
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t start_ns = clock_now_ns();
		struct frozen *f = freeze_now(z, pid1);
		uint64_t ns = clock_now_ns() - start_ns;
		worst_ns = ns > worst_ns ? ns : worst_ns;
		retries += f->retries;
		thaw(f);
		t_sleep_ms(1);
	}
	board_await_more(&b->count[0], 10);
	t_note("%u retries in %d rounds, slowest %llu us", retries, ROUNDS,
	       (unsigned long long)(worst_ns / 1000));
	t_eq(b->wrong, 0);
	t_eq(freezer_settle(z), 0);
	freezer_free(z);
	pidns_end(pid1);
}

static void long_vfork(struct board *b)
{
	b->pid[0] = getpid();
	pid_t pid = vfork();
	if (pid == 0) {
		b->count[0] = 1;
		while (!b->go)
			syscall(SYS_nanosleep,
				&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	for (;;)
		b->count[1]++;
}

static void bystander(struct board *b)
{
	for (;;)
		b->count[2]++;
}

static void start_long_vfork(struct board *b)
{
	guest(long_vfork, b);
	guest(bystander, b);
}

TEST_BOTH(a_vfork_that_does_not_end_is_refused_by_name)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_long_vfork, b);
	struct freezer *z = new_freezer();
	freezer_set_limits(z, (struct freeze_limits){ 100, 3 });
	board_await(&b->count[0], 1);
	await_state(first_child(pid1), 'D');
	struct frozen *f = NULL;
	struct err e = ERR_INIT;
	t_eq(freeze_tree(z, pid1, &f, &e), -EBUSY);
	t_assert(!f);
	t_eq(e.pid, b->pid[0]);
	t_assert(strstr(e.cause, "vfork"));
	t_assert(e.remedy[0]);
	board_await_more(&b->count[2], 1000);
	b->go = 1;
	for (int i = 0; i < 1000 && !b->count[1]; i++) {
		freezer_settle(z);
		t_sleep_ms(1);
	}
	board_await(&b->count[1], 1000);
	t_eq(freezer_settle(z), 0);
	thaw(freeze_now(z, pid1));
	freezer_free(z);
	pidns_end(pid1);
}

static void busy_vfork(struct board *b)
{
	pid_t pid = vfork();
	if (pid == 0) {
		b->count[0] = 1;
		uint64_t end_ns = clock_now_ns() + 300000000;
		while (clock_now_ns() < end_ns)
			;
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	for (;;)
		b->count[1]++;
}

static void start_busy_vfork(struct board *b)
{
	guest(busy_vfork, b);
}

/* What a child at work on its exec is, where many want the processors. */
TEST_BOTH(a_vfork_is_waited_for_while_its_child_works)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_busy_vfork, b);
	struct freezer *z = new_freezer();
	freezer_set_limits(z, (struct freeze_limits){ 100, 0 });
	board_await(&b->count[0], 1);
	thaw(freeze_now(z, pid1));
	board_await(&b->count[1], 1000);
	t_eq(freezer_settle(z), 0);
	freezer_free(z);
	pidns_end(pid1);
}

/* --- what is refused --- */

static void traced_guest(struct board *b)
{
	b->pid[0] = getpid();
	for (;;)
		b->count[0]++;
}

static void tracing_guest(struct board *b)
{
	pid_t pid = guest(traced_guest, b);
	if (ptrace(PTRACE_SEIZE, pid, 0, 0))
		board_wrong(b, errno);
	b->count[1] = 1;
	for (;;)
		pause();
}

static void start_tracing(struct board *b)
{
	guest(tracing_guest, b);
}

TEST_BOTH(traced_processes_are_refused_by_name)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_tracing, b);
	struct freezer *z = new_freezer();
	board_await(&b->count[1], 1);
	board_await(&b->count[0], 1);
	struct frozen *f = NULL;
	struct err e = ERR_INIT;
	t_eq(b->wrong, 0);
	t_eq(freeze_tree(z, pid1, &f, &e), -EPERM);
	t_eq(e.pid, b->pid[0]);
	t_assert(strstr(e.cause, "traced"));
	board_await_more(&b->count[0], 1000);
	t_eq(freezer_settle(z), 0);
	freezer_free(z);
	pidns_end(pid1);
}

static void fork_storm(struct board *b)
{
	for (;;) {
		pid_t pid = fork();
		if (pid == 0) {
			if (fork() == 0)
				usleep(2000);
			_exit(0);
		}
		if (pid > 0)
			waitpid(pid, NULL, 0);
		__atomic_add_fetch(&b->count[0], 1, __ATOMIC_SEQ_CST);
	}
}

static void start_storm(struct board *b)
{
	for (int i = 0; i < 3; i++)
		guest(fork_storm, b);
}

TEST_BOTH(a_fork_storm_is_frozen_whole, .timeout_s = 60)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_storm, b);
	struct freezer *z = new_freezer();
	board_await(&b->count[0], 10);
	size_t most = 0;
	unsigned int passes = 0;
	for (int round = 0; round < ROUNDS; round++) {
		struct frozen *f = freeze_now(z, pid1);
		uint64_t before = b->count[0];
		if (round % 20 == 0)
			t_sleep_ms(10);
		t_eq(b->count[0], before);
		most = f->procs.n > most ? f->procs.n : most;
		passes = f->passes > passes ? f->passes : passes;
		thaw(f);
	}
	board_await_more(&b->count[0], 10);
	t_note("up to %zu processes and %u passes", most, passes);
	t_eq(freezer_settle(z), 0);
	freezer_free(z);
	pidns_end(pid1);
}

TEST(more_tasks_than_the_limit_are_refused)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_counting, b);
	struct freezer *z = new_freezer();
	freezer_set_limits(z, (struct freeze_limits){ 4, 3 });
	for (int i = 0; i < 5; i++)
		board_await(&b->count[i], 1);
	struct frozen *f = NULL;
	struct err e = ERR_INIT;
	t_eq(freeze_tree(z, pid1, &f, &e), -E2BIG);
	for (int i = 0; i < 5; i++)
		board_await_more(&b->count[i], 1000);
	t_sleep_ms(10);
	t_eq(freezer_settle(z), 0);
	freezer_free(z);
	pidns_end(pid1);
}

TEST(a_process_that_is_no_pid_1_is_refused)
{
	struct freezer *z = new_freezer();
	struct frozen *f = NULL;
	struct err e = ERR_INIT;
	t_eq(freeze_tree(z, getpid(), &f, &e), -EINVAL);
	t_eq(freeze_tree(z, 0x3fffff, &f, &e), -ESRCH);
	freezer_free(z);
}

TEST(a_process_killed_while_frozen_is_reaped_by_its_parent)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_counting, b);
	struct freezer *z = new_freezer();
	board_await(&b->count[4], 1);
	struct frozen *f = freeze_now(z, pid1);
	pid_t pid = frozen_proc(f, 0)->pid;
	kill(pid, SIGKILL);
	thaw(f);
	for (int i = 0; i < 2000 && proc_state(pid) != '-'; i++) {
		freezer_settle(z);
		t_sleep_ms(1);
	}
	t_eq(proc_state(pid), '-');
	t_eq(freezer_settle(z), 0);
	board_await_more(&b->count[4], 1000);
	freezer_free(z);
	pidns_end(pid1);
}

TEST(sigchld_that_the_caller_reads_is_raised_again)
{
	struct board *b = board_new();
	sigset_t chld, pending;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	t_sys(sigprocmask(SIG_BLOCK, &chld, NULL));
	pid_t pid1 = pidns_start(start_counting, b);
	struct freezer *z = new_freezer();
	board_await(&b->count[4], 1);
	struct frozen *f = freeze_now(z, pid1);
	pid_t child = t_fork();
	if (child == 0)
		_exit(0);
	thaw(f);
	do {
		t_sleep_ms(1);
		t_sys(sigpending(&pending));
	} while (!sigismember(&pending, SIGCHLD));
	t_join(child);
	freezer_free(z);
	pidns_end(pid1);
}

/* --- each kernel call fails once --- */

static pid_t tracer_of(pid_t pid)
{
	struct procfs proc;
	struct procfs_status st;
	t_ok(procfs_open(&proc, NULL));
	t_ok(procfs_status(&proc, pid, 0, &st));
	procfs_close(&proc);
	return st.tracer_pid;
}

TEST(each_failing_call_leaves_the_tree_running, .timeout_s = 60)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_counting, b);
	sys_features();	/* probed without faults */
	for (int i = 0; i < 5; i++)
		board_await(&b->count[i], 1);
	struct freezer *z = new_freezer();
	struct frozen *f = freeze_now(z, pid1);
	pid_t pids[2] = { frozen_proc(f, 0)->pid, frozen_proc(f, 1)->pid };
	thaw(f);
	int failed = 0;
	uint64_t n = 1;
	for (;; n++) {
		f = NULL;
		struct err e = ERR_INIT;
		sys_fault_arm(n, EIO);
		int r = freeze_tree(z, pid1, &f, &e);
		if (r == 0)
			thaw(f);
		else if (!e.cause[0])
			t_fail("call %llu (%s) failed without a cause",
			       (unsigned long long)n, sys_fault_fired());
		failed += r < 0;
		const char *fired = sys_fault_fired();
		sys_fault_arm(0, 0);
		for (int i = 0; i < 2000 && freezer_settle(z); i++)
			t_sleep_ms(1);
		for (int i = 0; i < 2; i++)
			if (tracer_of(pids[i]))
				t_fail("still traced after call %llu (%s)",
				       (unsigned long long)n, fired);
		board_await_more(&b->count[0], 1);
		board_await_more(&b->count[4], 1);
		if (!fired)
			break;
	}
	t_note("%llu calls, %d of them made it fail", (unsigned long long)n - 1,
	       failed);
	t_assert(failed > 10);
	freezer_free(z);
	pidns_end(pid1);
}

TEST(a_failed_freeze_leaves_sleepers_undisturbed, .timeout_s = 60)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_sleepers, b);
	sys_features();
	struct freezer *z = new_freezer();
	for (int i = 0; i < SLEEPERS; i++)
		board_await(&b->count[i], 3);
	int failed = 0;
	for (uint64_t n = 1; n <= 300; n++) {
		struct frozen *f = NULL;
		sys_fault_arm(n, EIO);
		if (freeze_tree(z, pid1, &f, NULL))
			failed++;
		else
			thaw(f);
		sys_fault_arm(0, 0);
		for (int i = 0; i < 2000 && freezer_settle(z); i++)
			t_sleep_ms(1);
		if (n % 4 == 0)
			t_sleep_ms(4);
	}
	for (int i = 0; i < SLEEPERS; i++)
		board_await_more(&b->count[i], 3);
	t_note("%d of 300 freezes failed", failed);
	if (b->wrong)
		t_fail("guests saw %d wrong results, the last %d",
		       (int)b->wrong, (int)b->wrong_what);
	freezer_free(z);
	pidns_end(pid1);
}

/* --- how long it takes --- */

static void idle(struct board *b)
{
	__atomic_add_fetch(&b->count[0], 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
}

static void start_2(struct board *b)
{
	for (int i = 0; i < 2; i++)
		guest(idle, b);
}

static void start_10(struct board *b)
{
	for (int i = 0; i < 10; i++)
		guest(idle, b);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void measure(void (*start)(struct board *), unsigned int n)
{
	enum { N = 101 };
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start, b);
	board_await(&b->count[0], n);
	struct freezer *z = new_freezer();
	uint64_t freeze_ns[N], thaw_ns[N];
	for (int i = 0; i < N; i++) {
		uint64_t t0 = clock_now_ns();
		struct frozen *f = freeze_now(z, pid1);
		uint64_t t1 = clock_now_ns();
		thaw(f);
		thaw_ns[i] = clock_now_ns() - t1;
		freeze_ns[i] = t1 - t0;
		t_sleep_ms(2);
	}
	qsort(freeze_ns, N, sizeof(freeze_ns[0]), by_value);
	qsort(thaw_ns, N, sizeof(thaw_ns[0]), by_value);
	t_note("%u processes: freeze p50 %llu us p95 %llu us, thaw %llu us", n,
	       (unsigned long long)freeze_ns[N / 2] / 1000,
	       (unsigned long long)freeze_ns[N * 95 / 100] / 1000,
	       (unsigned long long)thaw_ns[N / 2] / 1000);
	freezer_free(z);
	pidns_end(pid1);
}

TEST_BOTH(times_of_a_freeze)
{
	measure(start_2, 2);
	measure(start_10, 10);
}
