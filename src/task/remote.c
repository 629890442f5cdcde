/*
 * remote.c - what is done, in order, to a process that plays the puppet, and
 * its undoing. How a thread is made to execute something is in step.c.
 */
#include "task/remote.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "puppet/blob.h"
#include "sys/proc.h"
#include "task/internal.h"
#include "task/step.h"

enum {
	STACK_BYTES = 65536,	/* untouched pages cost nothing */
	USER_CS_64 = 0x33,
};

#define SIGNAL_BIT(sig) (1ull << ((sig) - 1))

static int refuse(const struct frozen_proc *p, int code, const char *what,
		  struct err *e)
{
	err_set(e, code, "process %d (%s) %s", p->ns_pid, p->stat.comm, what);
	err_about(e, p->ns_pid, -1);
	return -code;
}

/* A call into the process failed. */
static int fail(struct remote *r, int ret, const char *what, struct err *e)
{
	const struct frozen_proc *p = frozen_proc(r->frozen, r->proc);
	if (r->gone)
		return refuse(p, ESRCH, "was killed while it was saved", e);
	if (ret == -EBUSY) {
		refuse(p, EBUSY, "was stopped between two signals", e);
		return err_remedy(e, "try again");
	}
	err_set(e, -ret, "process %d (%s): cannot %s", p->ns_pid, p->stat.comm,
		what);
	err_about(e, p->ns_pid, -1);
	return ret;
}

static int check_process(const struct frozen_proc *p, struct err *e)
{
	if (p->zombie)
		return refuse(p, EINVAL, "has ended", e);
	const struct frozen_thread *t = frozen_thread(p, 0);
	if (t->stop == FREEZE_DEAD)
		return refuse(p, ENOTSUP,
			      "has other threads, but its first has ended", e);
	if (t->regs.cs != USER_CS_64)
		return refuse(p, ENOTSUP, "runs 32-bit code", e);
	if (p->shares_mm)
		return refuse(p, EBUSY,
			      "shares its memory with another process", e);
	return 0;
}

/*
 * Filters of its own might kill the process for what the puppet does. Real
 * root can suspend them; others are refused here, before anything is touched.
 */
static int pass_seccomp(struct remote *r, struct err *e)
{
	const struct frozen_proc *p = frozen_proc(r->frozen, r->proc);
	struct procfs_status st;
	int ret = procfs_status(freezer_procfs(r->frozen->freezer), p->pid,
				r->tid, &st);
	if (ret < 0)
		return fail(r, ret, "read its status", e);
	r->trap_ignored = st.sig_ignored & SIGNAL_BIT(SIGTRAP);
	bool strict = st.seccomp == 1;
	if (!strict && st.seccomp_filters <= r->own_filters &&
	    !(st.seccomp && !r->own_filters))
		return 0;
	ret = sys_ptrace_set_options(r->tid,
				     SYS_PTRACE_O_TRACESYSGOOD |
					     SYS_PTRACE_O_SUSPEND_SECCOMP);
	if (ret == 0) {
		r->suspended = true;
		return 0;
	}
	if (ret != -EPERM && ret != -EINVAL)
		return fail(r, ret, "suspend its seccomp filters", e);
	refuse(p, EPERM,
	       strict ? "is in strict seccomp mode" :
			"has a seccomp filter of its own",
	       e);
	return err_remedy(e, "only root can save such processes");
}

/* May this thread play? Nothing is touched in it yet. */
static int check_thread(struct remote *r, struct err *e)
{
	const struct frozen_proc *p = frozen_proc(r->frozen, r->proc);
	int ret = pass_seccomp(r, e);
	if (ret)
		return ret;
	/* its signal could not be given back: see return_signal() */
	if (r->trap_ignored &&
	    frozen_thread(p, r->thread)->stop == FREEZE_SIGNAL)
		return fail(r, -EBUSY, "", e);
	return 0;
}

/*
 * Is the blob that a restore mapped at PUP_LOW still there, and still ours?
 * Its text must be the same file, unwritten; its data may hold anything.
 */
