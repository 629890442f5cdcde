/* sysv.c - System V objects belong to no process. */
#include <errno.h>
#include <string.h>

#include "checkpoint/take.h"
#include "parts/queues.h"
#include "parts/segments.h"
#include "parts/sems.h"
#include "sys/sysvipc.h"

enum {
	SETS_MAX = 128,		/* each is a child of the keeper at a restore */
	SEMAPHORES_MAX = 32000,
	QUEUES_MAX = 128,
	MESSAGES_MAX = 4096,	/* each is found by its place from the first on */
};

static int look(struct take *t, struct err *e)
{
	struct sys_ipc_counts n;
	int r = sys_ipc_count(&n);
	if (r)
		return err_set(e, -r, "look for System V objects: %s", strerror(-r));
	if (n.queues > QUEUES_MAX || n.messages > MESSAGES_MAX)
		return err_set(e, E2BIG, "there are more than %d System V message queues, or %d "
					 "messages in them", QUEUES_MAX, MESSAGES_MAX);
	if (n.semaphore_sets > SETS_MAX || n.semaphores > SEMAPHORES_MAX)
		return err_set(e, E2BIG, "there are more than %d sets of System V semaphores, or %d "
					 "semaphores", SETS_MAX, SEMAPHORES_MAX);
	r = n.segments ? segments_look(&t->look, e) : 0;
	if (r == 0 && n.semaphore_sets)
		r = sems_look(&t->look, e);
	return r == 0 && n.queues ? queues_look(&t->look, e) : r;
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
