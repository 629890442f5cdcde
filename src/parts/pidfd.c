/*
 * pidfd.c - descriptors of processes.
 *
 * What they refer to must be there first. So PID 1 opens them when the whole
 * tree has been forked, under the numbers that the tree knows all descriptions
 * by, and each process takes those that it has from PID 1:
 *
 *	PID 1				a process that has one
 *	await JOINED == all
 *	pidfd_open ...
 *	OPENED += 1			await OPENED
 *	await TAKEN == all that do	pidfd_getfd ...
 *	goes on to execute		TAKEN += 1
 *
 * That of a process that was reaped tells nothing any more but how it ended:
 * PID 1 has a child that ends so, under a number that nobody has.
 */
#include "parts/pidfd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "parts/kind.h"
#include "sys/proc.h"

/* PIDFD_THREAD, PIDFD_NONBLOCK of pidfd_open(2) */
enum { OPEN_FLAGS = O_EXCL | O_NONBLOCK };

struct pidfd {
	pid_t pid;		/* in the sandbox; 0: reaped */
	int exit_status;	/* reaped: as wait has it, as far as it is known */
};

static bool is_pidfd(const struct kind_look *at, const struct image_file *f)
{
	(void)f;
	return !strcmp(at->link, "anon_inode:[pidfd]");
}

static int look_pidfd(const struct kind_look *at, struct image_file *f, struct err *e)
{
	struct pidfd *own = f->own = calloc(1, sizeof(*own));
	if (!own)
		return err_set(e, ENOMEM, "out of memory");
	const char *text = procfs_field(at->info->rest, "NSpid");
	long pid = 0;
	if (!text)
		return kind_refuse(at, "a pidfd whose process the kernel does not tell", e);
	/* the innermost namespace is last */
	for (char *end; *text && *text != '\n'; text = end) {
		long n = strtol(text, &end, 10);
		if (end == text)
			break;
		pid = n;
	}
	if (pid == 0)
		return kind_refuse(at, "a pidfd of a process outside", e);
	own->pid = pid < 0 ? 0 : (pid_t)pid;
	if (own->pid)
		return 0;
	scoped_fd int copy = sys_pidfd_getfd(at->fp->pidfd, at->fd->fd);
	int r = copy < 0 ? copy : sys_pidfd_exit_status(copy, &own->exit_status);
	/* a kernel that does not tell us does not tell them */
	return r == 0 || r == -EOPNOTSUPP ? 0 :
					    look_refuse(e, at->p, at->fd->fd, "its pidfd: %s",
							strerror(-r));
}

bool pidfd_is_late(const struct image_file *f)
{
	return f->kind == FILE_PIDFD;
}

static int look_pidfd_end(struct look *l, int file, struct err *e)
{
	const struct pidfd *own = image_file(l->image, file)->own;
	if (!own->pid || own->pid == 1 || image_find_pid(l->image, own->pid) != IMAGE_NONE)
		return 0;
	return kind_refuse_file(l, file, "a pidfd of a thread cannot be saved yet", e);
}

/* Nothing yet. */
static int open_pidfd(struct files_open *o, int file)
{
	(void)o;
	(void)file;
	return 0;
}

static bool has_late(const struct tree_image *im, const struct image_proc *p)
{
	vec_each(struct image_fd, fd, &p->fds)
		if (pidfd_is_late(image_file(im, fd->file)))
			return true;
	return false;
}

/* A number that no process nor thread of the image has. */
static pid_t free_pid(const struct tree_image *im)
{
	for (pid_t pid = 2;; pid++) {
		bool used = image_find_pid(im, pid) != IMAGE_NONE;
		vec_each(struct image_proc, proc, &im->procs)
			vec_each(struct image_thread, t, &proc->threads)
				used |= t->tid == pid;
		if (!used)
			return pid;
	}
}

