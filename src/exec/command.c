#include "exec/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "exec/internal.h"
#include "exec/kin.h"
#include "sys/event.h"
#include "sys/procfs.h"
#include "sys/sock.h"

enum {
	EVENTS_A_TURN = 64,
	MESSAGES_A_TURN = 256,
	KILL_AGAIN_NS = 100000000, /* after a kill that could not be finished */
};

const char *command_state_name(enum command_state state)
{
	static const char *const names[] = {
		[COMMAND_STARTING] = "starting", [COMMAND_RUNNING] = "running",
		[COMMAND_EXITED] = "exited",     [COMMAND_KILLED] = "killed",
		[COMMAND_FAILED] = "failed",     [COMMAND_ROLLED_BACK] = "rolled_back",
		[COMMAND_LOST] = "lost",
	};
	return names[state];
}

bool command_is_over(const struct command *c)
{
	return c->state != COMMAND_STARTING && c->state != COMMAND_RUNNING;
}

/* Handles */

static char **copy_argv(const char *const *argv)
{
	size_t n = 0;
	while (argv[n])
		n++;
	char **copy = calloc(n + 1, sizeof(*copy));
	for (size_t i = 0; copy && i < n; i++) {
		copy[i] = strdup(argv[i]);
		if (!copy[i]) {
			while (i--)
				free(copy[i]);
			free(copy);
			return NULL;
		}
	}
	return copy;
}

struct command *command_new(const char *const *argv)
{
	struct command *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->refs = 1;
	c->is_changed = true;
	c->error = ERR_INIT;
	c->input = BUF_INIT;
	for (int i = 0; i < STREAMS; i++) {
		c->stream[i].fd = -1;
		log_init(&c->stream[i].log, 0, 0, -1);
	}
	c->argv = copy_argv(argv);
	if (!c->argv) {
		command_free(c);
		return NULL;
	}
	return c;
}

void command_free(struct command *c)
{
	if (!c || --c->refs)
		return;
	command_free(c->saved_as);
	for (char **arg = c->argv; arg && *arg; arg++)
		free(*arg);
	free(c->argv);
	free(c->cwd);
	buf_deinit(&c->input);
	for (int i = 0; i < STREAMS; i++) {
		cleanup_fd(&c->stream[i].fd);
		log_deinit(&c->stream[i].log);
	}
	free(c);
}

/* The table */

struct commands *commands_new(const struct commands_events *events)
{
	struct commands *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->events = *events;
	t->all = VEC_INIT(struct command *);
	t->late = VEC_INIT(int);
	t->next_id = 1;
	t->init_fd = -1;
	t->timer_fd = sys_timer_new();
	t->epoll_fd = sys_epoll_new();
	if (t->timer_fd < 0 || t->epoll_fd < 0 ||
	    sys_epoll_add(t->epoll_fd, t->timer_fd, EPOLLIN, WATCH_TIMER)) {
		commands_free(t);
		return NULL;
	}
	/* a command that closes its stdin must not end the keeper */
	signal(SIGPIPE, SIG_IGN);
	return t;
}

void commands_free(struct commands *t)
{
	if (!t)
		return;
	vec_each (struct command *, c, &t->all)
		command_free(*c);
	vec_deinit(&t->all);
	commands_close_late(t);
	vec_deinit(&t->late);
	cleanup_fd(&t->init_fd);
	cleanup_fd(&t->timer_fd);
	cleanup_fd(&t->epoll_fd);
	free(t);
}

int commands_fd(const struct commands *t)
{
	return t->epoll_fd;
}

const struct vec *commands_all(const struct commands *t)
{
	return &t->all;
}

int commands_add(struct commands *t, struct command *c)
{
	struct command **slot = vec_add(&t->all);
	if (!slot)
		return -ENOMEM;
	*slot = c;
	return 0;
}

