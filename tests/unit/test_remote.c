#include "task/remote.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "puppet/blob.h"
#include "sys/fault.h"
#include "sys/probe.h"
#include "sys/proc.h"
#include "unit/pidns.h"

static const struct remote_puppet no_puppet = { 0 };

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

/* Ask process i for its pid and parent through the puppet. */
static int ask(struct frozen *f, size_t i, struct err *e)
{
	scoped_remote struct remote r = REMOTE_INIT;
	int ret = remote_begin(&r, f, i, &no_puppet, 16384, e);
	if (ret)
		return ret;
	struct prog p;
	prog_init(&p, &r.arena);
	size_t pid = prog_sys(&p, SYS_getpid, 0);
	size_t ppid = prog_sys(&p, SYS_getppid, 0);
	size_t bad = prog_sys(&p, SYS_close, (uint64_t)-1);
	prog_mayfail(&p);
	uint64_t start = prog_seal(&p);
	ret = remote_run(&r, start, e);
	if (ret == 0) {
		const struct frozen_proc *proc = frozen_proc(f, i);
		int parent = proc->parent < 0 ?
				     1 :
				     frozen_proc(f, (size_t)proc->parent)->ns_pid;
		t_eq(prog_status(&r.arena)->failed, 0);
		t_eq(prog_result(&p, pid), proc->ns_pid);
		t_eq(prog_result(&p, ppid), parent);
		t_eq(prog_result(&p, bad), -EBADF);
	}
	prog_deinit(&p);
	int end = remote_end(&r, ret ? NULL : e);
	return ret ? ret : end;
}

static void ask_all(struct frozen *f)
{
	for (size_t i = 0; i < f->procs.n; i++) {
		struct err e = ERR_INIT;
		if (!frozen_proc(f, i)->zombie)
			t_ok_e(ask(f, i, &e), &e);
	}
}

/* --- guests asleep in every kind of call --- */

static void check(struct board *b, int slot, long r, long want)
{
	if (r != want)
		board_wrong(b, slot * 1000 + (r < 0 ? errno : 900));
	b->count[slot]++;
}

/* The sleep must take its time: restarted whole it would be too long. */
static void sleep_nano(struct board *b)
{
	for (;;) {
		struct timespec ts = { 0, 40000000 };
		uint64_t start_ns = clock_now_ns();
		check(b, 0, syscall(SYS_nanosleep, &ts, NULL), 0);
		uint64_t ns = clock_now_ns() - start_ns;
		if (ns < 40000000)
			board_wrong(b, 800);
		if (ns > b->count[100])
			b->count[100] = ns;
	}
}

static void sleep_poll(struct board *b)
{
	for (;;)
		check(b, 1, poll(NULL, 0, 10), 0);
}

static void sleep_epoll(struct board *b)
{
	int fd = epoll_create1(0);
	struct epoll_event ev;
	for (;;)
		check(b, 2, epoll_wait(fd, &ev, 1, 3), 0);
}

static void sleep_futex(struct board *b)
{
	static int word;
	for (;;) {
		struct timespec ts = { 0, 10000000 };
		errno = 0;
		long r = syscall(SYS_futex, &word, 0, 0, &ts, NULL, 0);
		check(b, 3, r == -1 && errno == ETIMEDOUT ? 0 : -1, 0);
	}
}

static void ping_pong(struct board *b)
{
	int to[2], from[2];
	check(b, 4, pipe(to) | pipe(from), 0);
	char c = 0;
	if (fork() == 0)
		for (;;) {
			usleep(1000);
			check(b, 5, read(to[0], &c, 1), 1);
			check(b, 5, write(from[1], &c, 1), 1);
		}
	for (;;) {
		check(b, 4, write(to[1], &c, 1), 1);
		check(b, 4, read(from[0], &c, 1), 1);
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
		check(b, 6, wait4(pid, &status, 0, NULL), pid);
		check(b, 6, WEXITSTATUS(status), 3);
	}
}

static volatile sig_atomic_t handled;

static void on_signal(int sig)
{
	handled++;
}

