/*
 * sysv.c - System V objects belong to no process. Shared memory and semaphores
 * are saved; a rollback would silently be without message queues, so they are
 * refused.
 */
#include <errno.h>
#include <string.h>

#include "checkpoint/take.h"
#include "parts/segments.h"
#include "parts/sems.h"
#include "sys/sysvipc.h"

enum {
	SETS_MAX = 128,		/* each is a child of the keeper at a restore */
	SEMAPHORES_MAX = 32000,
};

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
	if (n.queues)
		return refuse_objects("message queues", n.queues, e);
	if (n.semaphore_sets > SETS_MAX || n.semaphores > SEMAPHORES_MAX)
		return err_set(e, E2BIG, "there are more than %d sets of System V semaphores, or %d "
					 "semaphores", SETS_MAX, SEMAPHORES_MAX);
	r = n.segments ? segments_look(&t->look, e) : 0;
	return r == 0 && n.semaphore_sets ? sems_look(&t->look, e) : r;
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