static bool blob_is_resident(struct remote *r,
			     const struct remote_puppet *puppet)
{
	struct procfs *proc = freezer_procfs(r->frozen->freezer);
	uint64_t text_end = PUP_LOW + puppet_text_bytes;
	uint64_t data_end = PUP_LOW + puppet_mem_bytes;
	struct procfs_map map;
	if (!puppet->ino || procfs_map_at(proc, r->tid, PUP_LOW, &map, NULL, 0))
		return false;
	if (map.ino != puppet->ino || map.dev != puppet->dev || map.offset ||
	    map.start != PUP_LOW || map.end != text_end ||
	    map.prot != (PROT_READ | PROT_EXEC))
		return false;
	if (!map.shared &&
	    procfs_anon_pages(proc, r->tid, PUP_LOW, text_end) != 0)
		return false;
	if (data_end == text_end)
		return true;
	return procfs_map_at(proc, r->tid, text_end, &map, NULL, 0) == 0 &&
	       map.start == text_end && map.end >= data_end &&
	       map.prot == (PROT_READ | PROT_WRITE) && !map.shared;
}

static int block_signals(struct remote *r)
{
	int ret = sys_ptrace_get_sigmask(r->tid, &r->sigmask);
	if (ret == 0)
		ret = sys_ptrace_set_sigmask(r->tid, ~SIGNAL_BIT(SIGTRAP));
	r->masked = ret == 0;
	return ret;
}

/* One system call whose failure is an error. */
static int call(struct remote *r, const char *what, long nr,
		const uint64_t arg[6], struct err *e)
{
	int64_t result = 0;
	int ret = step_call(r, nr, arg, &result);
	if (ret)
		return fail(r, ret, what, e);
	if (result < 0 && result >= -4095)
		return fail(r, (int)result, what, e);
	return 0;
}

/*
 * Writable and executable at once where a blob comes into it: nobody else runs
 * in the process meanwhile, and a second call costs two context switches.
 */
static int map_area(struct remote *r, size_t blob_bytes, struct err *e)
{
	uint64_t prot = PROT_READ | PROT_WRITE | (blob_bytes ? PROT_EXEC : 0);
	uint64_t bytes = blob_bytes + STACK_BYTES + r->arena.cap_bytes;
	int ret = call(r, "map memory for the puppet at its reserved address",
		       SYS_mmap,
		       (const uint64_t[6]){ PUP_ARENA, bytes, prot,
					    MAP_PRIVATE | MAP_ANONYMOUS |
						    MAP_NORESERVE |
						    MAP_FIXED_NOREPLACE,
					    (uint64_t)-1, 0 },
		       e);
	if (ret)
		return ret;
	r->map_start = PUP_ARENA;
	r->map_bytes = bytes;
	r->stack_top = PUP_ARENA + blob_bytes + STACK_BYTES;
	r->arena.remote = r->stack_top;
	return 0;
}

/* The stack grows down from the area's middle; it is never used up. */
uint64_t remote_untouched_page(const struct remote *r)
{
	return r->stack_top - STACK_BYTES;
}

/* Put the blob at the start of the area. */
static int install_blob(struct remote *r, struct err *e)
{
	int ret = sys_vm_write(r->tid, r->map_start, puppet_blob,
			       puppet_text_bytes);
	if (ret)
		return fail(r, ret, "write the puppet into it", e);
	r->entry = r->map_start + PUPPET_ENTRY_LIVE;
	return 0;
}

static int prepare(struct remote *r, const struct remote_puppet *puppet,
		   struct err *e)
{
	const struct frozen_proc *p = frozen_proc(r->frozen, r->proc);
	r->own_filters = puppet->own_filters;
	int ret = check_thread(r, e);
	if (ret)
		return ret;
	r->resident = blob_is_resident(r, puppet);
	ret = step_find_syscall(r);
	if (ret)
		return refuse(p, ENOTSUP,
			      "has no system call instruction mapped", e);
	ret = block_signals(r);
	if (ret)
		return fail(r, ret, "block its signals", e);
	ret = map_area(r, r->resident ? 0 : puppet_mem_bytes, e);
	if (ret || !r->resident)
		return ret ? ret : install_blob(r, e);
	r->entry = PUP_LOW + PUPPET_ENTRY_LIVE;
	return 0;
}