static void send_and_await(struct board *b, int slot, pid_t to, int ack_fd)
{
	for (;;) {
		char c;
		kill(to, SIGUSR1);
		check(b, slot, read(ack_fd, &c, 1), 1);
		usleep(1000);
	}
}

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
	check(b, 7, pipe(ack), 0);
	if (fork() == 0)
		send_and_await(b, 8, me, ack[0]);
	for (int n = 1;; n++) {
		check(b, 7, sigsuspend(&none) == -1 && errno == EINTR ? 0 : -1,
		      0);
		check(b, 7, handled, n);
		check(b, 7, write(ack[1], "", 1), 1);
	}
}

static void pauses(struct board *b)
{
	struct sigaction act = { .sa_handler = on_signal };
	sigaction(SIGUSR1, &act, NULL);
	b->pid[0] = getpid();
	b->count[101] = 1;
	for (int n = 1;; n++) {
		check(b, 9, pause() == -1 && errno == EINTR ? 0 : -1, 0);
		check(b, 9, handled, n);
	}
}

/* Registers that change behind the loop's back end it. */
static void spin(struct board *b)
{
	for (;;) {
		uint64_t bad;
		__asm__ volatile(
			"mov $0x1111, %%rbx\n mov $0x2222, %%r12\n"
			"movq %%rbx, %%xmm3\n movq %%r12, %%xmm15\n"
			"mov $200000, %%rcx\n"
			"1: cmp $0x1111, %%rbx\n jne 2f\n"
			"cmp $0x2222, %%r12\n jne 2f\n"
			"movq %%xmm3, %%rdx\n cmp $0x1111, %%rdx\n jne 2f\n"
			"movq %%xmm15, %%rdx\n cmp $0x2222, %%rdx\n jne 2f\n"
			"dec %%rcx\n jnz 1b\n"
			"xor %0, %0\n jmp 3f\n"
			"2: mov $1, %0\n"
			"3:\n"
			: "=r"(bad)
			:
			: "rbx", "rcx", "rdx", "r12", "xmm3", "xmm15", "cc");
		check(b, 10, (long)bad, 0);
	}
}

static void start_all(struct board *b)
{
	guest(sleep_nano, b);
	guest(sleep_poll, b);
	guest(sleep_epoll, b);
	guest(sleep_futex, b);
	guest(ping_pong, b);
	guest(wait_children, b);
	guest(suspend, b);
	guest(pauses, b);
	guest(spin, b);
}

TEST_BOTH(programs_run_in_sleepers_and_leave_them_undisturbed, .timeout_s = 60)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_all, b);
	struct freezer *z = new_freezer();
	for (int i = 0; i < 9; i++)
		board_await(&b->count[i], 3);
	board_await(&b->count[10], 1);
	for (int round = 0; round < 100; round++) {
		struct frozen *f = freeze_now(z, pid1);
		ask_all(f);
		int i = frozen_find(f, b->pid[0]);
		t_assert(i >= 0);
		pid_t pauser = frozen_proc(f, (size_t)i)->pid;
		thaw(f);
		t_sleep_ms(3);
		uint64_t n = b->count[9];
		kill(pauser, SIGUSR1);
		board_await(&b->count[9], n + 1);
	}
	for (int i = 0; i < 9; i++)
		board_await_more(&b->count[i], 3);
	board_await_more(&b->count[10], 1);
	t_note("a sleep of 40 ms took at most %d us",
	       (int)(b->count[100] / 1000));
	if (b->wrong)
		t_fail("guests saw %d wrong results, the last %d",
		       (int)b->wrong, (int)b->wrong_what);
	t_eq(freezer_settle(z), 0);
	freezer_free(z);
	pidns_end(pid1);
}

/* --- one idle guest --- */

