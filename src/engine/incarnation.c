#include "engine/incarnation.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "engine/gate.h"
#include "parts/inotify.h"
#include "sys/proc.h"
#include "sys/sched.h"

const char *incarnation_state_name(enum incarnation_state state)
{
	static const char *const name[] = { "building", "parked", "running", "dead" };
	return name[state];
}

int incarnation_release(struct incarnation *in, struct err *e)
{
	if (in->state != INCARNATION_PARKED)
		return err_set(e, EINVAL, "an incarnation that is %s cannot be released",
			       incarnation_state_name(in->state));
	files_arm_timers(&in->timers);
	inotify_quiet(&in->inotifys);
	int r = gate_open(in, e);
	if (r == 0)
		in->state = INCARNATION_RUNNING;
	return r;
}

void incarnation_kill(struct incarnation *in)
{
	/* theirs shall be the last: inotify.h */
	vec_each(int, fd, &in->inotifys)
		cleanup_fd(fd);
	vec_deinit(&in->inotifys);
	if (in->pid1_pidfd >= 0 && in->state != INCARNATION_DEAD) {
		/*
		 * It ends its namespace when it wakes: 0.2 ms that whoever asked
		 * for this shall not wait for. ESRCH: it has ended by itself.
		 */
		if (sys_pidfd_send_signal(in->pid1_pidfd, 0) == 0)
			(void)!sys_sched_step_back(in->pid1);
		(void)!sys_pidfd_send_signal(in->pid1_pidfd, SIGKILL);
	}
	in->state = INCARNATION_DEAD;
}

void incarnation_free(struct incarnation *in)
{
	if (!in)
		return;
	incarnation_kill(in);
	template_close(&in->ahead);
	cleanup_fd(&in->pid1_pidfd);
	cleanup_fd(&in->init_socket);
	cleanup_fd(&in->mntns_fd);
	cleanup_fd(&in->root_fd);
	cleanup_fd(&in->diag_fd);
	cleanup_fd(&in->gate_fd);
	if (in->gate)
		munmap(in->gate, PUP_PAGE);
	vec_each(struct files_outer, o, &in->outers)
		cleanup_fd(&o->fd);
	vec_deinit(&in->outers);
	files_timers_deinit(&in->timers);
	vec_deinit(&in->empties);
	tracker_deinit(&in->tracker);
	fs_tree_free(in->fs);
	if (in->group)
		limits_group_give(in->engine->limits, in->group);
	checkpoint_unref(in->from);
	free(in);
}
