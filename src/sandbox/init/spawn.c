/*
 * spawn.c - start one command: the child borrows init's memory, runs the
 * steps below and executes the program. A step that fails leaves its errno
 * in the shared memory, and init reaps that child itself.
 */
#include "sandbox/init/internal.h"

#include <asm/fcntl.h>
#include <asm/ioctls.h>
#include <linux/mman.h>
#include <asm/signal.h>
#include <asm/stat.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/stat.h>
#include <linux/wait.h>

enum {
	STACK_BYTES = 16384, /* two paths and a few frames */
	PATH_BYTES = 4096,
	AT_FDCWD_ = -100,
	SEEK_END_ = 2,
};

struct spawn {
	const struct init_msg *msg;
	const int *fds;
	char *bytes; /* the block */
	const struct init_block *block;
	const uint32_t *groups;
	const char *cwd;
	const char **argv; /* with envp in one mapping */
	const char **envp;
	uint64_t table_bytes;
	volatile long error; /* of the child's step, 0: it executed */
	volatile uint32_t step;
};

static char child_stack[STACK_BYTES] __attribute__((aligned(16)));

/* The string at *at, which moves behind it; NULL: it does not end in time. */
static const char *next_string(const char **at, const char *end)
{
	const char *start = *at;
	const char *p = start;
	while (p < end && *p)
		p++;
	if (p == end)
		return NULL;
	*at = p + 1;
	return start;
}