struct command *commands_lookup(const struct vec *handles, size_t n, uint64_t id)
{
	size_t low = 0, high = n;
	while (low < high) {
		size_t mid = (low + high) / 2;
		struct command *c = *(struct command **)vec_at(handles, mid);
		if (c->id == id)
			return c;
		if (c->id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

static struct command *find(const struct commands *t, uint64_t id)
{
	return commands_lookup(&t->all, t->all.n, id);
}

struct command *commands_find(struct commands *t, uint64_t id)
{
	struct command *c = find(t, id);
	return c && !c->forgotten ? c : NULL;
}

size_t commands_starting(const struct commands *t)
{
	size_t n = 0;
	vec_each (struct command *, c, &t->all)
		n += (*c)->state == COMMAND_STARTING;
	return n;
}

void commands_sweep(struct commands *t)
{
	if (t->busy || !t->to_sweep)
		return;
	t->to_sweep = false;
	size_t kept = 0;
	struct command **all = t->all.data;
	for (size_t i = 0; i < t->all.n; i++) {
		struct command *c = all[i];
		if (c->forgotten && command_is_over(c) && !streams_are_open(c))
			command_free(c);
		else
			all[kept++] = c;
	}
	t->all.n = kept;
}

void command_forget(struct commands *t, struct command *c)
{
	c->forgotten = true;
	command_changed(c);
	c->owner = NULL;
	for (int i = 0; i < STREAMS; i++) {
		log_deinit(&c->stream[i].log);
		log_init(&c->stream[i].log, 0, 0, -1);
	}
	t->to_sweep = true;
	commands_sweep(t);
}

/* During a freeze nothing is told: the dispatch after it does. */
static bool wait_with(struct commands *t, struct command *c, unsigned int what)
{
	if (t->is_quiet)
		c->untold |= what;
	return t->is_quiet;
}

void commands_tell_output(struct commands *t, struct command *c, enum stream_kind kind)
{
	if (c->forgotten || !t->events.output || wait_with(t, c, 1u << kind))
		return;
	t->busy++;
	t->events.output(t->events.ctx, c, kind);
	t->busy--;
}

static void tell_what_waits(struct commands *t)
{
	for (size_t i = 0; i < t->all.n; i++) {
		struct command *c = *(struct command **)vec_at(&t->all, i);
		unsigned int untold = c->untold;
		c->untold = 0;
		for (int k = 0; k < STREAMS; k++)
			if (untold & 1u << k)
				commands_tell_output(t, c, k);
		if (untold & UNTOLD_ENDED)
			commands_tell_ended(t, c);
	}
}

void commands_tell_started(struct commands *t, struct command *c)
{
	if (c->forgotten || !t->events.started)
		return;
	t->busy++;
	t->events.started(t->events.ctx, c);
	t->busy--;
}

void commands_tell_ended(struct commands *t, struct command *c)
{
	if (!c->ended_ns)
		c->ended_ns = clock_now_ns();
	c->deadline_ns = 0;
	command_changed(c);
	t->to_sweep = t->to_sweep || c->forgotten;
	if (c->forgotten || !t->events.ended || wait_with(t, c, UNTOLD_ENDED))
		return;
	t->busy++;
	t->events.ended(t->events.ctx, c);
	t->busy--;
}

/* Attach */

int commands_open_root(const struct commands *t, struct err *e)
{
	struct procfs p = PROCFS_INIT;
	int r = procfs_open(&p, NULL);
	if (r == 0)
		r = procfs_openat(&p, t->init_pid, 0, "root", O_PATH | O_DIRECTORY);
	procfs_close(&p);
	return r < 0 ? err_set(e, -r, "open the sandbox's root directory") : r;
}

/*
 * In a user namespace without a helper's map setgroups(2) is denied. All
 * inits of a table live in the same one.
 */
static int read_keep_groups(struct commands *t, pid_t init_pid)
{
	struct procfs p = PROCFS_INIT;
	if (t->knows_groups)
		return 0;
	int r = procfs_open(&p, NULL);
	if (r == 0)
		r = procfs_read(&p, init_pid, 0, "setgroups");
	if (r > 0)
		t->keep_groups = strncmp(p.text.data, "deny", 4) == 0;
	t->knows_groups = r > 0;
	procfs_close(&p);
	return r < 0 ? r : 0;
}

int commands_attach(struct commands *t, int init_fd, pid_t init_pid, struct err *e)
{
	int r = read_keep_groups(t, init_pid);
	if (r)
		return err_set(e, -r, "look at the sandbox's init, process %d", (int)init_pid);
	r = sys_epoll_add(t->epoll_fd, init_fd, EPOLLIN, WATCH_INIT);
	if (r)
		return err_set(e, -r, "watch the sandbox's init");
	if (t->init_fd >= 0)
		sys_epoll_remove(t->epoll_fd, t->init_fd);
	cleanup_fd(&t->init_fd);
	t->init_fd = init_fd;
	t->init_pid = init_pid;
	t->init_is_ready = false;
	t->init_failure = (struct init_msg){0};
	return 0;
}

/* Deadlines */

static uint64_t due_ns(const struct command *c)
{
	if (c->state == COMMAND_STARTING)
		return c->born_by_ns;
	return c->state == COMMAND_RUNNING ? c->deadline_ns : 0;
}

void commands_arm_timer(struct commands *t)
{
	uint64_t first = 0;
	vec_each (struct command *, c, &t->all) {
		uint64_t due = due_ns(*c);
		if (due && (!first || due < first))
			first = due;
	}
	if (t->late.n && (!first || t->late_ns < first))
		first = t->late_ns;
	if (t->is_quiet)
		first = 1; /* in the past: there will be something to tell */
	/* as a rule nothing changes, and setting it costs more than all of this */
	if (first != t->armed_ns)
		sys_timer_set(t->timer_fd, first);
	t->armed_ns = first;
}

int command_kill(struct commands *t, struct command *c, struct err *e)
{
	if (c->state == COMMAND_STARTING) {
		c->is_doomed = true;
		return 0;
	}
	if (c->state != COMMAND_RUNNING)
		return err_set(e, ESRCH, "command %llu does not run", (unsigned long long)c->id);
	struct vec others = VEC_INIT(pid_t);
	vec_each (struct command *, o, &t->all) {
		if (*o == c || (*o)->state != COMMAND_RUNNING)
			continue;
		pid_t *pid = vec_add(&others);
		if (pid)
			*pid = (*o)->pid;
	}
	struct kin k = {
		.init_pid = t->init_pid,
		.pid = c->pid,
		.cookie = c->cookie,
		.others = others.data,
		.n_others = others.n,
	};
	for (int i = 0; i < STREAMS; i++)
		if (!c->is_tty && c->stream[i].is_open)
			k.pipe[i] = c->stream[i].ino;
	int r = kin_kill(&k, e);
	vec_deinit(&others);
	return r < 0 ? r : 0;
}

static void command_expire(struct commands *t, struct command *c)
{
	struct err e = ERR_INIT;
	c->timed_out = true;
	c->deadline_ns = 0;
	command_changed(c);
	if (command_kill(t, c, &e)) {
		/* at least the command itself; then its descendants again */
		(void)!command_signal(t, c, SIGKILL, false);
		c->deadline_ns = clock_now_ns() + KILL_AGAIN_NS;
	}
}

/*
 * init starts one command after the other, so of those that wait it is the
 * oldest whose exec hangs. What SPAWNED then says of it is not the truth.
 */
static void kill_unborn(struct commands *t, uint64_t now)
{
	struct command *oldest = NULL;
	vec_each (struct command *, c, &t->all) {
		if ((*c)->state != COMMAND_STARTING)
			continue;
		if (!oldest)
			oldest = *c;
		(*c)->born_by_ns = now + COMMAND_BIRTH_NS;
	}
	if (oldest && kin_kill_unborn(t->init_pid, NULL) > 0)
		oldest->timed_out = true;
}

static void serve_timer(struct commands *t)
{
	uint64_t expirations;
	(void)!read(t->timer_fd, &expirations, sizeof(expirations));
	t->armed_ns = 0;
	uint64_t now = clock_now_ns();
	if (now >= t->late_ns)
		commands_close_late(t);
	for (size_t i = 0; i < t->all.n; i++) {
		struct command *c = *(struct command **)vec_at(&t->all, i);
		uint64_t due = due_ns(c);
		if (!due || due > now)
			continue;
		if (c->state == COMMAND_STARTING)
			kill_unborn(t, now);
		else
			command_expire(t, c);
	}
	commands_arm_timer(t);
}

int command_signal(struct commands *t, struct command *c, int sig, bool group)
{
	if (c->state != COMMAND_RUNNING || t->init_fd < 0)
		return -ESRCH;
	if (sig < 1 || sig > SIGRTMAX)
		return -EINVAL;
	struct init_msg msg = {
		.magic = INIT_MAGIC,
		.version = INIT_VERSION,
		.kind = INIT_SIGNAL,
		.pid = c->pid,
		.value = sig,
		.flags = group ? INIT_F_GROUP : 0,
	};
	return sys_sock_send(t->init_fd, &msg, sizeof(msg), NULL, 0, MSG_DONTWAIT);
}

/* What init says */

static int spawn_error(struct command *c, const struct init_msg *msg)
{
	struct err *e = &c->error;
	int code = -msg->value;
	const char *name = c->argv[0];
	bool is_path = strchr(name, '/') != NULL;
	if (c->timed_out)
		return err_set(e, ETIMEDOUT, "executing '%s' did not come to an end", name);
	switch (msg->step) {
	case INIT_STEP_LOOKUP:
		if (code == EACCES)
			return err_set(e, code, "'%s' may not be executed", name);
		return err_set(e, code,
			       is_path ? "there is no '%s' in the sandbox"
				       : "there is no command '%s' in the sandbox's PATH",
			       name);
	case INIT_STEP_INTERPRETER:
		return err_set(e, code, "'%s' is there, but not the interpreter it names", name);
	case INIT_STEP_EXEC:
		return err_set(e, code, "execute '%s': %s", name, strerror(code));
	case INIT_STEP_CWD:
		err_set(e, code, "enter the working directory '%s': %s", c->cwd, strerror(code));
		return err_path(e, c->cwd);
	case INIT_STEP_GROUPS:
	case INIT_STEP_GID:
	case INIT_STEP_UID:
		err_set(e, code, "become user %u: %s", c->uid, strerror(code));
		if (code == EINVAL)
			err_remedy(e, "this sandbox maps user 0 alone; give your user a range "
				      "in /etc/subuid and /etc/subgid, or run it as root");
		return -code;
	case INIT_STEP_CLONE:
		err_set(e, code, "fork for '%s': %s", name, strerror(code));
		if (code == EAGAIN)
			err_remedy(e, "the sandbox is at its limit of processes: end some, or "
				      "raise --pids");
		return -code;
	default:
		return err_set(e, code, "start '%s': step %u of init: %s", name, msg->step,
			       strerror(code));
	}
}

static void on_spawned(struct commands *t, const struct init_msg *msg)
{
	struct command *c = find(t, msg->id);
	if (!c || c->state != COMMAND_STARTING)
		return;
	if (msg->value || c->timed_out) {
		spawn_error(c, msg);
		c->state = COMMAND_FAILED;
		for (int i = 0; i < STREAMS; i++)
			if (c->stream[i].fd >= 0)
				stream_close(t, c, i);
		c->ended_ns = clock_now_ns();
		t->to_sweep = t->to_sweep || c->forgotten;
	} else {
		c->state = COMMAND_RUNNING;
		c->pid = msg->pid;
	}
	command_changed(c);
	if (c->state == COMMAND_RUNNING && c->is_doomed && command_kill(t, c, NULL))
		c->deadline_ns = clock_now_ns() + KILL_AGAIN_NS;
	commands_arm_timer(t);
	commands_tell_started(t, c);
}

static void on_exited(struct commands *t, const struct init_msg *msg)
{
	vec_each (struct command *, at, &t->all) {
		struct command *c = *at;
		if (c->state != COMMAND_RUNNING || c->pid != msg->pid)
			continue;
		streams_end(t, c);
		c->wait_status = msg->value;
		bool killed = WIFSIGNALED(msg->value);
		c->state = killed ? COMMAND_KILLED : COMMAND_EXITED;
		if (killed && WTERMSIG(msg->value) == SIGKILL && t->events.oom_kills)
			c->oom_killed = t->events.oom_kills(t->events.ctx) > c->oom_kills;
		commands_tell_ended(t, c);
		return;
	}
	if (t->events.reaped)
		t->events.reaped(t->events.ctx, msg->pid, msg->value);
}

static void on_init_gone(struct commands *t)
{
	sys_epoll_remove(t->epoll_fd, t->init_fd);
	cleanup_fd(&t->init_fd);
	for (size_t i = 0; i < t->all.n; i++) {
		struct command *c = *(struct command **)vec_at(&t->all, i);
		if (command_is_over(c))
			continue;
		streams_end(t, c);
		bool never_ran = c->state == COMMAND_STARTING;
		c->state = COMMAND_LOST;
		err_set(&c->error, ESRCH, "the sandbox's init ended before the command did");
		if (never_ran)
			commands_tell_started(t, c);
		commands_tell_ended(t, c);
	}
	if (t->events.init_gone) {
		t->busy++;
		t->events.init_gone(t->events.ctx);
		t->busy--;
	}
}

int commands_receive(struct commands *t)
{
	struct init_msg msg;
	if (t->init_fd < 0)
		return -EPIPE;
	/* a failure is not the end of init, and leaves the message where it is */
	enum { TRIES = 3 };
	long len = -EIO;
	for (int i = 0; i < TRIES && len < 0 && len != -EAGAIN && len != -ECONNRESET; i++)
		len = sys_sock_recv(t->init_fd, &msg, sizeof(msg), NULL, NULL, MSG_DONTWAIT);
	if (len == -EAGAIN)
		return 0;
	if (len != sizeof(msg) || msg.magic != INIT_MAGIC || msg.version != INIT_VERSION) {
		/* end of file, or nothing that init would say */
		on_init_gone(t);
		return -EPIPE;
	}
	switch (msg.kind) {
	case INIT_READY:
		t->init_is_ready = msg.value == 0;
		t->init_failure = msg;
		break;
	case INIT_SPAWNED:
		on_spawned(t, &msg);
		break;
	case INIT_EXITED:
		on_exited(t, &msg);
		break;
	}
	return 1;
}

static void serve_stream(struct commands *t, uint64_t tag, uint32_t events)
{
	struct command *c = find(t, tag >> WATCH_STREAM_BITS);
	enum stream_kind kind = tag & ((1 << WATCH_STREAM_BITS) - 1);
	if (!c || c->stream[kind].fd < 0)
		return;
	stream_ready(t, c, kind, events);
	t->to_sweep = t->to_sweep || (c->forgotten && !streams_are_open(c));
}

void commands_dispatch(struct commands *t)
{
	struct epoll_event ev[EVENTS_A_TURN];
	t->busy++;
	tell_what_waits(t);
	int n = epoll_wait(t->epoll_fd, ev, EVENTS_A_TURN, 0);
	for (int i = 0; i < n; i++) {
		uint64_t tag = ev[i].data.u64;
		if (tag >> WATCH_STREAM_BITS)
			serve_stream(t, tag, ev[i].events);
		else if (tag == WATCH_TIMER)
			serve_timer(t);
		else
			for (int k = 0; k < MESSAGES_A_TURN && commands_receive(t) > 0; k++)
				;
	}
	t->busy--;
	commands_sweep(t);
}

/* Waiting, for callers that have nothing better to do */

static void wait_for_events(struct commands *t, uint64_t until_ns)
{
	uint64_t now = clock_now_ns();
	struct pollfd p = {.fd = t->epoll_fd, .events = POLLIN};
	int ms = now < until_ns ? (int)((until_ns - now) / 1000000 + 1) : 0;
	poll(&p, 1, ms);
	t->busy++; /* nobody frees what the caller waits for */
	commands_dispatch(t);
	t->busy--;
}

int commands_wait_ready(struct commands *t, uint64_t timeout_ns, struct err *e)
{
	uint64_t until = clock_now_ns() + timeout_ns;
	while (!t->init_is_ready && !t->init_failure.value && t->init_fd >= 0 &&
	       clock_now_ns() < until)
		wait_for_events(t, until);
	commands_sweep(t);
	if (t->init_is_ready)
		return 0;
	if (t->init_failure.value)
		return err_set(e, -t->init_failure.value,
			       "the sandbox's init could not confine itself, step %u",
			       t->init_failure.step);
	if (t->init_fd < 0)
		return err_set(e, EPIPE, "the sandbox's init ended before it was ready");
	return err_set(e, ETIMEDOUT, "the sandbox's init did not become ready");
}

int command_wait_started(struct commands *t, struct command *c, struct err *e)
{
	while (c->state == COMMAND_STARTING)
		wait_for_events(t, c->born_by_ns);
	int r = 0;
	if (c->state == COMMAND_FAILED || (c->state == COMMAND_LOST && !c->pid)) {
		r = -c->error.code;
		if (e)
			*e = c->error;
	}
	commands_sweep(t);
	return r;
}
