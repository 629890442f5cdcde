/*
 * main.c - mulligan-init: PID 1 of every incarnation.
 *
 * It reaps, starts commands when the keeper asks, and keeps the namespace
 * alive as long as the keeper lives. It is made anew by every rollback and
 * keeps nothing that matters.
 *
 * What protects it from the guest:
 *  1. Every signal but SIGCHLD has its default disposition and is not
 *     blocked: the kernel drops those for PID 1 of a namespace, SIGKILL and
 *     SIGSTOP too, unless they come from outside (pid_namespaces(7)). A blocked
 *     one would queue up instead.
 *  2. It is not dumpable: reading or tracing it takes CAP_SYS_PTRACE, which
 *     the bounding set must not have.
 *  3. It opens no file of the guest's. Only the child that becomes a command
 *     walks the guest's paths, with the command's identity.
 *
 * A command's child borrows init's memory until it executes (CLONE_VFORK), so
 * that a checkpoint never sees half a command. If the guest stops that child
 * or makes its exec hang, init waits; the keeper kills it from outside.
 */
#include "sandbox/init/internal.h"

#include <asm/fcntl.h>
#include <asm/poll.h>
#include <asm/signal.h>
#include <linux/prctl.h>
#include <linux/wait.h>

enum {
	SIGNALS = 64,
	SFD_FLAGS = O_CLOEXEC | O_NONBLOCK,
	SIGINFO_BYTES = 128,
	FIRST_OTHER_FD = INIT_CONFINE_FD + 1,
};

struct kernel_sigaction {
	void *handler;
	unsigned long flags;
	void *restorer;
	uint64_t mask;
};

struct kernel_pollfd {
	int fd;
	short events;
	short revents;
};

static void hold_standard_fds(void)
{
	/* So that a descriptor received is never 0, 1 or 2. */
	for (int fd = 0; fd < 3; fd++)
		sys3(__NR_dup3, INIT_SOCKET_FD, fd, O_CLOEXEC);
}

/* All default, SIGCHLD through a descriptor. It, or -errno. */
static long take_signals(void)
{
	struct kernel_sigaction action = {0};
	for (int sig = 1; sig <= SIGNALS; sig++)
		if (sig != SIGKILL && sig != SIGSTOP)
			sys4(__NR_rt_sigaction, sig, (long)&action, 0, sizeof(uint64_t));
	uint64_t mask = 1ull << (SIGCHLD - 1);
	long ret = sys4(__NR_rt_sigprocmask, SIG_SETMASK, (long)&mask, 0, sizeof(mask));
	if (init_failed(ret))
		return ret;
	return sys4(__NR_signalfd4, -1, (long)&mask, sizeof(mask), SFD_FLAGS);
}

static void reap(void)
{
	for (;;) {
		int status = 0;
		long pid = -EIO;
		for (int i = 0; i < INIT_TRIES && pid < 0 && pid != -ECHILD; i++)
			pid = sys4(__NR_wait4, -1, (long)&status, WNOHANG | __WALL, 0);
		if (pid <= 0)
			return;
		struct init_msg msg = {
			.kind = INIT_EXITED,
			.pid = (int32_t)pid,
			.value = status,
		};
		init_send(&msg);
	}
}

static void spawn(const struct init_msg *request, const int *fds, unsigned int n_fds)
{
	struct init_msg reply = {
		.kind = INIT_SPAWNED,
		.id = request->id,
		.step = INIT_STEP_MESSAGE,
	};
	long pid = -EMFILE; /* see init_receive() */
	if (n_fds == INIT_SPAWN_FDS)
		pid = init_spawn(request, fds, &reply.step);
	if (pid > 0) {
		reply.pid = (int32_t)pid;
		reply.step = INIT_STEP_NONE;
	} else {
		reply.value = (int32_t)pid;
	}
	init_send(&reply);
}

/*
 * Only to a child that init has not reaped: its pid cannot have been given to
 * another process.
 */
static void send_signal(const struct init_msg *request)
{
	if (request->pid <= 1)
		return;
	enum { P_PID_ = 1 };
	long ret =
		sys5(__NR_waitid, P_PID_, request->pid, 0, WNOHANG | WNOWAIT | WEXITED | __WALL, 0);
	if (init_failed(ret))
		return;
	int target = request->flags & INIT_F_GROUP ? -request->pid : request->pid;
	sys2(__NR_kill, target, request->value);
}

/* One message from the keeper. */
static void serve(void)
{
	struct init_msg msg;
	int fds[INIT_SPAWN_FDS];
	unsigned int n_fds;
	long ret = -EIO;
	for (int i = 0; i < INIT_TRIES && ret == -EIO; i++)
		ret = init_receive(&msg, fds, &n_fds);
	if (ret == -EINTR || ret == -EAGAIN)
		return;
	if (ret == 0 || init_hung_up(ret))
		init_exit(0);
	if (ret < 0)
		init_exit(1);
	if (msg.kind == INIT_SPAWN)
		spawn(&msg, fds, n_fds);
	else if (msg.kind == INIT_SIGNAL)
		send_signal(&msg);
	while (n_fds)
		init_close(fds[--n_fds]);
}

static void loop(int signal_fd)
{
	struct kernel_pollfd polled[2] = {
		{.fd = INIT_SOCKET_FD, .events = POLLIN},
		{.fd = signal_fd, .events = POLLIN},
	};
	for (;;) {
		reap();
		long ret = sys5(__NR_ppoll, (long)polled, 2, 0, 0, 0);
		if (init_failed(ret))
			continue;
		if (polled[1].revents) {
			char info[SIGINFO_BYTES];
			while (sys3(__NR_read, signal_fd, (long)info, sizeof(info)) > 0)
				;
		}
		if (polled[0].revents)
			serve();
	}
}

uint32_t init_fault_after;

/* stack: argc, then argv; an argument is of tests. */
static void take_fault(const long *stack)
{
	const char *digit = stack[0] > 1 ? (const char *)stack[2] : "";
	uint32_t n = 0;
	while (*digit >= '0' && *digit <= '9')
		n = n * 10 + (uint32_t)(*digit++ - '0');
	init_fault_after = n;
}

__attribute__((noreturn, used)) static void init_main(const long *stack)
{
	take_fault(stack);
	sys2(__NR_prctl, PR_SET_DUMPABLE, 0);
	sys2(__NR_prctl, PR_SET_NAME, (long)"mulligan-init");
	sys3(__NR_close_range, FIRST_OTHER_FD, ~0u, 0);
	sys3(__NR_fcntl, INIT_SOCKET_FD, F_SETFD, FD_CLOEXEC);
	hold_standard_fds();
	sys1(__NR_chdir, (long)"/");

	struct init_msg ready = {.kind = INIT_READY, .step = INIT_STEP_SIGNALS};
	long ret = take_signals();
	int signal_fd = (int)ret;
	if (!init_failed(ret))
		ret = init_confine(&ready.step);
	if (init_failed(ret))
		ready.value = (int32_t)ret;
	else
		ready.step = INIT_STEP_NONE;
	init_send(&ready);
	if (ready.value)
		init_exit(1);
	loop(signal_fd);
	init_exit(1);
}

INIT_START(init_main);
