/*
 * queues.c - System V message queues: ids, owners, messages in their order, and
 * who sent and received last (msg_lspid, msg_lrpid), which children of the
 * keeper with these numbers do again.
 *
 * Who sleeps in msgsnd or msgrcv is in no queue: the kernel starts these calls
 * again by itself.
 */
#include "parts/queues.h"

#include <errno.h>
#include <string.h>

#include "parts/ipc.h"
#include "sys/fd.h"

int queues_look(struct look *l, struct err *e)
{
	scoped_fd int table = ipc_table(l->pid1_pidfd, sys_msg_table);
	int r = table < 0 ? table : sys_msg_table_read(table, &l->image->msg_queues);
	return r ? err_set(e, -r, "read the System V message queues: %s", strerror(-r)) : 0;
}

/* An id that was taken is not the one that was asked for. */
static int run_make(void *ctx)
{
	const struct sys_msg_queue *q = ctx;
	int id = sys_msg_make(q);
	return id < 0 ? id : id == q->id ? 0 : -EEXIST;
}

static int run_send_any(void *ctx)
{
	const struct sys_msg_queue *q = ctx;
	long type = 1;
	const struct sys_msg any = { .text = &type };
	return sys_msg_send(q->id, &any);
}

static int run_receive(void *ctx)
{
	const struct sys_msg_queue *q = ctx;
	return sys_msg_drop_first(q->id);
}

static int run_send_all(void *ctx)
{
	const struct sys_msg_queue *q = ctx;
	int r = 0;
	vec_each(struct sys_msg, m, &q->messages)
		if (r == 0)
			r = sys_msg_send(q->id, m);
	return r;
}

static int make_one(const struct files_open *o, struct sys_msg_queue *q)
{
	int r = sys_ipc_want_id("msg", q->id);
	if (r == 0)
		r = ipc_act(o->pid1_pidfd, 0, q->cuid, q->cgid, run_make, q);
	/* who has received, received what was sent */
	if (r == 0 && q->receiver)
		r = ipc_act(o->pid1_pidfd, q->sender, 0, 0, run_send_any, q);
	if (r == 0 && q->receiver)
		r = ipc_act(o->pid1_pidfd, q->receiver, 0, 0, run_receive, q);
	if (r == 0 && q->n)
		r = ipc_act(o->pid1_pidfd, q->sender, 0, 0, run_send_all, q);
	/* messages that are there may be more than it takes by now */
	return r ? r : sys_msg_set_owner(q);
}

int queues_make(const struct files_open *o, struct err *e)
{
	if (!o->image->msg_queues.n)
		return 0;
	int home = -1;
	int r = sys_ipc_enter(o->pid1_pidfd, &home);
	vec_each(struct sys_msg_queue, q, &o->image->msg_queues)
		if (r == 0)
			r = make_one(o, q);
	sys_ipc_leave(&home);
	return r ? err_set(e, -r, "make the System V message queues again: %s", strerror(-r)) : 0;
}