/* The program of a child that ends that way, without a core file. */
static uint64_t ending(struct prog_arena *arena, pid_t pid, int status)
{
	struct prog p;
	prog_init(&p, arena);
	if (WIFSIGNALED(status)) {
		struct rlimit none = { 0, 0 };
		uint64_t no_mask = 0;
		prog_sys(&p, SYS_prlimit64, 0, RLIMIT_CORE, prog_data(arena, &none, sizeof(none)),
			 0);
		prog_sys(&p, SYS_kill, (uint64_t)pid, (uint64_t)WTERMSIG(status));
		prog_sys(&p, SYS_rt_sigprocmask, SIG_SETMASK,
			 prog_data(arena, &no_mask, sizeof(no_mask)), 0, 8);
	}
	prog_sys(&p, SYS_exit_group, (uint64_t)WEXITSTATUS(status));
	uint64_t start = prog_seal(&p);
	prog_deinit(&p);
	return start;
}

static void emit_open(struct prog *p, const struct tree_image *im, const struct image_file *f,
		      unsigned int file_slot, unsigned int slot)
{
	const struct pidfd *own = f->own;
	pid_t pid = own->pid ? own->pid : free_pid(im);
	if (!own->pid)
		/* without a signal: that is nobody's business */
		prog_op(p, PUP_OP_CHILD, (uint64_t)pid, 0,
			ending(p->arena, pid, own->exit_status), 0);
	prog_sys(p, SYS_pidfd_open, (uint64_t)pid, (uint64_t)(f->flags & OPEN_FLAGS));
	prog_out(p, slot);
	prog_sys(p, SYS_dup3, slot, file_slot, O_CLOEXEC);
	prog_slots(p, 3);
	prog_sys(p, SYS_close, slot);
	prog_slots(p, 1);
	if (!own->pid)
		prog_sys(p, SYS_wait4, (uint64_t)pid, 0, 0x40000000 /* __WALL */, 0);
}

void pidfd_emit_open(struct prog *p, const struct tree_image *im, unsigned int file_slot,
		     const struct pidfd_words *words, uint32_t members)
{
	uint32_t takers = 0;
	vec_each(struct image_proc, proc, &im->procs)
		takers += has_late(im, proc);
	if (!takers)
		return;
	unsigned int slot = prog_slot(p);
	prog_op(p, PUP_OP_AWAIT, words->joined, members);
	for (size_t i = 0; i < im->files.n; i++) {
		const struct image_file *f = image_file(im, (int)i);
		if (pidfd_is_late(f))
			emit_open(p, im, f, file_slot + (unsigned int)i, slot);
	}
	prog_op(p, PUP_OP_NOTIFY, words->opened, 1);
	prog_op(p, PUP_OP_AWAIT, words->taken, takers);
}

void pidfd_load(struct load *l)
{
	const struct image_proc *proc = image_proc(l->image, l->proc);
	struct prog *p = l->prog;
	if (!has_late(l->image, proc))
		return;
	unsigned int pid1 = prog_slot(p), slot = prog_slot(p);
	prog_op(p, PUP_OP_AWAIT, l->pidfds->opened, 1);
	prog_sys(p, SYS_pidfd_open, 1, 0);
	prog_out(p, pid1);
	for (size_t i = 0; i < l->image->files.n; i++) {
		bool mine = false;
		vec_each(struct image_fd, fd, &proc->fds)
			mine |= fd->file == (int)i;
		if (!mine || !pidfd_is_late(image_file(l->image, (int)i)))
			continue;
		prog_sys(p, SYS_pidfd_getfd, pid1, l->file_slot + i, 0);
		prog_slots(p, 3);
		prog_out(p, slot);
		prog_sys(p, SYS_dup3, slot, l->file_slot + i, O_CLOEXEC);
		prog_slots(p, 3);
		prog_sys(p, SYS_close, slot);
		prog_slots(p, 1);
	}
	prog_sys(p, SYS_close, pid1);
	prog_slots(p, 1);
	prog_op(p, PUP_OP_NOTIFY, l->pidfds->taken, 1);
}

const struct file_kind kind_pidfd = {
	.kind = FILE_PIDFD,
	.is = is_pidfd,
	.look = look_pidfd,
	.look_end = look_pidfd_end,
	.open = open_pidfd,
};