static void idle(struct board *b)
{
	b->pid[0] = getpid();
	__atomic_add_fetch(&b->count[0], 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
}

static void start_idle(struct board *b)
{
	guest(idle, b);
}

static char *read_maps(pid_t pid)
{
	struct procfs proc;
	t_ok(procfs_open(&proc, NULL));
	t_ok(procfs_read(&proc, pid, 0, "maps"));
	char *text = strdup(proc.text.data);
	procfs_close(&proc);
	return text;
}

TEST(nothing_stays_mapped_and_registers_are_the_same)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_idle, b);
	struct freezer *z = new_freezer();
	board_await(&b->count[0], 1);
	struct frozen *f = freeze_now(z, pid1);
	pid_t pid = frozen_proc(f, 0)->pid;
	char *before = read_maps(pid);
	struct user_regs_struct regs;
	uint8_t xstate[2][SYS_XSTATE_MAX];
	int len = t_ok(sys_ptrace_get_xstate(pid, xstate[0], SYS_XSTATE_MAX));
	for (int i = 0; i < 5; i++)
		ask_all(f);
	t_ok(sys_ptrace_get_regs(pid, &regs));
	t_mem_eq(&regs, &frozen_thread(frozen_proc(f, 0), 0)->regs,
		 sizeof(regs));
	t_eq(sys_ptrace_get_xstate(pid, xstate[1], SYS_XSTATE_MAX), len);
	t_mem_eq(xstate[0], xstate[1], (size_t)len);
	char *after = read_maps(pid);
	t_str_eq(after, before);
	free(before);
	free(after);
	thaw(f);
	freezer_free(z);
	pidns_end(pid1);
}

TEST(a_failing_operation_is_reported_in_the_status)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_idle, b);
	struct freezer *z = new_freezer();
	board_await(&b->count[0], 1);
	struct frozen *f = freeze_now(z, pid1);
	struct err e = ERR_INIT;
	struct remote r;
	t_ok_e(remote_begin(&r, f, 0, &no_puppet, 16384, &e), &e);
	for (int i = 0; i < 2; i++) {
		struct prog p;
		prog_init(&p, &r.arena);
		prog_sys(&p, SYS_getpid, 0);
		prog_sys(&p, SYS_dup, 4711);
		prog_sys(&p, SYS_getpid, 0);
		uint64_t start = prog_seal(&p);
		t_ok_e(remote_run(&r, start, &e), &e);
		t_eq(prog_status(&r.arena)->failed, 1);
		t_eq(prog_status(&r.arena)->error, EBADF);
		t_eq(prog_status(&r.arena)->failed_op,
		     start + sizeof(struct pup_op));
		t_eq(prog_status(&r.arena)->failed_pid, b->pid[0]);
		prog_deinit(&p);
	}
	int64_t pid = 0;
	t_ok_e(remote_syscall(&r, SYS_getpid, (uint64_t[6]){ 0 }, &pid, &e),
	       &e);
	t_eq(pid, b->pid[0]);
	t_ok_e(remote_end(&r, &e), &e);
	thaw(f);
	freezer_free(z);
	pidns_end(pid1);
}

/* --- signals --- */

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

TEST_BOTH(a_stopped_process_answers_and_stays_stopped)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_stopped, b);
	struct freezer *z = new_freezer();
	board_await(&b->count[0], 1);
	await_state(first_child(pid1), 'T');
	pid_t pid = 0;
	for (int i = 0; i < 10; i++) {
		struct frozen *f = freeze_now(z, pid1);
		struct frozen_thread *t = frozen_thread(frozen_proc(f, 0), 0);
		t_eq(t->stop, FREEZE_GROUP);
		pid = t->tid;
		ask_all(f);
		thaw(f);
		await_state(pid, 'T');
	}
	t_eq(b->count[1], 0);
	kill(pid, SIGCONT);
	board_await(&b->count[1], 1000);
	freezer_free(z);
	pidns_end(pid1);
}

static struct board *volatile trap_board;

static void on_trap(int sig, siginfo_t *info, void *context)
{
	if (info->si_code != SI_QUEUE || info->si_value.sival_int != 77)
		board_wrong(trap_board, info->si_code);
	trap_board->count[1]++;
}

