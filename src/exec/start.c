/*
 * start.c - a spec becomes a SPAWN: user, environment, ends, block.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "exec/internal.h"
#include "exec/kin.h"
#include "sys/fd.h"
#include "sys/inroot.h"
#include "sys/pipe.h"
#include "sys/sock.h"
#include "sys/tty.h"

enum {
	DEFAULT_ROWS = 24,
	DEFAULT_COLS = 80,
	UMASK = 022,
	NULL_MAJOR = 1, /* Documentation/admin-guide/devices.txt */
	NULL_MINOR = 3,
	INNER = 3,
};

/* What is needed until the message is sent. */
struct start {
	struct commands *t;
	const struct command_spec *spec;
	struct command *c;
	struct user_account user;
	struct vec env; /* char *, heap */
	struct buf block;
	int root_fd;
	int block_fd;
	int inner_fd[INNER]; /* stdin, stdout, stderr of the command */
};

static void start_deinit(struct start *s)
{
	vec_each (char *, v, &s->env)
		free(*v);
	vec_deinit(&s->env);
	buf_deinit(&s->block);
	cleanup_fd(&s->root_fd);
	cleanup_fd(&s->block_fd);
	for (int i = 0; i < INNER; i++)
		cleanup_fd(&s->inner_fd[i]);
	command_free(s->c);
}

static bool env_names(const char *const *env, const char *name)
{
	size_t len = strlen(name);
	for (; env && *env; env++)
		if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
			return true;
	return false;
}

static int env_add(struct start *s, char *text)
{
	char **slot = text ? vec_add(&s->env) : NULL;
	if (!slot) {
		free(text);
		return -ENOMEM;
	}
	*slot = text;
	return 0;
}

static int start_cookie(struct command *c)
{
	uint64_t random;
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return -errno;
	snprintf(c->cookie, sizeof(c->cookie), "%016llx", (unsigned long long)random);
	return 0;
}

/* The spec's variables, then what a login sets, then the cookie. */
static int start_env(struct start *s, struct err *e)
{
	const char *const *env = s->spec->env;
	int r = start_cookie(s->c);
	for (; r == 0 && env && *env; env++) {
		if (!strchr(*env, '=') || **env == '=')
			return err_set(e, EINVAL, "'%s' is no variable: expected NAME=VALUE", *env);
		if (strncmp(*env, KIN_COOKIE_NAME "=", sizeof(KIN_COOKIE_NAME)) != 0)
			r = env_add(s, strdup(*env));
	}
	if (r == 0)
		r = user_env(&s->user, &s->env);
	if (r == 0 && s->spec->tty && !env_names(s->spec->env, "TERM"))
		r = env_add(s, strdup("TERM=xterm"));
	char *cookie = NULL;
	if (r == 0 && asprintf(&cookie, KIN_COOKIE_NAME "=%s", s->c->cookie) < 0)
		cookie = NULL;
	if (r == 0)
		r = env_add(s, cookie);
	return r ? err_set(e, -r, "build the command's environment") : 0;
}

/* A pipe: one end is the keeper's, the other the command's. */
static int start_pipe(struct start *s, enum stream_kind kind)
{
	int ends[2];
	int r = sys_pipe(ends);
	if (r)
		return r;
	bool in = kind == STREAM_STDIN;
	struct stream *outer = &s->c->stream[kind];
	outer->fd = ends[in ? 1 : 0];
	outer->is_open = true;
	s->inner_fd[kind] = ends[in ? 0 : 1];
	return stream_identify(outer, outer->fd);
}

/*
 * Nothing to read: the sandbox's own null device, so that no file of the host
 * is in the command's hands; where the guest removed it, a pipe that has ended.
 */
static int start_null(struct start *s)
{
	int fd = sys_inroot_device(s->root_fd, "dev/null", NULL_MAJOR, NULL_MINOR, O_RDONLY);
	if (fd >= 0) {
		int flags = sys_fcntl(fd, F_GETFL, 0);
		s->inner_fd[STREAM_STDIN] = fd;
		return flags < 0 ? flags : sys_fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
	}
	int ends[2];
	int r = sys_pipe(ends);
	if (r)
		return r;
	close(ends[1]);
	s->inner_fd[STREAM_STDIN] = ends[0];
	return 0;
}

static int start_tty(struct start *s, struct err *e)
{
	struct sys_tty tty;
	int r = sys_tty_open(s->root_fd, &tty);
	if (r)
		return err_set(e, -r, "open a terminal in the sandbox's /dev/pts");
	struct command *c = s->c;
	c->is_tty = true;
	c->tty_number = tty.number;
	c->stream[STREAM_STDOUT].fd = tty.master_fd;
	c->stream[STREAM_STDOUT].is_open = true;
	s->inner_fd[0] = tty.slave_fd;
	for (int i = 1; i < INNER; i++) {
		s->inner_fd[i] = sys_dup(tty.slave_fd);
		if (s->inner_fd[i] < 0)
			return err_set(e, -s->inner_fd[i], "duplicate the terminal");
	}
	uint16_t rows = s->spec->rows ? s->spec->rows : DEFAULT_ROWS;
	uint16_t cols = s->spec->cols ? s->spec->cols : DEFAULT_COLS;
	r = sys_tty_set_size(tty.master_fd, rows, cols);
	if (r == 0)
		r = stream_identify(&c->stream[STREAM_STDOUT], tty.master_fd);
	return r ? err_set(e, -r, "set the terminal's size") : 0;
}

static int start_ends(struct start *s, struct err *e)
{
	if (s->spec->tty)
		return start_tty(s, e);
	int r = s->spec->stdin_mode == STDIN_PIPE ? start_pipe(s, STREAM_STDIN) : start_null(s);
	if (r == 0)
		r = start_pipe(s, STREAM_STDOUT);
	if (r == 0)
		r = start_pipe(s, STREAM_STDERR);
	return r ? err_set(e, -r, "make the command's pipes") : 0;
}

