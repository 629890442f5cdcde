/*
 * template.c - the request loop of a template.
 *
 * A template is one single-threaded process that never runs guest code. It is
 * made by a keeper (the first of a family) or by another template (FORK). It
 * serves every keeper that holds a socket to it, one request at a time, and
 * exits when the last of them has hung up.
 *
 * Its children (templates, PID 1s) are watched by pidfds, not waited for:
 * SIGCHLD is ignored, so that the kernel reaps them. PID 1's program puts the
 * default back before it forks anything.
 *
 * PID 1 of a new incarnation shares this address space until it has forked
 * its tree and executed mulligan-init, or died: the kernel then clears
 * `pid1_shares` (CLONE_CHILD_CLEARTID), and only then the next request, of
 * whichever keeper, is served.
 */
#include "puppet/internal.h"

#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/poll.h>
#include <linux/sched.h>

enum {
	PROT_R = 1,
	PROT_W = 2,
	MAP_SHARED_FIXED = 0x11,
	ADVICE_DOFORK = 11,
	SIGNAL_KILL = 9,
	SIGNAL_CHILD = 17,
	CLIENTS_MAX = 512,	/* keepers of one family on this host */
};

static struct pollfd client[CLIENTS_MAX];
static unsigned int n_clients;
static uint64_t arena_bytes;	/* of the arena now mapped, 0: none */
static uint32_t pid1_shares;	/* 1: a PID 1 uses this memory */
static bool pid1_shared;	/* one has, since it was last tidied */

/* PID 1's stack (0) and this loop's (1) lie behind the threads' work areas. */
static uint64_t spare_stack_top(unsigned int i)
{
	return PUP_THREAD + (uint64_t)(PUP_WORK_MAX + i + 1) * PUP_WORK_BYTES - 64;
}

static struct message message;
static struct pup_request request;

/* Tests: is this call of the request the one that is to fail? */
static bool is_faulty(void)
{
	return request.fault_after && !--request.fault_after;
}

static void close_fd(long fd)
{
	raw_syscall3(__NR_close, fd, 0, 0);
}

static void drop_client(unsigned int i)
{
	close_fd(client[i].fd);
	client[i] = client[--n_clients];
}

static void add_client(int fd)
{
	client[n_clients].fd = fd;
	client[n_clients].events = POLLIN;
	client[n_clients++].revents = 0;
}

static void unmap_arena(void)
{
	if (!arena_bytes)
		return;
	raw_syscall3(__NR_munmap, PUP_ARENA, (long)arena_bytes, 0);
	raw_syscall3(__NR_munmap, PUP_GATE, PUP_PAGE, 0);
	arena_bytes = 0;
}

static long map_arena(void)
{
	if (message.n_fds < 1 || request.arena_bytes < PUP_PAGE)
		return -EINVAL;
	if (is_faulty())
		return -EIO;
	long at = raw_syscall6(__NR_mmap, PUP_ARENA,
			       (long)request.arena_bytes,
			       PROT_R | PROT_W, MAP_SHARED_FIXED,
			       message.control.fd[0], 0);
	if (at < 0)
		return at;
	arena_bytes = request.arena_bytes;
	return 0;
}

static long serve_run(struct run_error *err)
{
	long ret = map_arena();
	if (ret < 0)
		return ret;
	for (unsigned int i = 1; i < message.n_fds; i++)
		run_set_slot(i - 1, (uint64_t)message.control.fd[i]);
	ret = run_program((const struct pup_op *)request.program,
			  (struct pup_status *)PUP_ARENA, err);
	unmap_arena();
	return ret;
}

/* The child keeps only its own socket; what the parent held it holds too. */
static void become_new_template(int socket)
{
	while (n_clients)
		drop_client(n_clients - 1);
	add_client(socket);
}

static long serve_fork(bool *is_child)
{
	if (message.n_fds != 1)
		return -EINVAL;
	struct clone_args args;
	memset(&args, 0, sizeof(args));
	args.exit_signal = SIGNAL_CHILD;
	if (is_faulty())
		return -EIO;
	long pid = raw_syscall3(__NR_clone3, (long)&args, sizeof(args), 0);
	if (pid == 0) {
		*is_child = true;
		become_new_template(message.control.fd[0]);
		message.n_fds = 0;
	}
	return pid;
}

static void pid1_main(void *arg)
{
	struct run_error err;
	run_program(arg, (struct pup_status *)PUP_ARENA, &err);
	run_exit(99);
}