/* A guest that uses SIGTRAP itself: ignored, then pending with a value. */
static void trap_guest(struct board *b)
{
	trap_board = b;
	signal(SIGTRAP, SIG_IGN);
	b->count[0] = 1;
	while (b->go < 1)
		usleep(1000);
	struct sigaction act;
	sigaction(SIGTRAP, NULL, &act);
	if (act.sa_handler != SIG_IGN)
		board_wrong(b, 1);
	sigset_t trap;
	sigemptyset(&trap);
	sigaddset(&trap, SIGTRAP);
	sigprocmask(SIG_BLOCK, &trap, NULL);
	act = (struct sigaction){ .sa_sigaction = on_trap,
				  .sa_flags = SA_SIGINFO };
	sigaction(SIGTRAP, &act, NULL);
	sigqueue(getpid(), SIGTRAP, (union sigval){ .sival_int = 77 });
	b->count[0] = 2;
	while (b->go < 2)
		usleep(1000);
	if (b->count[1])
		board_wrong(b, 2);
	sigprocmask(SIG_UNBLOCK, &trap, NULL);
	if (b->count[1] != 1)
		board_wrong(b, 3);
	struct sigaction now;
	sigaction(SIGTRAP, NULL, &now);
	if (now.sa_sigaction != on_trap)
		board_wrong(b, 4);
	b->count[0] = 3;
	for (;;)
		pause();
}

static void start_trap(struct board *b)
{
	guest(trap_guest, b);
}

TEST_BOTH(a_guest_that_uses_sigtrap_keeps_it)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_trap, b);
	struct freezer *z = new_freezer();
	for (int stage = 1; stage <= 2; stage++) {
		board_await(&b->count[0], (uint64_t)stage);
		for (int i = 0; i < 10; i++) {
			struct frozen *f = freeze_now(z, pid1);
			ask_all(f);
			thaw(f);
			t_sleep_ms(3);
		}
		b->go = stage;
	}
	board_await(&b->count[0], 3);
	if (b->wrong)
		t_fail("wrong %d, %d", (int)b->wrong, (int)b->wrong_what);
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

TEST_BOTH(signals_survive_remote_programs_with_their_values, .timeout_s = 60)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_signals, b);
	struct freezer *z = new_freezer();
	board_await(&b->count[0], 100);
	int kept = 0;
	for (int round = 0; round < 300; round++) {
		struct frozen *f = freeze_now(z, pid1);
		kept += frozen_thread(frozen_proc(f, 0), 0)->stop ==
			FREEZE_SIGNAL;
		ask_all(f);
		thaw(f);
		if (round % 50 == 0)
			t_sleep_ms(3);
	}
	board_await_more(&b->count[0], 1000);
	t_note("%d of 300 stops were at a signal", kept);
	if (b->wrong)
		t_fail("%d signals were lost or changed, the last is %d",
		       (int)b->wrong, (int)b->wrong_what);
	freezer_free(z);
	pidns_end(pid1);
}

/* --- what is refused --- */

static void filtered_guest(struct board *b)
{
	/* kills the process for getpid, which our program calls */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { sizeof(code) / sizeof(code[0]), code };
	b->pid[0] = getpid();
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
		board_wrong(b, errno);
	for (;;)
		b->count[0]++;
}

static void start_filtered(struct board *b)
{
	guest(filtered_guest, b);
}

TEST_BOTH(a_guest_with_a_killing_filter_survives_unharmed)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_filtered, b);
	struct freezer *z = new_freezer();
	board_await(&b->count[0], 1000);
	bool root = sys_has(SYS_F_SUSPEND_SECCOMP);
	for (int i = 0; i < 5; i++) {
		struct frozen *f = freeze_now(z, pid1);
		struct err e = ERR_INIT;
		int r = ask(f, 0, &e);
		if (root) {
			t_ok_e(r, &e);
		} else {
			t_eq(r, -EPERM);
			t_assert(strstr(e.cause, "seccomp"));
			t_eq(e.pid, b->pid[0]);
		}
		struct procfs_status st;
		t_ok(procfs_status(freezer_procfs(z), frozen_proc(f, 0)->pid, 0,
				   &st));
		t_eq(st.seccomp, 2);
		thaw(f);
		board_await_more(&b->count[0], 1000);
	}
	t_note("%s", root ? "suspended" : "refused");
	freezer_free(z);
	pidns_end(pid1);
}

