/* Stopping and driving a live process: what it sees of that. */
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kernel/facts.h"

static void stop(pid_t pid)
{
	int status;
	t_sys(ptrace(PTRACE_INTERRUPT, pid, 0, 0));
	t_eq(waitpid(pid, &status, __WALL), pid);
	t_assert(WIFSTOPPED(status));
}

/* Wait until the process sleeps in a system call. */
static void wait_asleep(pid_t pid)
{
	char path[64], state = 0;
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	for (int i = 0; i < 500; i++) {
		FILE *f = fopen(path, "re");
		t_assert(f);
		int n = fscanf(f, "%*d (%*[^)]) %c", &state);
		fclose(f);
		if (n == 1 && state == 'S')
			return;
		t_sleep_ms(2);
	}
	t_fail("process %d did not fall asleep (state %c)", pid, state);
}

/* Freeze and thaw a child that runs fn; its exit status. */
static int freeze_thaw(void (*fn)(void))
{
	pid_t pid = t_fork();
	if (pid == 0) {
		fn();
		_exit(99);
	}
	wait_asleep(pid);
	t_sys(ptrace(PTRACE_SEIZE, pid, 0, 0));
	stop(pid);
	t_sys(ptrace(PTRACE_DETACH, pid, 0, 0));
	return t_wait(pid);
}

static void in_epoll_wait(void)
{
	struct epoll_event event;
	int fd = epoll_create1(0);
	_exit(epoll_wait(fd, &event, 1, 300) < 0 ? errno : 0);
}

static void in_sigtimedwait(void)
{
	struct timespec ts = {.tv_nsec = 300000000};
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	_exit(sigtimedwait(&set, NULL, &ts) < 0 ? errno : 0);
}

static void in_nanosleep(void)
{
	struct timespec ts = {.tv_nsec = 300000000};
	_exit(nanosleep(&ts, NULL) < 0 ? errno : 0);
}

static void in_poll(void)
{
	_exit(poll(NULL, 0, 300) < 0 ? errno : 0);
}

static void in_futex(void)
{
	struct timespec ts = {.tv_nsec = 300000000};
	uint32_t word = 0;
	_exit(syscall(SYS_futex, &word, FUTEX_WAIT, 0, &ts, NULL, 0) < 0 ? errno : 0);
}

/* A plain freeze disturbs these two: their EINTR must be rewritten. */
TEST(epoll_wait_and_sigtimedwait_see_eintr_at_a_freeze)
{
	int epoll = freeze_thaw(in_epoll_wait), timed = freeze_thaw(in_sigtimedwait);
	t_note("epoll_wait ends with %s, sigtimedwait with %s", strerror(epoll), strerror(timed));
	t_eq(epoll, EINTR);
	t_eq(timed, EINTR);
}

TEST(nanosleep_poll_and_futex_go_on_after_a_freeze)
{
	t_eq(freeze_thaw(in_nanosleep), 0);
	t_eq(freeze_thaw(in_poll), 0);
	t_eq(freeze_thaw(in_futex), ETIMEDOUT);
}

static void on_trap(int sig)
{
}

/* The end of injected code: int3 with SIGTRAP blocked forgets its handler. */
TEST(int3_with_sigtrap_blocked_resets_its_handler)
{
	pid_t pid = t_fork();
	if (pid == 0) {
		sigset_t set;
		struct sigaction sa;
		signal(SIGTRAP, on_trap);
		sigemptyset(&set);
		sigaddset(&set, SIGTRAP);
		sigprocmask(SIG_BLOCK, &set, NULL);
		raise(SIGSTOP);
		__asm__ volatile("int3");
		sigaction(SIGTRAP, NULL, &sa);
		_exit(sa.sa_handler == SIG_DFL ? 10 : 11);
	}
	int status;
	t_eq(waitpid(pid, &status, WUNTRACED), pid);
	t_sys(ptrace(PTRACE_SEIZE, pid, 0, 0));
	t_sys(kill(pid, SIGCONT));
	for (;;) {
		t_eq(waitpid(pid, &status, __WALL), pid);
		if (!WIFSTOPPED(status))
			break;
		int sig = WSTOPSIG(status);
		bool trap = sig == SIGTRAP && status >> 16 == 0;
		t_sys(ptrace(PTRACE_CONT, pid, 0, trap || status >> 16 ? 0 : sig));
	}
	t_assert(WIFEXITED(status));
	t_eq(WEXITSTATUS(status), 10);
}

