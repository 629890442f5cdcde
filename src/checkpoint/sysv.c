/*
 * sysv.c - System V objects belong to no process and cannot be saved yet: a
 * rollback would silently be without them, so they are refused.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "checkpoint/take.h"
#include "sys/mount.h"

static int refuse_objects(const char *what, int n, struct err *e)
{
	err_set(e, EOPNOTSUPP, "%d System V %s cannot be saved yet", n, what);
	return err_remedy(e, "end the program that made them, or remove them with ipcrm");
}

/* The keeper may stay in that namespace: it uses nothing of its own. */
int take_look_sysv(const struct take *t, struct err *e)
{
	int r = sys_setns(t->in->pid1_pidfd, CLONE_NEWIPC);
	if (r < 0)
		return err_set(e, -r, "join the IPC namespace: %s", strerror(-r));
	struct shm_info shm;
	struct seminfo sem;
	struct msginfo msg;
	union {
		struct seminfo *info;
		long none;
	} arg = { .info = &sem };
	if (shmctl(0, SHM_INFO, (struct shmid_ds *)&shm) < 0 || semctl(0, 0, SEM_INFO, arg) < 0 ||
	    msgctl(0, MSG_INFO, (struct msqid_ds *)&msg) < 0)
		return err_set(e, errno, "look for System V objects: %s", strerror(errno));
	if (shm.used_ids)
		return refuse_objects("shared memory segments", shm.used_ids, e);
	if (sem.semusz) /* SEM_INFO: how many sets there are */
		return refuse_objects("semaphore sets", sem.semusz, e);
	if (msg.msgpool) /* MSG_INFO: how many queues */
		return refuse_objects("message queues", msg.msgpool, e);
	return 0;
}