static int share_memory(void *arg)
{
	struct board *b = arg;
	b->count[1] = 1;
	for (;;)
		pause();
	return 0;
}

static void sharing_guest(struct board *b)
{
	char *stack = malloc(65536);
	b->pid[0] = getpid();
	clone(share_memory, stack + 65536, CLONE_VM | SIGCHLD, b);
	for (;;)
		pause();
}

static void start_sharing(struct board *b)
{
	guest(sharing_guest, b);
	guest(idle, b);
}

TEST_BOTH(shared_memory_of_processes_is_refused_by_name)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_sharing, b);
	struct freezer *z = new_freezer();
	board_await(&b->count[0], 1);
	board_await(&b->count[1], 1);
	t_sleep_ms(5);
	struct frozen *f = freeze_now(z, pid1);
	t_eq(f->procs.n, 3);
	int sharing = 0;
	for (size_t i = 0; i < 3; i++) {
		struct err e = ERR_INIT;
		int r = ask(f, i, &e);
		if (frozen_proc(f, i)->shares_mm) {
			sharing++;
			t_eq(r, -EBUSY);
			t_assert(strstr(e.cause, "shares"));
			t_eq(e.pid, frozen_proc(f, i)->ns_pid);
		} else {
			t_ok_e(r, &e);
		}
	}
	t_eq(sharing, 2);
	thaw(f);
	freezer_free(z);
	pidns_end(pid1);
}

static void squatting_guest(struct board *b)
{
	b->pid[0] = getpid();
	mmap((void *)(PUP_ARENA + 8192), 4096, PROT_READ,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	for (;;)
		b->count[0]++;
}

static void start_squatting(struct board *b)
{
	guest(squatting_guest, b);
}

TEST(a_mapping_in_the_puppets_range_is_refused)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_squatting, b);
	struct freezer *z = new_freezer();
	board_await(&b->count[0], 1);
	struct frozen *f = freeze_now(z, pid1);
	struct err e = ERR_INIT;
	t_eq(ask(f, 0, &e), -EEXIST);
	t_eq(e.pid, b->pid[0]);
	thaw(f);
	board_await_more(&b->count[0], 1000);
	freezer_free(z);
	pidns_end(pid1);
}

TEST(a_process_killed_meanwhile_is_reported_as_gone)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_idle, b);
	struct freezer *z = new_freezer();
	board_await(&b->count[0], 1);
	struct frozen *f = freeze_now(z, pid1);
	struct err e = ERR_INIT;
	struct remote r;
	t_ok_e(remote_begin(&r, f, 0, &no_puppet, 16384, &e), &e);
	kill(frozen_proc(f, 0)->pid, SIGKILL);
	int64_t result;
	t_eq(remote_syscall(&r, SYS_getpid, (uint64_t[6]){ 0 }, &result, &e),
	     -ESRCH);
	t_eq(remote_end(&r, &e), -ESRCH);
	thaw(f);
	t_eq(freezer_settle(z), 0);
	freezer_free(z);
	pidns_end(pid1);
}

/* --- other threads --- */

static void install_killer(struct board *b)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_gettid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { sizeof(code) / sizeof(code[0]), code };
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
		board_wrong(b, errno);
}

