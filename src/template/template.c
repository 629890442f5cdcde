#include "template/template.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "puppet/fault.h"
#include "sys/sock.h"
#include "template/internal.h"

/*
 * What the socket brings next is the answer to what was sent: one that is not
 * taken would be taken for the next one's. So receiving is tried again.
 */
static int receive(const struct template *t, struct pup_reply *reply, int *fd, struct err *e)
{
	enum { TRIES = 3 };
	long n = -1;
	size_t n_fds = 0;
	for (int i = 0; i < TRIES && n < 0; i++) {
		n_fds = 1;
		n = sys_sock_recv(t->socket, reply, sizeof(*reply), fd, &n_fds, 0);
		if (n == -EMSGSIZE)
			break;
	}
	if (n == sizeof(*reply) && n_fds == 0)
		*fd = -1;
	if (n == sizeof(*reply) && reply->magic == PUP_MAGIC)
		return 0;
	if (n > 0 && n_fds)
		cleanup_fd(fd);
	*fd = -1;
	err_set(e, n < 0 ? (int)-n : EPIPE, "template %d died: its memory is lost", t->pid);
	return err_remedy(e, "roll back to another checkpoint; the files are there");
}

/* One request and its reply. Result of the puppet, or -errno. */
static int64_t ask(const struct template *t, struct pup_request *request,
		   const int *fds, size_t n_fds, int *reply_fd,
		   uint64_t *failed_op, struct err *e)
{
	request->fault_after = puppet_fault_lend();
	int r = sys_sock_send(t->socket, request, sizeof(*request), fds, n_fds, 0);
	if (r) {
		puppet_fault_return(request->fault_after);
		return err_set(e, -r, "template %d does not answer: %s", t->pid, strerror(-r));
	}
	struct pup_reply reply;
	int fd;
	r = receive(t, &reply, &fd, e);
	if (r)
		return r;
	puppet_fault_return(reply.fault_left);
	if (reply_fd)
		*reply_fd = fd;
	else
		cleanup_fd(&fd);
	if (failed_op)
		*failed_op = reply.failed_op;
	return reply.result;
}

/* Say which operation of the program failed: its call and its line. */
static int program_failed(struct prog_arena *arena, uint64_t failed_op, int error,
			  struct err *e)
{
	if (failed_op < arena->remote ||
	    failed_op - arena->remote > arena->used_bytes - sizeof(struct pup_op))
		return err_set(e, error, "template: %s", strerror(error));
	const struct pup_op *op = (void *)(arena->local + (failed_op - arena->remote));
	return err_set(e, error,
		       "template: operation %u, call %u(%#lx, %#lx, %#lx, %#lx), line %u: %s",
		       op->op, op->nr, op->a[0], op->a[1], op->a[2], op->a[3],
		       op->line, strerror(error));
}

int template_fork(const struct template *from, struct template *t, struct err *e)
{
	int pair[2];
	int r = sys_sock_pair(pair);
	if (r)
		return err_set(e, -r, "socketpair: %s", strerror(-r));
	scoped_fd int ours = pair[0];
	scoped_fd int theirs = pair[1];
	struct pup_request request = { .magic = PUP_MAGIC, .kind = PUP_REQ_FORK };
	int64_t pid = ask(from, &request, &theirs, 1, NULL, NULL, e);
	if (pid < 0)
		return e && e->code ? (int)pid
				    : err_set(e, (int)-pid, "fork of template %d: %s",
					      from->pid, strerror((int)-pid));
	*t = (struct template){ .socket = take_fd(&ours), .pid = (pid_t)pid };
	return 0;
}

int template_run(const struct template *t, struct prog_arena *arena,
		 uint64_t program, const int *fds, size_t n_fds, struct err *e)
{
	if (arena->failed || n_fds + 1 > PUP_FDS_MAX)
		return err_set(e, ENOMEM, "template: the program is too large");
	int all[PUP_FDS_MAX] = { arena->memfd };
	if (n_fds)
		memcpy(all + 1, fds, n_fds * sizeof(int));
	struct pup_request request = { .magic = PUP_MAGIC,
				       .kind = PUP_REQ_RUN,
				       .program = program,
				       .arena_bytes = arena->cap_bytes };
	uint64_t failed_op = 0;
	struct err why = ERR_INIT;
	int64_t ret = ask(t, &request, all, n_fds + 1, NULL, &failed_op, &why);
	if (ret >= 0)
		return 0;
	if (!why.code)
		return program_failed(arena, failed_op, (int)-ret, e);
	if (e)
		*e = why;
	return (int)ret;
}

int template_spawn(const struct template *t, struct prog_arena *arena,
		   uint64_t program, int gate_fd, uint64_t clone_flags,
		   const int *fds, size_t n_fds, int *pidfd, struct err *e)
{
	if (arena->failed || n_fds + 2 > PUP_FDS_MAX)
		return err_set(e, ENOMEM, "the program of PID 1 is too large");
	int all[PUP_FDS_MAX] = { arena->memfd, gate_fd };
	if (n_fds)
		memcpy(all + 2, fds, n_fds * sizeof(int));
	struct pup_request request = { .magic = PUP_MAGIC,
				       .kind = PUP_REQ_SPAWN,
				       .program = program,
				       .arena_bytes = arena->cap_bytes,
				       .clone_flags = clone_flags };
	struct err why = ERR_INIT;
	int64_t pid = ask(t, &request, all, n_fds + 2, pidfd, NULL, &why);
	if (pid > 0)
		return (int)pid;
	if (why.code) {
		if (e)
			*e = why;
		return -why.code;
	}
	err_set(e, (int)-pid, "clone PID 1: %s", strerror((int)-pid));
	if (pid == -ENOSPC)
		return err_remedy(e, "raise user.max_pid_namespaces and the other "
				     "user.max_*_namespaces limits");
	return (int)pid;
}

int template_attach(const struct template *t, struct template *more, struct err *e)
{
	int pair[2];
	int r = sys_sock_pair(pair);
	if (r)
		return err_set(e, -r, "socketpair: %s", strerror(-r));
	scoped_fd int ours = pair[0];
	scoped_fd int theirs = pair[1];
	struct pup_request request = { .magic = PUP_MAGIC, .kind = PUP_REQ_ATTACH };
	struct err why = ERR_INIT;
	int64_t ret = ask(t, &request, &theirs, 1, NULL, NULL, &why);
	if (ret < 0) {
		if (!why.code)
			err_set(&why, (int)-ret, "attach to template %d: %s", t->pid,
				strerror((int)-ret));
		if (e)
			*e = why;
		return (int)ret;
	}
	*more = (struct template){ .socket = take_fd(&ours), .pid = t->pid };
	return 0;
}

bool template_is_lost(const struct template *t)
{
	struct pollfd p = { t->socket, 0, 0 };
	return t->socket < 0 || (poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR));
}

void template_close(struct template *t)
{
	cleanup_fd(&t->socket);
	t->pid = 0;
}
