#include "parts/part.h"

#include "parts/memfs.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

/*
 * Order of restoring. Memory is first: nothing of the process's own exists
 * before; its locks, before tracking and limits. Descriptors come before
 * limits (RLIMIT_NOFILE) and credentials (opening needs none, but fchdir of a
 * closed directory does); what is set in files of /proc before the root
 * directory, which may have none; credentials are last but for what they take
 * away, then only the seccomp filter and the gate.
 */
const struct part *const part_table[] = {
	&part_ids,     &part_memory, &part_files, &part_sockets,   &part_misc,	&part_cwd,
	&part_signals, &part_timers, &part_membarrier, &part_locked, &part_limits,
	&part_threads, &part_sched,  &part_cred,    &part_death,
};
const size_t part_count = sizeof(part_table) / sizeof(part_table[0]);

void look_init(struct look *l)
{
	*l = (struct look){
		.mounts = VEC_INIT(struct part_mount),
		.outers = VEC_INIT(struct part_outer),
		.maps = PROCFS_MAPS_INIT,
		.fds = VEC_INIT(struct procfs_fds),
		.seen = VEC_INIT(struct look_seen),
		.ttys = VEC_INIT(struct look_tty),
		.opened = VEC_INIT(struct look_opened),
		.memory_names = VEC_INIT(struct memfs_name),
		.root_fd = -1,
		.pid1_pidfd = -1,
		.held = VEC_INIT(int),
		.inotifys = VEC_INIT(struct look_inotify),
		.inotify_fd = -1,
		.self.pidfd = -1,
		.diag_fd = -1,
	};
}

void look_close(struct look *l)
{
	vec_each(struct look_opened, o, &l->opened)
		cleanup_fd(&o->fd);
	vec_deinit(&l->opened);
	vec_each(int, fd, &l->held)
		cleanup_fd(fd);
	vec_deinit(&l->held);
}

void look_deinit(struct look *l)
{
	look_close(l);
	vec_deinit(&l->mounts);
	vec_deinit(&l->outers);
	vec_deinit(&l->seen);
	vec_each(struct look_inotify, in, &l->inotifys)
		cleanup_fd(&in->fd);
	vec_deinit(&l->inotifys);
	cleanup_fd(&l->inotify_fd);
	cleanup_fd(&l->self.pidfd);
	memfs_names_deinit(&l->memory_names);
	vec_each(struct look_tty, t, &l->ttys) {
		cleanup_fd(&t->master_fd);
		cleanup_fd(&t->slave_fd);
	}
	vec_deinit(&l->ttys);
	procfs_maps_deinit(&l->maps);
	vec_each(struct procfs_fds, fds, &l->fds)
		procfs_fds_deinit(fds);
	vec_deinit(&l->fds);
}

int look_refuse(struct err *e, const struct image_proc *p, int fd, const char *fmt, ...)
{
	char why[ERR_CAUSE_BYTES / 2];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	if (fd >= 0)
		err_set(e, ENOTSUP, "cannot save process %d (%s), descriptor %d: %s", p->pid,
			p->comm, fd, why);
	else
		err_set(e, ENOTSUP, "cannot save process %d (%s): %s", p->pid, p->comm, why);
	return err_about(e, p->pid, fd);
}
