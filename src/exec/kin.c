#include "exec/kin.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/vec.h"
#include "sys/proc.h"
#include "sys/procfs.h"

enum {
	ROUNDS = 200, /* of stopping; each finds something new, or waits */
	ROUND_WAIT_NS = 1000000,
	DEEP = 1 << 20, /* processes: a kernel's pid_max is 4 M */
};

/* A process below PID 1. Pids named ns_ are the sandbox's, others ours. */
struct relative {
	pid_t pid;
	pid_t ns_pid;
	pid_t ns_sid;
	uint64_t start_time;
	size_t parent; /* index; NO_PARENT: a child of PID 1 */
	bool quiet;    /* no thread of it can run */
	bool ours;
	bool others; /* below another command */
};

#define NO_PARENT ((size_t)-1)

/* Somebody who was sent a signal. */
struct victim {
	pid_t pid;
	uint64_t start_time;
};

struct hunt {
	const struct kin *kin;
	struct procfs proc;
	int depth;            /* of the sandbox's namespace in NSpid */
	struct vec relatives; /* struct relative, parents before children */
	struct vec victims;   /* struct victim */
	struct vec scratch;   /* pid_t */
	struct vec tasks;     /* pid_t */
};

static void hunt_deinit(struct hunt *h)
{
	procfs_close(&h->proc);
	vec_deinit(&h->relatives);
	vec_deinit(&h->victims);
	vec_deinit(&h->scratch);
	vec_deinit(&h->tasks);
}

static int hunt_init(struct hunt *h, const struct kin *k)
{
	*h = (struct hunt){
		.kin = k,
		.proc = PROCFS_INIT,
		.relatives = VEC_INIT(struct relative),
		.victims = VEC_INIT(struct victim),
		.scratch = VEC_INIT(pid_t),
		.tasks = VEC_INIT(pid_t),
	};
	int r = procfs_open(&h->proc, NULL);
	if (r)
		return r;
	struct procfs_status status;
	r = procfs_status(&h->proc, k->init_pid, 0, &status);
	if (r < 0)
		return r;
	h->depth = status.n_ns - 1;
	return 0;
}

static bool is_quiet_state(char state)
{
	/* D: a vfork parent, which cannot fork again before its child ends */
	return strchr("TtZXxD", state) != NULL;
}

/* Append the children of a process; -ESRCH: it is gone. */
static int add_children(struct hunt *h, pid_t pid, size_t parent)
{
	h->tasks.n = 0;
	h->scratch.n = 0;
	int r = procfs_tasks(&h->proc, pid, &h->tasks);
	if (r < 0)
		return r;
	bool quiet = true;
	vec_each (pid_t, tid, &h->tasks) {
		struct procfs_stat stat;
		r = procfs_stat(&h->proc, pid, *tid, &stat);
		if (r == 0 && !is_quiet_state(stat.state))
			quiet = false;
		if (r >= 0)
			r = procfs_children(&h->proc, pid, *tid, &h->scratch);
		if (r < 0 && r != -ESRCH)
			return r;
	}
	if (parent != NO_PARENT)
		((struct relative *)vec_at(&h->relatives, parent))->quiet = quiet;
	vec_each (pid_t, child, &h->scratch) {
		struct relative *c = vec_add(&h->relatives);
		if (!c)
			return -ENOMEM;
		*c = (struct relative){.pid = *child, .parent = parent};
	}
	return 0;
}

/* What is known of one process; false: it is gone. */
static bool identify(struct hunt *h, struct relative *c)
{
	struct procfs_status status;
	struct procfs_stat stat;
	if (procfs_status(&h->proc, c->pid, 0, &status) < 0 || status.n_ns <= h->depth ||
	    procfs_stat(&h->proc, c->pid, 0, &stat) < 0)
		return false;
	c->ns_pid = status.ns_tgid[h->depth];
	c->ns_sid = status.ns_sid[h->depth];
	c->start_time = stat.start_time;
	return true;
}

/* Read the whole tree. */
static int scan(struct hunt *h)
{
	h->relatives.n = 0;
	int r = add_children(h, h->kin->init_pid, NO_PARENT);
	for (size_t i = 0; r == 0 && i < h->relatives.n; i++) {
		struct relative *c = vec_at(&h->relatives, i);
		if (!identify(h, c)) {
			c->quiet = true;
			continue;
		}
		r = add_children(h, c->pid, i);
		if (r == -ESRCH)
			r = 0;
		if (h->relatives.n > DEEP)
			return -EBUSY;
	}
	return r;
}