static void block_string(struct buf *b, const char *text)
{
	buf_add(b, text, strlen(text) + 1);
}

static int start_block(struct start *s, struct err *e)
{
	struct init_block head = {
		.magic = INIT_MAGIC,
		.uid = s->user.uid,
		.gid = s->user.gid,
		.n_groups = s->user.n_groups,
		.n_env = (uint32_t)s->env.n,
		.umask = UMASK,
	};
	while (s->c->argv[head.n_args])
		head.n_args++;
	struct buf *b = &s->block;
	buf_add(b, &head, sizeof(head));
	buf_add(b, s->user.groups, s->user.n_groups * sizeof(*s->user.groups));
	block_string(b, s->c->cwd);
	for (char **arg = s->c->argv; *arg; arg++)
		block_string(b, *arg);
	vec_each (char *, v, &s->env)
		block_string(b, *v);
	if (b->failed)
		return err_set(e, ENOMEM, "build the request to init");
	if (b->len > INIT_BLOCK_MAX)
		return err_set(e, E2BIG, "arguments and environment have %zu bytes, more than %d",
			       b->len, (int)INIT_BLOCK_MAX);
	s->block_fd = sys_memfd_with("mulligan-spawn", b->data, b->len);
	if (s->block_fd < 0)
		return err_set(e, -s->block_fd, "hand the request to init over");
	return 0;
}

static int start_send(struct start *s, struct err *e)
{
	struct init_msg msg = {
		.magic = INIT_MAGIC,
		.version = INIT_VERSION,
		.kind = INIT_SPAWN,
		.id = s->c->id,
		.flags = (s->spec->tty ? INIT_F_TTY : 0) |
			 (s->t->keep_groups ? INIT_F_KEEP_GROUPS : 0),
		.block_bytes = s->block.len,
	};
	const int fds[] = {s->block_fd, s->inner_fd[0], s->inner_fd[1], s->inner_fd[2]};
	int r = sys_sock_send(s->t->init_fd, &msg, sizeof(msg), fds, 1 + INNER, MSG_DONTWAIT);
	if (r == -EAGAIN)
		return err_set(e, EBUSY, "the sandbox's init does not take requests");
	return r ? err_set(e, -r, "ask the sandbox's init for a command") : 0;
}

/* Table and event loop first, so that nothing can fail once it is asked for. */
static int start_enlist(struct start *s, struct err *e)
{
	struct commands *t = s->t;
	struct command *c = s->c;
	c->id = t->next_id;
	for (int i = 0; i < STREAMS; i++) {
		int r = c->stream[i].fd < 0 ? 0 : stream_watch(t, c, i);
		if (r)
			return err_set(e, -r, "watch the command's output");
	}
	return commands_add(t, c) ? err_set(e, ENOMEM, "keep a handle") : 0;
}

static int start_prepare(struct start *s, struct err *e)
{
	const struct command_spec *spec = s->spec;
	s->root_fd = commands_open_root(s->t, e);
	if (s->root_fd < 0)
		return s->root_fd;
	int r = user_resolve(s->root_fd, spec->user, &s->user, e);
	if (r)
		return r;
	s->c = command_new(spec->argv);
	if (!s->c)
		return err_set(e, ENOMEM, "make a handle");
	s->c->cwd = strdup(spec->cwd && *spec->cwd ? spec->cwd : "/");
	if (!s->c->cwd)
		return err_set(e, ENOMEM, "make a handle");
	s->c->uid = s->user.uid;
	r = start_env(s, e);
	if (r == 0)
		r = start_ends(s, e);
	return r ? r : start_block(s, e);
}

/* From here on the handle is the table's, and its limits run. */
static void start_done(struct start *s)
{
	const struct command_spec *spec = s->spec;
	struct command *c = take_ptr(s->c);
	uint64_t head = spec->head_bytes ? spec->head_bytes : LOG_HEAD_BYTES;
	uint64_t tail = spec->tail_bytes ? spec->tail_bytes : LOG_TAIL_BYTES;
	log_init(&c->stream[STREAM_STDOUT].log, head, tail, spec->spill_fd[STREAM_STDOUT]);
	log_init(&c->stream[STREAM_STDERR].log, head, tail, spec->spill_fd[STREAM_STDERR]);
	c->started_ns = clock_now_ns();
	c->deadline_ns = spec->timeout_ns ? c->started_ns + spec->timeout_ns : 0;
	c->born_by_ns = c->started_ns + COMMAND_BIRTH_NS;
	if (s->t->events.oom_kills)
		c->oom_kills = s->t->events.oom_kills(s->t->events.ctx);
	s->t->next_id++;
	commands_arm_timer(s->t);
}

int command_start(struct commands *t, const struct command_spec *spec, struct command **out,
		  struct err *e)
{
	if (!spec->argv || !spec->argv[0] || !*spec->argv[0])
		return err_set(e, EINVAL, "there is no command to run");
	if (t->init_fd < 0)
		return err_set(e, ESRCH, "the sandbox's init is gone");
	scoped(start_deinit) struct start s = {
		.t = t,
		.spec = spec,
		.env = VEC_INIT(char *),
		.root_fd = -1,
		.block_fd = -1,
		.inner_fd = {-1, -1, -1},
	};
	int r = start_prepare(&s, e);
	if (r)
		return r;
	r = start_enlist(&s, e);
	if (r)
		return r;
	r = start_send(&s, e);
	if (r) {
		t->all.n--; /* the handle is freed with s */
		return r;
	}
	*out = s.c;
	start_done(&s);
	return 0;
}