static long serve_spawn(int *pidfd)
{
	if (message.n_fds < 2)
		return -EINVAL;
	long ret = map_arena();
	if (ret < 0)
		return ret;
	ret = is_faulty() ? -EIO :
			    raw_syscall6(__NR_mmap, PUP_GATE, PUP_PAGE, PROT_R,
					 MAP_SHARED_FIXED, message.control.fd[1], 0);
	if (ret < 0) {
		unmap_arena();
		return ret;
	}
	for (unsigned int i = 2; i < message.n_fds; i++)
		run_set_slot(i - 2, (uint64_t)message.control.fd[i]);
	struct clone_args args;
	memset(&args, 0, sizeof(args));
	args.flags = request.clone_flags | CLONE_VM | CLONE_PIDFD | CLONE_CHILD_CLEARTID;
	args.child_tid = (uint64_t)&pid1_shares;
	args.exit_signal = SIGNAL_CHILD;
	args.pidfd = (uint64_t)pidfd;
	args.stack = spare_stack_top(0) - PUP_WORK_BYTES + 64;
	args.stack_size = PUP_WORK_BYTES - 64;
	pid1_shares = 1;
	pid1_shared = true;
	ret = is_faulty() ? -EIO :
			    raw_clone3_call(__NR_clone3, &args, sizeof(args), pid1_main,
					    (void *)request.program);
	if (ret < 0)
		pid1_shares = 0;
	return ret;
}

/*
 * A PID 1 that failed or was killed while it forked its tree has left staged
 * memory that is kept out of forks, and shared objects.
 */
static void tidy_after_pid1(void)
{
	if (!pid1_shared)
		return;
	pid1_shared = false;
	raw_syscall3(__NR_munmap, PUP_SHM, PUP_SHM_END - PUP_SHM, 0);
	/* ENOMEM: there are holes; what is there has been done */
	raw_syscall3(__NR_madvise, PUP_STAGE, PUP_STAGE_END - PUP_STAGE, ADVICE_DOFORK);
}

static void await_pid1(void)
{
	while (__atomic_load_n(&pid1_shares, __ATOMIC_SEQ_CST))
		run_sleep(&pid1_shares, 1);
	tidy_after_pid1();
}

/*
 * A keeper that waits for an answer must get one, or the end of the file. Of
 * a PID 1 that nobody has heard of nothing may be left.
 */
static void answer(unsigned int i, struct pup_reply *reply, int pidfd)
{
	enum { TRIES = 2 };
	long ret = -1;
	for (int k = 0; k < TRIES && ret; k++) {
		bool faulty = is_faulty();
		reply->fault_left = request.fault_after;
		ret = faulty ? -EIO :
			       message_send(&message, client[i].fd, reply, sizeof(*reply), pidfd);
	}
	if (!ret)
		return;
	if (pidfd >= 0)
		raw_syscall4(__NR_pidfd_send_signal, pidfd, SIGNAL_KILL, 0, 0);
	drop_client(i);
}

static void serve(unsigned int i)
{
	int socket = client[i].fd;
	long ret = message_receive(&message, socket, &request, sizeof(request));
	if (ret < 0)	/* it failed once: what it would have received is there yet */
		ret = message_receive(&message, socket, &request, sizeof(request));
	if (ret <= 0) {
		drop_client(i);
		return;
	}
	struct run_error err = { 0, 0 };
	int pidfd = -1;
	bool keep_fds = false, is_child = false;
	await_pid1();
	unmap_arena();
	if (ret != sizeof(request) || request.magic != PUP_MAGIC) {
		ret = -EPROTO;
	} else if (request.kind == PUP_REQ_RUN) {
		ret = serve_run(&err);
	} else if (request.kind == PUP_REQ_FORK) {
		ret = serve_fork(&is_child);
	} else if (request.kind == PUP_REQ_SPAWN) {
		ret = serve_spawn(&pidfd);
	} else if (request.kind == PUP_REQ_ATTACH) {
		ret = -EMFILE;
		if (message.n_fds == 1 && n_clients < CLIENTS_MAX) {
			add_client(message.control.fd[0]);
			keep_fds = true;
			ret = 0;
		}
	} else if (request.kind == PUP_REQ_END) {
		run_exit(0);
	} else {
		ret = -ENOSYS;
	}
	if (is_child)
		return;
	for (unsigned int k = 0; k < message.n_fds && !keep_fds; k++)
		close_fd(message.control.fd[k]);
	struct pup_reply reply = { PUP_MAGIC, (int32_t)ret, err.op, 0, 0 };
	answer(i, &reply, pidfd);
	if (pidfd >= 0)
		close_fd(pidfd);
}

/* All but the puppet's own addresses is the keeper's: take it away. */
static void leave_keeper(void)
{
	raw_syscall3(__NR_munmap, 0, PUP_LOW, 0);
	raw_syscall3(__NR_munmap, PUP_HIGH, PUP_TASK_END - PUP_HIGH, 0);
}

static void ignore_children(void)
{
	struct {
		unsigned long handler, flags, restorer, mask;
	} ignore = { 1 /* SIG_IGN */, 0, 0, 0 };
	raw_syscall4(__NR_rt_sigaction, SIGNAL_CHILD, (long)&ignore, 0, 8);
}

void puppet_template(void)
{
	leave_keeper();
	ignore_children();
	add_client(PUP_TEMPLATE_SOCKET_FD);
	while (n_clients) {
		long n = raw_syscall3(__NR_poll, (long)client, n_clients, -1);
		for (unsigned int i = n_clients; n > 0 && i--;)
			if (client[i].revents)
				serve(i);
	}
	run_exit(0);
}