enum cookie { COOKIE_NONE, COOKIE_OURS, COOKIE_OTHER };

static enum cookie cookie_of(struct hunt *h, pid_t pid)
{
	static const char name[] = KIN_COOKIE_NAME "=";
	/* unreadable: a program that may not be read; go by the rest */
	int len = procfs_read(&h->proc, pid, 0, "environ");
	const char *at = len > 0 ? h->proc.text.data : NULL;
	const char *end = len > 0 ? at + len : NULL;
	for (; at < end; at += strlen(at) + 1) {
		if (strncmp(at, name, sizeof(name) - 1) != 0)
			continue;
		return strcmp(at + sizeof(name) - 1, h->kin->cookie) == 0 ? COOKIE_OURS
									  : COOKIE_OTHER;
	}
	return COOKIE_NONE;
}

static bool holds_pipe(struct hunt *h, pid_t pid)
{
	h->scratch.n = 0;
	if (procfs_fd_numbers(&h->proc, pid, &h->scratch) < 0)
		return false;
	vec_each (int, fd, &h->scratch) {
		char name[32];
		char link[64];
		struct procfs_fd what;
		snprintf(name, sizeof(name), "fd/%d", *fd);
		if (procfs_link(&h->proc, pid, name, &what, link, sizeof(link)) < 0 ||
		    !S_ISFIFO(what.mode) || strncmp(link, "pipe:", 5) != 0)
			continue;
		for (int i = 0; i < KIN_PIPES; i++)
			if (h->kin->pipe[i] && h->kin->pipe[i] == what.ino)
				return true;
	}
	return false;
}

static bool in_our_session(const struct hunt *h, pid_t ns_sid)
{
	if (ns_sid == h->kin->pid)
		return true;
	vec_each (struct relative, c, &h->relatives)
		if (c->ours && c->ns_sid == ns_sid)
			return true;
	return false;
}

static bool is_other_command(const struct kin *k, pid_t ns_pid)
{
	for (size_t i = 0; i < k->n_others; i++)
		if (k->others[i] == ns_pid)
			return true;
	return false;
}

/* Is this child of PID 1 an orphan of the command? */
static bool is_our_orphan(struct hunt *h, const struct relative *c)
{
	enum cookie cookie = cookie_of(h, c->pid);
	if (cookie != COOKIE_NONE)
		return cookie == COOKIE_OURS;
	return holds_pipe(h, c->pid);
}

/* Ancestry: parents stand before their children. */
static void inherit(struct hunt *h)
{
	vec_each (struct relative, c, &h->relatives) {
		if (c->parent == NO_PARENT)
			continue;
		const struct relative *parent = vec_at(&h->relatives, c->parent);
		c->ours = c->ours || parent->ours;
		c->others = c->others || parent->others;
	}
}

static void mark(struct hunt *h)
{
	const struct kin *k = h->kin;
	vec_each (struct relative, c, &h->relatives) {
		if (c->parent != NO_PARENT || !c->ns_pid)
			continue;
		c->others = is_other_command(k, c->ns_pid);
		c->ours = !c->others && (c->ns_pid == k->pid || is_our_orphan(h, c));
	}
	inherit(h);
	/* each session found may lead to another one */
	for (bool found = true; found;) {
		found = false;
		vec_each (struct relative, c, &h->relatives) {
			if (c->parent != NO_PARENT || c->ours || c->others || !c->ns_pid)
				continue;
			if (in_our_session(h, c->ns_sid))
				c->ours = found = true;
		}
		inherit(h);
	}
}

static bool is_victim(const struct hunt *h, const struct relative *c)
{
	vec_each (struct victim, v, &h->victims)
		if (v->pid == c->pid && v->start_time == c->start_time)
			return true;
	return false;
}

/*
 * Signal a process that must still be the one that was looked at: what is
 * read of a pid while a pidfd of it is alive is of that process. -ESRCH.
 */
