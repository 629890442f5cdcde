/*
 * track.c - the processes of a new tree get their keys back and, where it is
 * asked for, dirty tracking, before they park.
 */
#include "restore/build.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "sys/proc.h"
#include "sys/uffd.h"
#include "template/dump.h"

/* Walk the children of a host pid; -errno. */
static int walk(struct build *b, struct procfs *procfs, pid_t host_pid)
{
	struct vec children = VEC_INIT(pid_t);
	int r = procfs_children(procfs, host_pid, host_pid, &children);
	for (size_t i = 0; r >= 0 && i < children.n; i++) {
		pid_t pid = *(pid_t *)vec_at(&children, i);
		struct procfs_status status;
		if (procfs_status(procfs, pid, 0, &status) < 0)
			continue;
		int index = image_find_pid(b->image, status.ns_pid[status.n_ns - 1]);
		if (index != IMAGE_NONE)
			((struct built_proc *)vec_at(&b->procs, (size_t)index))->host_pid = pid;
		r = walk(b, procfs, pid);
	}
	vec_deinit(&children);
	return r < 0 ? r : 0;
}

static int take_uffd(struct build *b, int i, struct tracked *t, struct procfs *procfs,
		     struct err *e)
{
	const struct built_proc *built = vec_at(&b->procs, (size_t)i);
	scoped_fd int pidfd = sys_pidfd_open(built->host_pid);
	if (pidfd < 0)
		return err_set(e, -pidfd, "restored process %d: %s", built->host_pid,
			       strerror(-pidfd));
	int uffd = sys_pidfd_getfd(pidfd, (int)prog_result(&built->prog, built->uffd_op));
	if (uffd < 0)
		return err_set(e, -uffd, "its tracking descriptor: %s", strerror(-uffd));
	t->uffd = uffd;
	int r = sys_uffd_start(uffd);
	if (r)
		return err_set(e, -r, "start dirty tracking: %s", strerror(-r));
	r = dump_arm_restored(image_proc(b->image, i), procfs, built->host_pid, uffd, e);
	t->fresh = r == 0;
	return r;
}

static int take_proc(struct build *b, int i, struct procfs *procfs, struct err *e)
{
	const struct built_proc *built = vec_at(&b->procs, (size_t)i);
	const struct image_proc *p = image_proc(b->image, i);
	struct procfs_stat stat;
	if (!built->host_pid || procfs_stat(procfs, built->host_pid, 0, &stat) < 0)
		return err_set(e, ESRCH, "restored process %d is not there", p->pid);
	struct tracked *t = tracker_add(&b->in->tracker, built->host_pid, stat.start_time, p->key);
	if (!t)
		return err_set(e, ENOMEM, "out of memory");
	return b->options->track ? take_uffd(b, i, t, procfs, e) : 0;
}

static bool all_found(const struct build *b)
{
	for (size_t i = 0; i < b->procs.n; i++)
		if (image_proc(b->image, (int)i)->state == PROC_LIVE &&
		    !((struct built_proc *)vec_at(&b->procs, i))->host_pid)
			return false;
	return true;
}

/*
 * A ghost that ends while the tree is walked hands its children to PID 1,
 * whose own were read before: such a child is in neither list. Look again.
 */
static int walk_until_found(struct build *b, struct procfs *procfs)
{
	enum { TRIES = 200 };
	for (int i = 0; i < TRIES; i++) {
		int r = walk(b, procfs, b->in->pid1);
		if (r && r != -ESRCH)
			return r;
		if (all_found(b))
			return 0;
		struct timespec wait = { 0, 1000000 };
		nanosleep(&wait, NULL);
	}
	return 0;	/* take_proc() says which one is missing */
}

int build_track(struct build *b, struct err *e)
{
	struct pup_status *s = prog_status(&b->arena);
	struct procfs *procfs = freezer_procfs(b->en->freezer);
	uint32_t live = 0;
	vec_each(struct image_proc, p, &b->image->procs)
		live += p->state == PROC_LIVE;
	if (!live)
		return 0;
	int word = b->options->track ? WORD_TRACKED : WORD_JOINED;
	int r = build_await(b, &s->word[word], live, "its processes", e);
	if (r)
		return r;
	r = walk_until_found(b, procfs);
	if (r)
		return err_set(e, -r, "list the restored processes: %s", strerror(-r));
	for (int i = 0; i < (int)b->image->procs.n; i++) {
		if (image_proc(b->image, i)->state != PROC_LIVE)
			continue;
		r = take_proc(b, i, procfs, e);
		if (r)
			return r;
	}
	__atomic_store_n(&s->word[WORD_ARMED], 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &s->word[WORD_ARMED], FUTEX_WAKE, 0x7fffffff, NULL, NULL, 0);
	return 0;
}