int remote_begin(struct remote *r, struct frozen *f, size_t i,
		 const struct remote_puppet *puppet, size_t arena_bytes,
		 struct err *e)
{
	const struct frozen_proc *p = frozen_proc(f, i);
	int ret = check_process(p, e);
	if (ret)
		return ret;
	*r = REMOTE_INIT;
	/* its address is known once it is mapped */
	ret = prog_arena_init_heap(&r->arena, 0, arena_bytes);
	if (ret)
		return err_set(e, -ret, "no memory for an arena");
	r->frozen = f;
	r->proc = i;
	r->tid = frozen_thread(p, 0)->tid;
	f->n_remotes++;
	ret = prepare(r, puppet, e);
	if (ret)
		remote_abort(r);
	return ret;
}

/* Copy the arena in, run, copy it back. */
static int run_program(struct remote *r, uint64_t program, struct err *e)
{
	struct prog_arena *a = &r->arena;
	struct pup_status *status = prog_status(a);
	status->failed = 0;
	int ret = sys_vm_write(r->tid, a->remote, a->local, a->used_bytes);
	if (ret)
		return fail(r, ret, "write the program into it", e);
	ret = step_run(r, program, a->remote);
	if (ret)
		return fail(r, ret, "run the program in it", e);
	ret = sys_vm_read(r->tid, a->remote, a->local, a->used_bytes);
	if (ret)	/* it ran: what it did must be known */
		ret = sys_vm_read(r->tid, a->remote, a->local, a->used_bytes);
	if (ret)
		return fail(r, ret, "read the program's results", e);
	/* the process is stopped, and nobody shares its memory: this is what
	 * the program left, but it is the guest's memory all the same */
	if (status->magic != PUP_MAGIC)
		return fail(r, -EPROTO, "trust the arena: it was overwritten",
			    e);
	return 0;
}

static int check_usable(struct remote *r, struct err *e)
{
	if (r->gone)
		return fail(r, -ESRCH, "", e);
	if (r->arena.failed)
		return fail(r, -ENOMEM, "fit the program in the arena", e);
	return 0;
}

int remote_run(struct remote *r, uint64_t program, struct err *e)
{
	int ret = check_usable(r, e);
	return ret ? ret : run_program(r, program, e);
}

int remote_syscall(struct remote *r, long nr, const uint64_t arg[6],
		   int64_t *result, struct err *e)
{
	if (r->gone)
		return fail(r, -ESRCH, "", e);
	int ret = step_call(r, nr, arg, result);
	return ret ? fail(r, ret, "make a system call in it", e) : 0;
}

/* struct sigaction as the kernel has it. */
struct kernel_sigaction {
	uint64_t handler, flags, restorer, mask;
};

/*
 * Breakpoints made the kernel replace "ignore SIGTRAP" by the default; flags
 * and mask are left.
 */
static int ignore_trap_again(struct remote *r, struct err *e)
{
	struct kernel_sigaction act;
	uint64_t at = r->arena.remote;
	int ret = call(r, "read its action for SIGTRAP", SYS_rt_sigaction,
		       (const uint64_t[6]){ SIGTRAP, 0, at, 8 }, e);
	if (ret)
		return ret;
	ret = sys_vm_read(r->tid, at, &act, sizeof(act));
	act.handler = (uint64_t)SIG_IGN;
	if (ret == 0)
		ret = sys_vm_write(r->tid, at, &act, sizeof(act));
	if (ret)
		return fail(r, ret, "change its action for SIGTRAP", e);
	return call(r, "ignore SIGTRAP again", SYS_rt_sigaction,
		    (const uint64_t[6]){ SIGTRAP, at, 0, 8 }, e);
}

static int undo_trap(struct remote *r, struct err *e)
{
	return r->map_bytes && r->trap_ignored ? ignore_trap_again(r, e) : 0;
}

static int undo_map(struct remote *r, struct err *e)
{
	if (!r->map_bytes)
		return 0;
	int ret = call(r, "unmap the puppet", SYS_munmap,
		       (const uint64_t[6]){ r->map_start, r->map_bytes }, e);
	if (ret == 0)
		r->map_bytes = 0;
	return ret;
}