TEST(execve_moves_the_vdso)
{
	/* of ten execs at least two differ, unless addresses are not random */
	char first[64] = "", text[64];
	int fd = open("/proc/sys/kernel/randomize_va_space", O_RDONLY | O_CLOEXEC);
	char level = '0';
	if (fd < 0 || read(fd, &level, 1) != 1 || level == '0')
		t_skip("address space randomization is off here");
	close(fd);
	for (int i = 0; i < 10; i++) {
		FILE *f = popen("grep vdso /proc/self/maps", "re");
		t_assert(f && fgets(text, sizeof(text), f));
		pclose(f);
		if (!*first)
			strcpy(first, text);
		if (strcmp(first, text) != 0)
			return;
	}
	t_fail("ten execs, one vdso address: %s", first);
}

TEST(group_stop_is_reported_with_its_signal_and_survives_detach)
{
	pid_t pid = t_fork();
	if (pid == 0) {
		raise(SIGSTOP);
		_exit(5);
	}
	int status;
	t_eq(waitpid(pid, &status, WUNTRACED), pid);
	t_sys(ptrace(PTRACE_SEIZE, pid, 0, 0));
	t_sys(ptrace(PTRACE_INTERRUPT, pid, 0, 0));
	t_eq(waitpid(pid, &status, __WALL), pid);
	t_eq(status >> 16, PTRACE_EVENT_STOP);
	t_eq(WSTOPSIG(status), SIGSTOP);
	t_sys(ptrace(PTRACE_DETACH, pid, 0, 0));
	t_sleep_ms(50);
	t_eq(waitpid(pid, &status, WNOHANG), 0);
	t_sys(kill(pid, SIGCONT));
	t_eq(t_wait(pid), 5);
}

/* vfork's parent is in an uninterruptible wait while the child lives. */
TEST(vfork_parent_does_not_stop_while_its_child_is_frozen)
{
	int status;
	volatile pid_t *child =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	t_assert(child != MAP_FAILED);
	pid_t pid = t_fork();
	if (pid == 0) {
		pid_t c = vfork();
		if (c == 0) {
			*child = getpid();
			for (;;) {
				struct timespec ts = {.tv_sec = 5};
				if (nanosleep(&ts, NULL) == 0)
					_exit(0);
			}
		}
		_exit(c < 0);
	}
	while (!*child)
		t_sleep_ms(1);
	t_sys(ptrace(PTRACE_SEIZE, *child, 0, 0));
	stop(*child);
	t_sys(ptrace(PTRACE_SEIZE, pid, 0, 0));
	t_sys(ptrace(PTRACE_INTERRUPT, pid, 0, 0));
	t_sleep_ms(100);
	t_eq(waitpid(pid, &status, WNOHANG | __WALL), 0);
	/* let go: once the child ends, the parent stops at once */
	t_sys(kill(*child, SIGKILL));
	t_eq(waitpid(pid, &status, __WALL), pid);
	t_assert(WIFSTOPPED(status));
	t_sys(ptrace(PTRACE_DETACH, pid, 0, 0));
	t_eq(t_wait(pid), 0);
	while (waitpid(*child, &status, __WALL) < 0 && errno == EINTR)
		;
}

TEST(gate_page_may_be_read_only)
{
	uint32_t *gate =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	t_assert(gate != MAP_FAILED);
	pid_t pid = t_fork();
	if (pid == 0) {
		t_sys(mprotect(gate, PAGE, PROT_READ));
		while (*(volatile uint32_t *)gate == 0)
			if (syscall(SYS_futex, gate, FUTEX_WAIT, 0, NULL, NULL, 0) < 0 &&
			    errno != EAGAIN && errno != EINTR)
				_exit(errno);
		_exit(0);
	}
	wait_asleep(pid);
	fact_set_word(gate, 1);
	t_join(pid);
}
