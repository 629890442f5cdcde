/*
 * sysv.c - System V objects belong to no process. Segments of shared memory
 * are saved; a rollback would silently be without the others, so they are
 * refused.
 */
#include <errno.h>
#include <string.h>

#include "checkpoint/take.h"
#include "parts/segments.h"
#include "sys/sysvipc.h"

static int refuse_objects(const char *what, int n, struct err *e)
{
	err_set(e, EOPNOTSUPP, "%d System V %s cannot be saved yet", n, what);
	return err_remedy(e, "end the program that made them, or remove them with ipcrm");
}

static int look(struct take *t, struct err *e)
{
	struct sys_ipc_counts n;
	int r = sys_ipc_count(&n);
	if (r)
		return err_set(e, -r, "look for System V objects: %s", strerror(-r));
	if (n.semaphore_sets)
		return refuse_objects("semaphore sets", n.semaphore_sets, e);
	if (n.queues)
		return refuse_objects("message queues", n.queues, e);
	return n.segments ? segments_look(&t->look, e) : 0;
}

int take_look_sysv(struct take *t, struct err *e)
{
	int home = -1;
	int r = sys_ipc_enter(t->in->pid1_pidfd, &home);
	if (r)
		return err_set(e, -r, "join the IPC namespace: %s", strerror(-r));
	r = look(t, e);
	sys_ipc_leave(&home);
	return r;
}