static void *napping_thread(void *arg)
{
	struct board *b = arg;
	for (;;) {
		struct timespec ts = { 0, 1000000 };
		if (nanosleep(&ts, NULL))
			board_wrong(b, errno);
		__atomic_add_fetch(&b->count[1], 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

static void *filtered_thread(void *arg)
{
	struct board *b = arg;
	install_killer(b);
	for (;;)
		b->count[2]++;
	return NULL;
}

static void threaded_guest(struct board *b)
{
	pthread_t t;
	pthread_create(&t, NULL, napping_thread, b);
	pthread_create(&t, NULL, napping_thread, b);
	pthread_create(&t, NULL, filtered_thread, b);
	for (;;)
		b->count[0]++;
}

static void start_threaded(struct board *b)
{
	guest(threaded_guest, b);
}

TEST_BOTH(each_thread_answers_for_itself)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_threaded, b);
	struct freezer *z = new_freezer();
	board_await(&b->count[2], 1000);
	bool root = sys_has(SYS_F_SUSPEND_SECCOMP);
	for (int i = 0; i < 20; i++) {
		struct frozen *f = freeze_now(z, pid1);
		const struct frozen_proc *proc = frozen_proc(f, 0);
		struct err e = ERR_INIT;
		struct remote r;
		t_eq(proc->threads.n, 4);
		t_ok_e(remote_begin(&r, f, 0, &no_puppet, 32768, &e), &e);
		int refused = 0;
		for (size_t k = 0; k < 4; k++) {
			struct prog p;
			prog_init(&p, &r.arena);
			size_t op = prog_sys(&p, SYS_gettid, 0);
			uint64_t start = prog_seal(&p);
			int ret = remote_run_thread(&r, k, start, &e);
			if (ret == -EPERM && !root) {
				refused++;
			} else {
				t_ok_e(ret, &e);
				t_eq(prog_result(&p, op),
				     frozen_thread(proc, k)->ns_tid);
			}
			prog_deinit(&p);
		}
		t_eq(refused, root ? 0 : 1);
		t_ok_e(remote_end(&r, &e), &e);
		for (size_t k = 0; k < 4; k++) {
			const struct frozen_thread *t = frozen_thread(proc, k);
			struct user_regs_struct regs;
			t_ok(sys_ptrace_get_regs(t->tid, &regs));
			t_mem_eq(&regs, &t->regs, sizeof(regs));
		}
		thaw(f);
		for (int k = 0; k < 3; k++)
			board_await_more(&b->count[k], 3);
	}
	t_eq(b->wrong, 0);
	t_eq(freezer_settle(z), 0);
	freezer_free(z);
	pidns_end(pid1);
}

/* --- the blob that a restore left --- */

enum { GUEST_BLOB_FD = 100 };

static void blob_guest(struct board *b)
{
	uint64_t data = puppet_mem_bytes - puppet_text_bytes;
	void *text = mmap((void *)PUP_LOW, puppet_text_bytes,
			  PROT_READ | PROT_EXEC,
			  MAP_PRIVATE | MAP_FIXED_NOREPLACE, GUEST_BLOB_FD, 0);
	if (text != (void *)PUP_LOW)
		board_wrong(b, errno);
	if (data)
		mmap((void *)(PUP_LOW + puppet_text_bytes), data,
		     PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_FIXED_NOREPLACE | MAP_ANONYMOUS, -1, 0);
	b->count[0] = 1;
	while (!b->go)
		usleep(1000);
	/* a guest that changes it gets a fresh one injected */
	mprotect(text, puppet_text_bytes, PROT_READ | PROT_WRITE);
	memset(text, 0xcc, 64);
	mprotect(text, puppet_text_bytes, PROT_READ | PROT_EXEC);
	b->count[0] = 2;
	for (;;)
		pause();
}

static void start_blob(struct board *b)
{
	guest(blob_guest, b);
}

TEST_BOTH(a_resident_blob_is_used_only_while_it_is_ours)
{
	struct board *b = board_new();
	int fd = (int)t_sys(memfd_create("blob", 0));
	t_eq(write(fd, puppet_blob, puppet_text_bytes),
	     (ssize_t)puppet_text_bytes);
	t_sys(dup2(fd, GUEST_BLOB_FD));
	close(fd);
	struct stat st;
	t_sys(fstat(GUEST_BLOB_FD, &st));
	struct remote_puppet puppet = { st.st_dev, st.st_ino, 0 };
	pid_t pid1 = pidns_start(start_blob, b);
	struct freezer *z = new_freezer();
	for (int stage = 1; stage <= 2; stage++) {
		board_await(&b->count[0], (uint64_t)stage);
		struct frozen *f = freeze_now(z, pid1);
		struct err e = ERR_INIT;
		struct remote r;
		t_ok_e(remote_begin(&r, f, 0, &puppet, 16384, &e), &e);
		t_eq(r.resident, stage == 1);
		struct prog p;
		prog_init(&p, &r.arena);
		size_t op = prog_sys(&p, SYS_getppid, 0);
		t_ok_e(remote_run(&r, prog_seal(&p), &e), &e);
		t_eq(prog_result(&p, op), 1);
		prog_deinit(&p);
		t_ok_e(remote_end(&r, &e), &e);
		thaw(f);
		b->go = 1;
	}
	t_eq(b->wrong, 0);
	close(GUEST_BLOB_FD);
	freezer_free(z);
	pidns_end(pid1);
}

/* --- each kernel call fails once --- */

static void busy_guest(struct board *b)
{
	for (;;) {
		struct timespec ts = { 0, 100000 };
		if (nanosleep(&ts, NULL))
			board_wrong(b, errno);
		b->count[0]++;
	}
}

static void start_busy(struct board *b)
{
	guest(busy_guest, b);
}

TEST(each_failing_call_leaves_the_guest_as_it_was, .timeout_s = 60)
{
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_busy, b);
	sys_features();
	struct freezer *z = new_freezer();
	board_await(&b->count[0], 1);
	struct frozen *f = freeze_now(z, pid1);
	pid_t pid = frozen_proc(f, 0)->pid;
	char *maps = read_maps(pid);
	thaw(f);
	int failed = 0;
	uint64_t n = 1;
	for (;; n++) {
		f = freeze_now(z, pid1);
		struct err e = ERR_INIT;
		sys_fault_arm(n, EIO);
		int r = ask(f, 0, &e);
		const char *fired = sys_fault_fired();
		sys_fault_arm(0, 0);
		if (r < 0 && !e.cause[0])
			t_fail("call %llu (%s) failed without a cause",
			       (unsigned long long)n, fired);
		failed += r < 0;
		if (getenv("FAULT_TRACE"))
			t_note("%llu %s: %d %s", (unsigned long long)n, fired, r,
			       e.cause);
		thaw(f);
		t_eq(freezer_settle(z), 0);
		char *now = read_maps(pid);
		if (strcmp(now, maps))
			t_fail("call %llu (%s): other mappings",
			       (unsigned long long)n, fired);
		free(now);
		board_await_more(&b->count[0], 2);
		if (!fired)
			break;
	}
	free(maps);
	t_note("%llu calls, %d of them made it fail", (unsigned long long)n - 1,
	       failed);
	t_assert(failed >= 10);
	t_eq(b->wrong, 0);
	freezer_free(z);
	pidns_end(pid1);
}