static int undo_regs(struct remote *r, struct err *e)
{
	int ret = r->moved ? step_restore(r) : 0;
	return ret ? fail(r, ret, "restore its registers", e) : 0;
}

static int undo_mask(struct remote *r, struct err *e)
{
	int ret = r->masked ? sys_ptrace_set_sigmask(r->tid, r->sigmask) : 0;
	return ret ? fail(r, ret, "restore its signal mask", e) : 0;
}

static int undo_suspension(struct remote *r, struct err *e)
{
	int ret = r->suspended ? sys_ptrace_set_options(
					 r->tid, SYS_PTRACE_O_TRACESYSGOOD) :
				 0;
	return ret ? fail(r, ret, "resume its seccomp filters", e) : 0;
}

/*
 * A signal is given back where the thread stands at one. If the last step
 * left it elsewhere, the signal becomes a pending one; its siginfo is lost.
 */
static void return_signal(struct remote *r)
{
	struct frozen_proc *p = frozen_proc(r->frozen, r->proc);
	struct frozen_thread *t = frozen_thread(p, r->thread);
	if (t->stop != FREEZE_SIGNAL || t->at_signal || !r->displaced)
		return;
	if (sys_tgkill(p->pid, t->tid, t->kept.si_signo) == 0)
		t->stop = FREEZE_TRAP;
}

typedef int undo_fn(struct remote *r, struct err *e);

/* Last done first; each skips what is not there. */
static undo_fn *const undo_thread[] = {
	undo_regs, undo_mask, undo_suspension, NULL,
};
static undo_fn *const undo_process[] = { undo_trap, undo_map, NULL };

/* All of them, each tried twice; the first failure is told. */
static int undo(struct remote *r, undo_fn *const *step, struct err *e)
{
	int first = 0;
	for (; *step && !r->gone; step++) {
		int ret = (*step)(r, NULL);
		if (ret && !r->gone)
			ret = (*step)(r, first ? NULL : e);
		if (ret && !first)
			first = ret;
	}
	if (r->gone && !first)
		first = fail(r, -ESRCH, "", e);
	return first;
}

/* Put the playing thread back to where it was found. */
static int leave_thread(struct remote *r, struct err *e)
{
	int ret = undo(r, undo_thread, e);
	if (!r->gone)
		return_signal(r);
	return ret;
}

/* Let another thread play: what is to be undone in it begins empty. */
static void enter_thread(struct remote *r, size_t k)
{
	r->thread = k;
	r->tid = frozen_thread(frozen_proc(r->frozen, r->proc), k)->tid;
	r->sigmask = 0;
	r->moved = r->masked = r->suspended = r->displaced = false;
}

int remote_run_thread(struct remote *r, size_t k, uint64_t program,
		      struct err *e)
{
	if (k == 0)
		return remote_run(r, program, e);
	int ret = check_usable(r, e);
	if (ret)
		return ret;
	struct remote first = *r;
	enter_thread(r, k);
	ret = check_thread(r, e);
	if (ret == 0) {
		ret = block_signals(r);
		if (ret)
			fail(r, ret, "block its signals", e);
	}
	if (ret == 0)
		ret = run_program(r, program, e);
	int left = leave_thread(r, ret ? NULL : e);
	r->thread = 0;
	r->tid = first.tid;
	r->sigmask = first.sigmask;
	r->moved = first.moved;
	r->masked = first.masked;
	r->suspended = first.suspended;
	r->displaced = first.displaced;
	return ret ? ret : left;
}

int remote_end(struct remote *r, struct err *e)
{
	if (!r->frozen)
		return 0;
	int ret = undo(r, undo_process, e);
	int left = leave_thread(r, ret ? NULL : e);
	ret = ret ? ret : left;
	r->frozen->n_remotes--;
	prog_arena_deinit(&r->arena);
	*r = REMOTE_INIT;
	return ret;
}

void remote_abort(struct remote *r)
{
	int ret = remote_end(r, NULL);
	(void)ret;	/* the failure that led here is the one to tell */
}