static int signal_checked(struct hunt *h, pid_t pid, uint64_t start_time, int sig)
{
	scoped_fd int pidfd = sys_pidfd_open(pid);
	if (pidfd < 0)
		return pidfd;
	struct procfs_stat stat;
	int r = procfs_stat(&h->proc, pid, 0, &stat);
	if (r < 0)
		return r;
	if (stat.start_time != start_time || stat.state == 'Z')
		return -ESRCH;
	return sys_pidfd_send_signal(pidfd, sig);
}

/* Signal every member that was not yet. Returns how many were new. */
static int signal_new(struct hunt *h, int sig)
{
	int n = 0;
	vec_each (struct relative, c, &h->relatives) {
		if (!c->ours || is_victim(h, c))
			continue;
		int r = signal_checked(h, c->pid, c->start_time, sig);
		if (r == -ESRCH)
			continue;
		if (r < 0)
			return r;
		struct victim *v = vec_add(&h->victims);
		if (!v)
			return -ENOMEM;
		*v = (struct victim){c->pid, c->start_time};
		n++;
	}
	return n;
}

static bool all_quiet(const struct hunt *h)
{
	vec_each (struct relative, c, &h->relatives)
		if (c->ours && !c->quiet)
			return false;
	return true;
}

static void wait_a_round(void)
{
	struct timespec ts = {.tv_nsec = ROUND_WAIT_NS};
	nanosleep(&ts, NULL);
}

/* Stop all members. 0, -EBUSY: they kept coming or running, -errno. */
static int stop_all(struct hunt *h)
{
	for (int i = 0; i < ROUNDS; i++) {
		int r = scan(h);
		if (r < 0)
			return r;
		mark(h);
		r = signal_new(h, SIGSTOP);
		if (r < 0)
			return r;
		if (r == 0 && all_quiet(h))
			return 0;
		if (r == 0)
			wait_a_round();
	}
	return -EBUSY;
}

static int kill_victims(struct hunt *h)
{
	int n = 0;
	vec_each (struct victim, v, &h->victims) {
		int r = signal_checked(h, v->pid, v->start_time, SIGKILL);
		if (r == 0)
			n++;
		else if (r != -ESRCH)
			return r;
	}
	return n;
}

/* Whoever a sibling continued, or who was born in between. */
static int kill_stragglers(struct hunt *h)
{
	for (int i = 0; i < ROUNDS; i++) {
		h->victims.n = 0;
		int r = scan(h);
		if (r < 0)
			return r;
		mark(h);
		r = signal_new(h, SIGKILL);
		if (r <= 0)
			return r;
		wait_a_round();
	}
	return -EBUSY;
}

int kin_kill(const struct kin *k, struct err *e)
{
	scoped(hunt_deinit) struct hunt h;
	int r = hunt_init(&h, k);
	if (r < 0)
		return err_set(e, -r, "look at the sandbox's processes");
	int stopped = stop_all(&h);
	int n = kill_victims(&h);
	r = n < 0 ? n : kill_stragglers(&h);
	if (r == 0 && stopped != -EBUSY)
		r = stopped;
	if (r < 0)
		return err_set(e, -r, "kill process %d of the sandbox and its descendants",
			       (int)k->pid);
	return n;
}

int kin_kill_unborn(pid_t init_pid, struct err *e)
{
	struct kin nobody = {.init_pid = init_pid};
	scoped(hunt_deinit) struct hunt h;
	struct procfs_fd init_exe;
	int r = hunt_init(&h, &nobody);
	if (r == 0)
		r = procfs_link(&h.proc, init_pid, "exe", &init_exe, NULL, 0);
	if (r >= 0)
		r = add_children(&h, init_pid, NO_PARENT);
	int n = 0;
	vec_each (struct relative, c, &h.relatives) {
		struct procfs_fd exe;
		if (r < 0)
			break;
		if (!identify(&h, c) || procfs_link(&h.proc, c->pid, "exe", &exe, NULL, 0) < 0 ||
		    exe.dev != init_exe.dev || exe.ino != init_exe.ino)
			continue;
		r = signal_checked(&h, c->pid, c->start_time, SIGKILL);
		if (r == 0)
			n++;
		else if (r == -ESRCH)
			r = 0;
	}
	if (r < 0)
		return err_set(e, -r, "look for commands that hang in their exec");
	return n;
}