/* --- how long it takes --- */

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static unsigned int median_us(uint64_t *ns, size_t n)
{
	qsort(ns, n, sizeof(*ns), by_value);
	return (unsigned int)(ns[n / 2] / 1000);
}

TEST_BOTH(times_of_a_remote_program)
{
	enum { N = 101 };
	struct board *b = board_new();
	pid_t pid1 = pidns_start(start_idle, b);
	struct freezer *z = new_freezer();
	board_await(&b->count[0], 1);
	uint64_t begin[N], run[N], end[N];
	for (int i = 0; i < N; i++) {
		struct frozen *f = freeze_now(z, pid1);
		struct err e = ERR_INIT;
		struct remote r;
		uint64_t t0 = clock_now_ns();
		t_ok_e(remote_begin(&r, f, 0, &no_puppet, 65536, &e), &e);
		struct prog p;
		prog_init(&p, &r.arena);
		for (int k = 0; k < 64; k++)
			prog_sys(&p, SYS_getppid, 0);
		uint64_t start = prog_seal(&p);
		uint64_t t1 = clock_now_ns();
		t_ok_e(remote_run(&r, start, &e), &e);
		uint64_t t2 = clock_now_ns();
		t_ok_e(remote_end(&r, &e), &e);
		end[i] = clock_now_ns() - t2;
		run[i] = t2 - t1;
		begin[i] = t1 - t0;
		prog_deinit(&p);
		thaw(f);
		t_sleep_ms(1);
	}
	t_note("begin %u us, run of 64 calls %u us, end %u us (p50)",
	       median_us(begin, N), median_us(run, N), median_us(end, N));
	freezer_free(z);
	pidns_end(pid1);
}