static long map(uint64_t bytes, int flags, int fd)
{
	return sys6(__NR_mmap, 0, (long)bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
}

static long parse(struct spawn *s)
{
	const char *at = s->bytes;
	const char *end = at + s->msg->block_bytes;
	s->block = (const struct init_block *)at;
	const struct init_block *b = s->block;
	if (b->magic != INIT_MAGIC || b->n_args < 1 || b->n_groups > INIT_GROUPS_MAX ||
	    b->n_args > INIT_ARGS_MAX || b->n_env > INIT_ARGS_MAX)
		return -EINVAL;
	at += sizeof(*b);
	if ((uint64_t)(end - at) < b->n_groups * sizeof(uint32_t))
		return -EINVAL;
	s->groups = (const uint32_t *)at;
	at += b->n_groups * sizeof(uint32_t);
	s->cwd = next_string(&at, end);
	if (!s->cwd)
		return -EINVAL;

	s->table_bytes = ((uint64_t)b->n_args + b->n_env + 2) * sizeof(char *);
	long table = map(s->table_bytes, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (init_failed(table))
		return table;
	s->argv = (const char **)table;
	s->envp = s->argv + b->n_args + 1;
	for (uint32_t i = 0; i < b->n_args; i++)
		if (!(s->argv[i] = next_string(&at, end)))
			return -EINVAL;
	for (uint32_t i = 0; i < b->n_env; i++)
		if (!(s->envp[i] = next_string(&at, end)))
			return -EINVAL;
	return 0;
}

static long load(struct spawn *s)
{
	uint64_t bytes = s->msg->block_bytes;
	if (bytes < sizeof(struct init_block) || bytes > INIT_BLOCK_MAX)
		return -EINVAL;
	long size = sys3(__NR_lseek, s->fds[0], 0, SEEK_END_);
	if (size < (long)bytes)
		return -EINVAL;
	long mapped = map(bytes, MAP_PRIVATE, s->fds[0]);
	if (init_failed(mapped))
		return mapped;
	s->bytes = (char *)mapped;
	return parse(s);
}

static void unload(struct spawn *s)
{
	if (s->argv)
		sys2(__NR_munmap, (long)s->argv, (long)s->table_bytes);
	if (s->bytes)
		sys2(__NR_munmap, (long)s->bytes, (long)s->msg->block_bytes);
}

/* The child, from here on. */

__attribute__((noreturn)) static void child_fails(struct spawn *s, uint32_t step, long error)
{
	s->step = step;
	s->error = error;
	init_exit(127);
}

static void child_try(struct spawn *s, uint32_t step, long ret)
{
	if (init_failed(ret))
		child_fails(s, step, ret);
}

/*
 * Pipes and terminals were made by the keeper; opening /dev/stdout takes
 * owning them. Where it cannot be had everything but that works.
 */
static void child_owns(const struct spawn *s, int fd)
{
	struct stat st;
	if (init_failed(sys2(__NR_fstat, fd, (long)&st)))
		return;
	bool tty = S_ISCHR(st.st_mode) && (s->msg->flags & INIT_F_TTY);
	if ((S_ISFIFO(st.st_mode) || tty) && st.st_uid != s->block->uid)
		sys3(__NR_fchown, fd, s->block->uid, s->block->gid);
}

static void child_stdio(struct spawn *s)
{
	for (int fd = 0; fd < 3; fd++) {
		child_try(s, INIT_STEP_STDIO, sys3(__NR_dup3, s->fds[1 + fd], fd, 0));
		child_owns(s, fd);
	}
	if (s->msg->flags & INIT_F_TTY)
		child_try(s, INIT_STEP_TTY, sys3(__NR_ioctl, 0, TIOCSCTTY, 0));
	child_try(s, INIT_STEP_STDIO, sys3(__NR_close_range, 3, ~0u, 0));
}

static void child_identity(struct spawn *s)
{
	const struct init_block *b = s->block;
	if (!(s->msg->flags & INIT_F_KEEP_GROUPS))
		child_try(s, INIT_STEP_GROUPS, sys2(__NR_setgroups, b->n_groups, (long)s->groups));
	child_try(s, INIT_STEP_GID, sys3(__NR_setresgid, b->gid, b->gid, b->gid));
	child_try(s, INIT_STEP_UID, sys3(__NR_setresuid, b->uid, b->uid, b->uid));
	/* A change of ids makes the memory, which is init's, dumpable where
	 * fs.suid_dumpable says so. */
	sys2(__NR_prctl, PR_SET_DUMPABLE, 0);
}

static bool has_slash(const char *name)
{
	while (*name && *name != '/')
		name++;
	return *name;
}

/* Execute path; returns only with -errno. */
static long child_exec(struct spawn *s, const char *path)
{
	return sys3(__NR_execve, (long)path, (long)s->argv, (long)s->envp);
}

static bool exists(const char *path)
{
	return sys3(__NR_faccessat, AT_FDCWD_, (long)path, 0) == 0;
}

__attribute__((noreturn)) static void child_exec_failed(struct spawn *s, const char *path,
							long error)
{
	if (error == -ENOENT && exists(path))
		child_fails(s, INIT_STEP_INTERPRETER, error);
	bool lookup = error == -ENOENT || error == -EACCES || error == -ENOTDIR ||
		      error == -ENAMETOOLONG || error == -ELOOP;
	child_fails(s, lookup ? INIT_STEP_LOOKUP : INIT_STEP_EXEC, error);
}

/* The value of PATH, or what a system without one means by it. */
static const char *search_path(const struct spawn *s)
{
	for (const char **e = s->envp; *e; e++) {
		const char *v = *e;
		if (v[0] == 'P' && v[1] == 'A' && v[2] == 'T' && v[3] == 'H' && v[4] == '=')
			return v + 5;
	}
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/* dir[0..len) "/" name into out; false: too long. An empty dir is the cwd. */
static bool join(char *out, const char *dir, size_t len, const char *name)
{
	size_t n = 0;
	if (len >= PATH_BYTES)
		return false;
	for (size_t i = 0; i < len; i++)
		out[n++] = dir[i];
	if (len)
		out[n++] = '/';
	while (*name && n < PATH_BYTES)
		out[n++] = *name++;
	if (n >= PATH_BYTES)
		return false;
	out[n] = 0;
	return true;
}

/*
 * Try each directory of PATH. One that lacks the file is passed over; one
 * where it may not be run is remembered, as a shell does; any other error is
 * about the file that was meant.
 */
__attribute__((noreturn)) static void child_search(struct spawn *s)
{
	const char *name = s->argv[0];
	char path[PATH_BYTES];
	long remembered = -ENOENT;
	const char *dir = search_path(s);
	if (!*name)
		child_fails(s, INIT_STEP_LOOKUP, -ENOENT);
	for (;;) {
		size_t len = 0;
		while (dir[len] && dir[len] != ':')
			len++;
		if (join(path, dir, len, name)) {
			long error = child_exec(s, path);
			if (error == -EACCES)
				remembered = error;
			else if ((error != -ENOENT && error != -ENOTDIR) || exists(path))
				child_exec_failed(s, path, error);
		}
		if (!dir[len])
			break;
		dir += len + 1;
	}
	child_fails(s, INIT_STEP_LOOKUP, remembered);
}

__attribute__((noreturn)) static void child(void *arg)
{
	struct spawn *s = arg;
	child_try(s, INIT_STEP_SESSION, sys0(__NR_setsid));
	child_stdio(s);
	child_identity(s);
	child_try(s, INIT_STEP_CWD, sys1(__NR_chdir, (long)s->cwd));
	sys1(__NR_umask, s->block->umask);
	uint64_t none = 0;
	child_try(s, INIT_STEP_SESSION,
		  sys4(__NR_rt_sigprocmask, SIG_SETMASK, (long)&none, 0, sizeof(none)));
	if (!has_slash(s->argv[0]))
		child_search(s);
	long error = child_exec(s, s->argv[0]);
	child_exec_failed(s, s->argv[0], error);
}

long init_spawn(const struct init_msg *msg, const int fds[INIT_SPAWN_FDS], uint32_t *step)
{
	struct spawn s = {.msg = msg, .fds = fds};
	*step = INIT_STEP_BLOCK;
	long pid = load(&s);
	if (!init_failed(pid)) {
		*step = INIT_STEP_CLONE;
		pid = init_is_faulty() ? -EIO :
					 raw_clone_call(CLONE_VM | CLONE_VFORK | SIGCHLD,
							child_stack + sizeof(child_stack), child,
							&s);
	}
	if (!init_failed(pid) && s.error) {
		long ret;
		do
			ret = sys4(__NR_wait4, pid, 0, __WALL, 0);
		while (ret < 0 && ret != -ECHILD);
		pid = s.error;
		*step = s.step;
	}
	unload(&s);
	return pid;
}
