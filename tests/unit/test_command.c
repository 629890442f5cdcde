/* Commands through real incarnations. */
#include "exec/command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "box.h"
#include "exec/kin.h"
#include "harness/harness.h"
#include "sys/fault.h"
#include "sys/procfs.h"

#define MS 1000000ull
#define WAIT_NS (10000 * MS)

struct watcher {
	unsigned int started, ended, gone, reaped;
	uint64_t told[STREAMS];
};

struct bench {
	struct box box;
	struct commands *t;
	struct watcher w;
};

static void on_started(void *ctx, struct command *c)
{
	((struct watcher *)ctx)->started++;
}

static void on_output(void *ctx, struct command *c, enum stream_kind stream)
{
	((struct watcher *)ctx)->told[stream] = c->stream[stream].log.total_bytes;
}

static void on_ended(void *ctx, struct command *c)
{
	((struct watcher *)ctx)->ended++;
}

static void on_reaped(void *ctx, pid_t pid, int status)
{
	((struct watcher *)ctx)->reaped++;
}

static void on_gone(void *ctx)
{
	((struct watcher *)ctx)->gone++;
}

static struct commands_events events_of(struct watcher *w)
{
	return (struct commands_events){
		.ctx = w,
		.started = on_started,
		.output = on_output,
		.ended = on_ended,
		.reaped = on_reaped,
		.init_gone = on_gone,
	};
}

static void attach(struct commands *t, struct box *b)
{
	struct err e = ERR_INIT;
	t_ok_e(commands_attach(t, b->socket_fd, b->init_pid, &e), &e);
	b->socket_fd = -1;
	t_ok_e(commands_wait_ready(t, WAIT_NS, &e), &e);
}

static void bench_open(struct bench *b)
{
	*b = (struct bench){0};
	box_open(&b->box);
	struct commands_events events = events_of(&b->w);
	b->t = commands_new(&events);
	t_assert(b->t);
	attach(b->t, &b->box);
}

static void bench_close(struct bench *b)
{
	commands_free(b->t);
	box_close(&b->box);
}

static void dispatch_for(struct commands *t, uint64_t ns)
{
	uint64_t until = clock_now_ns() + ns;
	for (uint64_t now; (now = clock_now_ns()) < until;) {
		struct pollfd p = {.fd = commands_fd(t), .events = POLLIN};
		poll(&p, 1, (int)((until - now) / MS + 1));
		commands_dispatch(t);
	}
}

#define WAIT_UNTIL(t, cond)                                                                        \
	do {                                                                                       \
		uint64_t until_ = clock_now_ns() + WAIT_NS;                                        \
		while (!(cond)) {                                                                  \
			struct pollfd p_ = {.fd = commands_fd(t), .events = POLLIN};               \
			poll(&p_, 1, 100);                                                         \
			commands_dispatch(t);                                                      \
			if (clock_now_ns() > until_)                                               \
				t_fail("waited in vain for %s", #cond);                            \
		}                                                                                  \
	} while (0)

static struct command *start_spec(struct commands *t, const struct command_spec *spec)
{
	struct err e = ERR_INIT;
	struct command *c;
	t_ok_e(command_start(t, spec, &c, &e), &e);
	t_ok_e(command_wait_started(t, c, &e), &e);
	return c;
}

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct command *start(struct commands *t, const char *script)
{
	struct command_spec spec = COMMAND_SPEC_INIT;
	spec.argv = ARGV("bash", "-c", script);
	return start_spec(t, &spec);
}

static struct command *finish(struct commands *t, struct command *c)
{
	WAIT_UNTIL(t, command_is_over(c));
	return c;
}

/* All that a log keeps, as a string in a static buffer. */
static const char *text_of(struct command *c, enum stream_kind kind)
{
	static char text[1 << 16];
	size_t n = 0, got;
	uint64_t at, pos = 0;
	while ((got = log_read(&c->stream[kind].log, pos, text + n, sizeof(text) - 1 - n, &at))) {
		n += got;
		pos = at + got;
	}
	text[n] = '\0';
	return text;
}

/* How many processes below PID 1 have this word in their command line. */
static unsigned int count_processes(struct bench *b, const char *word)
{
	struct procfs p = PROCFS_INIT;
	struct vec pids = VEC_INIT(pid_t), tasks = VEC_INIT(pid_t);
	unsigned int n = 0;
	t_ok(procfs_open(&p, NULL));
	*(pid_t *)vec_add(&pids) = b->box.init_pid;
	for (size_t i = 0; i < pids.n; i++) {
		pid_t pid = *(pid_t *)vec_at(&pids, i);
		tasks.n = 0;
		if (procfs_tasks(&p, pid, &tasks) < 0)
			continue;
		vec_each (pid_t, tid, &tasks)
			(void)!procfs_children(&p, pid, *tid, &pids);
		int len = procfs_read(&p, pid, 0, "cmdline");
		n += len > 0 && memmem(p.text.data, (size_t)len, word, strlen(word)) != NULL;
	}
	vec_deinit(&tasks);
	vec_deinit(&pids);
	procfs_close(&p);
	return n;
}

static size_t count_fds(void)
{
	struct procfs p = PROCFS_INIT;
	struct vec fds = VEC_INIT(int);
	t_ok(procfs_open(&p, NULL));
	t_ok(procfs_fd_numbers(&p, getpid(), &fds));
	size_t n = fds.n;
	vec_deinit(&fds);
	procfs_close(&p);
	return n;
}

TEST(streams_are_apart_and_the_code_is_told)
{
	struct bench b;
	bench_open(&b);
	struct command *c = finish(b.t, start(b.t, "echo out; echo err >&2; exit 3"));
	t_eq(c->state, COMMAND_EXITED);
	t_eq(WEXITSTATUS(c->wait_status), 3);
	t_str_eq(text_of(c, STREAM_STDOUT), "out\n");
	t_str_eq(text_of(c, STREAM_STDERR), "err\n");
	t_eq(b.w.told[STREAM_STDOUT], 4);
	t_eq(b.w.started, 1);
	t_eq(b.w.ended, 1);
	t_assert(c->ended_ns > c->started_ns);
	struct command *k = finish(b.t, start(b.t, "kill -USR1 $$"));
	t_eq(k->state, COMMAND_KILLED);
	t_eq(WTERMSIG(k->wait_status), SIGUSR1);
	bench_close(&b);
}

TEST(what_cannot_start_is_said_in_words)
{
	struct bench b;
	struct err e = ERR_INIT;
	struct command *c;
	bench_open(&b);
	struct command_spec spec = COMMAND_SPEC_INIT;
	spec.argv = ARGV("no-such-thing");
	t_ok_e(command_start(b.t, &spec, &c, &e), &e);
	t_eq(command_wait_started(b.t, c, &e), -ENOENT);
	t_str_eq(e.cause, "there is no command 'no-such-thing' in the sandbox's PATH");
	t_eq(c->state, COMMAND_FAILED);
	spec.argv = ARGV("true");
	spec.cwd = "/no/where";
	t_ok_e(command_start(b.t, &spec, &c, &e), &e);
	t_eq(command_wait_started(b.t, c, &e), -ENOENT);
	t_str_eq(e.path, "/no/where");
	spec.cwd = NULL;
	spec.user = "nobody-knows-me";
	t_eq(command_start(b.t, &spec, &c, &e), -ENOENT);
	spec.user = NULL;
	spec.argv = ARGV("");
	t_eq(command_start(b.t, &spec, &c, &e), -EINVAL);
	spec.argv = ARGV("true");
	spec.env = ARGV("novalue");
	t_eq(command_start(b.t, &spec, &c, &e), -EINVAL);
	bench_close(&b);
}

TEST(environment_and_directory_are_as_asked)
{
	struct bench b;
	bench_open(&b);
	struct command_spec spec = COMMAND_SPEC_INIT;
	spec.argv = ARGV("sh", "-c", "echo $A $HOME $PWD $MULLIGAN_COMMAND");
	spec.env = ARGV("A=b c", "HOME=/h", "MULLIGAN_COMMAND=fake");
	spec.cwd = "/usr";
	struct command *c = finish(b.t, start_spec(b.t, &spec));
	char want[64];
	snprintf(want, sizeof(want), "b c /h /usr %s\n", c->cookie);
	t_str_eq(text_of(c, STREAM_STDOUT), want);
	bench_close(&b);
}

TEST(user_is_looked_up_inside)
{
	struct bench b;
	struct err e = ERR_INIT;
	bench_open(&b);
	struct command_spec spec = COMMAND_SPEC_INIT;
	spec.argv = ARGV("sh", "-c", "id -un; echo $HOME $USER");
	spec.user = "nobody";
	struct command *c;
	t_ok_e(command_start(b.t, &spec, &c, &e), &e);
	if (b.box.is_rootless) {
		t_eq(command_wait_started(b.t, c, &e), -EINVAL);
		t_assert(strstr(e.remedy, "/etc/subuid"));
	} else {
		t_ok_e(command_wait_started(b.t, c, &e), &e);
		finish(b.t, c);
		t_str_eq(text_of(c, STREAM_STDOUT), "nobody\n/nonexistent nobody\n");
	}
	bench_close(&b);
}

TEST(stdin_takes_all_and_ends)
{
	enum { BYTES = 3 << 20 };
	struct bench b;
	bench_open(&b);
	struct command_spec spec = COMMAND_SPEC_INIT;
	spec.argv = ARGV("sh", "-c", "sleep 0.1; wc -c");
	spec.stdin_mode = STDIN_PIPE;
	struct command *c = start_spec(b.t, &spec);
	char *bytes = calloc(1, BYTES);
	for (size_t done = 0; done < BYTES;) {
		long n = command_write(b.t, c, bytes + done, BYTES - done);
		t_assert(n >= 0);
		t_assert(c->input.len <= COMMAND_INPUT_MAX);
		done += (size_t)n;
		if (n == 0)
			dispatch_for(b.t, MS);
	}
	free(bytes);
	command_close_stdin(b.t, c);
	t_eq(command_write(b.t, c, "x", 1), -EPIPE);
	finish(b.t, c);
	t_str_eq(text_of(c, STREAM_STDOUT), "3145728\n");
	/* without stdin there is nothing to read */
	struct command *n = finish(b.t, start(b.t, "wc -c; readlink /proc/self/fd/0"));
	t_str_eq(text_of(n, STREAM_STDOUT), "0\n/dev/null\n");
	bench_close(&b);
}

TEST(a_reader_that_closes_its_stdin_is_noticed)
{
	struct bench b;
	bench_open(&b);
	struct command_spec spec = COMMAND_SPEC_INIT;
	spec.argv = ARGV("sh", "-c", "exec <&-; sleep 100");
	spec.stdin_mode = STDIN_PIPE;
	struct command *c = start_spec(b.t, &spec);
	WAIT_UNTIL(b.t, c->stream[STREAM_STDIN].fd < 0);
	t_eq(command_write(b.t, c, "x", 1), -EPIPE);
	t_eq(c->state, COMMAND_RUNNING);
	bench_close(&b);
}

TEST(huge_output_is_bounded_and_counted, .timeout_s = 60)
{
	struct bench b;
	bench_open(&b);
	struct command_spec spec = COMMAND_SPEC_INIT;
	spec.argv = ARGV("sh", "-c", "head -c 70000000 /dev/zero; printf end; echo x >&2");
	int spill = (int)t_sys(memfd_create("spill", MFD_CLOEXEC));
	int mine = (int)t_sys(dup(spill));
	spec.spill_fd[STREAM_STDOUT] = spill;
	uint64_t began = clock_now_ns();
	struct command *c = finish(b.t, start_spec(b.t, &spec));
	t_note("70 MB in %llu ms", (unsigned long long)((clock_now_ns() - began) / MS));
	const struct log *l = &c->stream[STREAM_STDOUT].log;
	t_eq(l->total_bytes, 70000003);
	t_assert(log_is_truncated(l));
	t_assert(l->kept_bytes >= LOG_HEAD_BYTES + LOG_TAIL_BYTES);
	t_assert(l->kept_bytes <= LOG_HEAD_BYTES + LOG_TAIL_BYTES + (64 << 10));
	char end[4] = "";
	uint64_t at;
	t_eq(log_read(l, 70000000, end, 3, &at), 3);
	t_str_eq(end, "end");
	t_eq(lseek(mine, 0, SEEK_END), 70000003);
	close(mine);
	bench_close(&b);
}

TEST(binary_output_is_untouched)
{
	struct bench b;
	bench_open(&b);
	struct command *c = finish(b.t, start(b.t, "for i in $(seq 0 255); do printf \"\\x$(printf "
						   "%x $i)\"; done"));
	unsigned char bytes[300];
	uint64_t at;
	t_eq(log_read(&c->stream[STREAM_STDOUT].log, 0, bytes, sizeof(bytes), &at), 256);
	for (int i = 0; i < 256; i++)
		t_eq(bytes[i], i);
	bench_close(&b);
}

TEST(a_background_child_with_the_pipe_does_not_hang_the_caller)
{
	struct bench b;
	bench_open(&b);
	char go[200], script[400];
	snprintf(go, sizeof(go), "%s/go", t_tmpdir());
	snprintf(script, sizeof(script),
		 "(while [ ! -e %s ]; do sleep 0.01; done; echo late; sleep 600) & echo first", go);
	struct command *c = finish(b.t, start(b.t, script));
	t_eq(WEXITSTATUS(c->wait_status), 0);
	t_str_eq(text_of(c, STREAM_STDOUT), "first\n");
	/* it goes on, without SIGPIPE */
	close((int)t_sys(open(go, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)));
	WAIT_UNTIL(b.t, c->stream[STREAM_STDOUT].log.total_bytes == 11);
	t_str_eq(text_of(c, STREAM_STDOUT), "first\nlate\n");
	bench_close(&b);
}

TEST(a_child_that_writes_for_ever_does_not_hang_the_caller)
{
	struct bench b;
	bench_open(&b);
	struct command *c = start(b.t, "yes & sleep 0.2; echo done >&2");
	finish(b.t, c);
	t_str_eq(text_of(c, STREAM_STDERR), "done\n");
	/* a handle let go still drains for it */
	uint64_t id = c->id;
	command_forget(b.t, c);
	t_assert(!commands_find(b.t, id));
	dispatch_for(b.t, 100 * MS);
	t_eq(count_processes(&b, "yes"), 1);
	t_eq(commands_all(b.t)->n, 1);
	struct command *k = finish(b.t, start(b.t, "killall yes || pkill yes; sleep 0.1"));
	(void)k;
	WAIT_UNTIL(b.t, commands_all(b.t)->n == 1);
	bench_close(&b);
}

static void expect_timeout(struct bench *b, const char *script, const char *word)
{
	struct command_spec spec = COMMAND_SPEC_INIT;
	spec.argv = ARGV("bash", "-c", script);
	spec.timeout_ns = 400 * MS;
	struct command *bystander = start(b->t, "sleep 7654");
	struct command *c = start_spec(b->t, &spec);
	uint64_t began = clock_now_ns();
	finish(b->t, c);
	uint64_t took = clock_now_ns() - began;
	t_assert(c->timed_out);
	t_eq(c->state, COMMAND_KILLED);
	t_assert(took < 20000 * MS);
	unsigned int left = 1;
	for (int i = 0; i < 100 && left; i++) {
		dispatch_for(b->t, 10 * MS);
		left = count_processes(b, word);
	}
	if (left)
		t_fail("%u left of: %s", left, script);
	t_eq(bystander->state, COMMAND_RUNNING);
	t_assert(count_processes(b, "7654") > 0);
	t_ok(command_signal(b->t, bystander, SIGKILL, false));
	finish(b->t, bystander);
}

TEST(timeout_kills_all_descendants, .timeout_s = 60)
{
	struct bench b;
	bench_open(&b);
	expect_timeout(&b, "echo so far; sleep 4321", "4321");
	expect_timeout(&b, "sleep 4321 & sleep 4321 & wait", "4321");
	expect_timeout(&b, "trap '' TERM INT HUP; (sleep 4321); sleep 4321", "4321");
	expect_timeout(&b, "setsid sleep 4321 & sleep 4321", "4321");
	/* double fork, own session, pipes closed: found by its environment */
	expect_timeout(&b, "(setsid sleep 4321 >/dev/null 2>&1 &); sleep 4321", "4321");
	/* and its children, in their own sessions */
	expect_timeout(&b,
		       "(setsid bash -c 'setsid sleep 4321 & sleep 4321' >/dev/null 2>&1 &); "
		       "sleep 4321",
		       "4321");
	/* environment gone, found by the pipe */
	expect_timeout(&b, "(env -i setsid sleep 4321 &); sleep 4321", "4321");
	/* environment and pipes gone, found by the session */
	expect_timeout(&b, "(env -i sleep 4321 >/dev/null 2>&1 &); sleep 4321", "4321");
	/* forks without end */
	expect_timeout(&b, "f() { sleep 0.001 4321; f & }; f; f; while :; do (:) & done", "4321");
	expect_timeout(&b, "while :; do setsid sleep 4321 & sleep 0.01; done", "4321");
	bench_close(&b);
}

TEST(timeout_returns_the_output_so_far)
{
	struct bench b;
	bench_open(&b);
	struct command_spec spec = COMMAND_SPEC_INIT;
	spec.argv = ARGV("sh", "-c", "echo so far; sleep 4321");
	spec.timeout_ns = 200 * MS;
	struct command *c = finish(b.t, start_spec(b.t, &spec));
	t_str_eq(text_of(c, STREAM_STDOUT), "so far\n");
	t_eq(WTERMSIG(c->wait_status), SIGKILL);
	bench_close(&b);
}

TEST(a_command_that_is_killed_while_it_starts_dies)
{
	struct bench b;
	struct err e = ERR_INIT;
	struct command *c;
	bench_open(&b);
	struct command_spec spec = COMMAND_SPEC_INIT;
	spec.argv = ARGV("sleep", "100");
	t_ok_e(command_start(b.t, &spec, &c, &e), &e);
	t_ok_e(command_kill(b.t, c, &e), &e);
	t_eq(c->state, COMMAND_STARTING);
	finish(b.t, c);
	t_eq(c->state, COMMAND_KILLED);
	bench_close(&b);
}

TEST(a_stopped_command_times_out_too)
{
	struct bench b;
	bench_open(&b);
	expect_timeout(&b, "sleep 4321 & kill -STOP $! ; kill -STOP $$", "4321");
	bench_close(&b);
}

TEST(an_exec_that_hangs_is_killed, .timeout_s = 40)
{
	struct bench b;
	struct err e = ERR_INIT;
	struct command *c;
	bench_open(&b);
	/* whoever stops each new process before it executes */
	struct command *evil = start(b.t, "while :; do for p in /proc/[0-9]*; do p=${p#/proc/}; "
					  "[ $p -gt 1 ] && [ $p != $$ ] && kill -STOP $p; done; "
					  "done 2>/dev/null");
	int hung = 0;
	struct command_spec spec = COMMAND_SPEC_INIT;
	spec.argv = ARGV("true");
	for (int i = 0; i < 3; i++) {
		t_ok_e(command_start(b.t, &spec, &c, &e), &e);
		int r = command_wait_started(b.t, c, &e);
		t_assert(r == 0 || r == -ETIMEDOUT);
		hung += r != 0;
	}
	t_note("%d of 3 hung and were killed", hung);
	t_ok_e(command_kill(b.t, evil, &e), &e);
	finish(b.t, evil);
	finish(b.t, start(b.t, "true"));
	bench_close(&b);
}

TEST(terminal_is_a_terminal)
{
	struct bench b;
	bench_open(&b);
	struct command_spec spec = COMMAND_SPEC_INIT;
	spec.argv = ARGV("bash", "-c",
			 "tty; stty size; echo err >&2; read x; echo got $x; "
			 "cat; ps -o stat= -p $$; exit 0");
	spec.tty = true;
	spec.rows = 33;
	spec.cols = 99;
	struct command *c = start_spec(b.t, &spec);
	WAIT_UNTIL(b.t, strstr(text_of(c, STREAM_STDOUT), "err"));
	char want[64];
	snprintf(want, sizeof(want), "/dev/pts/%u\r\n33 99\r\nerr\r\n", c->tty_number);
	t_str_eq(text_of(c, STREAM_STDOUT), want);
	t_ok(command_resize(c, 44, 88));
	t_eq(command_write(b.t, c, "abc\n", 4), 4);
	WAIT_UNTIL(b.t, strstr(text_of(c, STREAM_STDOUT), "got abc"));
	command_close_stdin(b.t, c);
	finish(b.t, c);
	t_eq(c->wait_status, 0);
	/* session leader, foreground */
	t_assert(strstr(text_of(c, STREAM_STDOUT), "Ss+"));
	/* Ctrl-C reaches the foreground */
	spec.argv = ARGV("sleep", "100");
	struct command *s = start_spec(b.t, &spec);
	t_eq(command_write(b.t, s, "\3", 1), 1);
	finish(b.t, s);
	t_eq(WTERMSIG(s->wait_status), SIGINT);
	t_eq(command_resize(s, 1, 1), -ENOTTY);
	bench_close(&b);
}

TEST(end_of_init_is_told_once)
{
	struct bench b;
	bench_open(&b);
	struct command *c = start(b.t, "echo before; sleep 100");
	WAIT_UNTIL(b.t, c->stream[STREAM_STDOUT].log.total_bytes);
	box_kill(&b.box);
	finish(b.t, c);
	t_eq(c->state, COMMAND_LOST);
	t_str_eq(text_of(c, STREAM_STDOUT), "before\n");
	t_eq(b.w.gone, 1);
	t_eq(b.w.ended, 1);
	struct err e = ERR_INIT;
	struct command_spec spec = COMMAND_SPEC_INIT;
	spec.argv = ARGV("true");
	t_eq(command_start(b.t, &spec, &c, &e), -ESRCH);
	commands_free(b.t);
}

/* Fail the 1st, 2nd, ... kernel call of a start until it succeeds. */
TEST(a_start_that_fails_leaves_nothing, .timeout_s = 60)
{
	struct bench b;
	bench_open(&b);
	for (int tty = 0; tty < 2; tty++) {
		struct command_spec spec = COMMAND_SPEC_INIT;
		spec.argv = ARGV("true");
		spec.stdin_mode = STDIN_PIPE;
		spec.tty = tty;
		int failed = 0, r = -1;
		for (uint64_t n = 1; r < 0 && n < 100; n++) {
			struct err e = ERR_INIT;
			struct command *c;
			size_t had = commands_all(b.t)->n, fds = count_fds();
			sys_fault_arm(n, EIO);
			r = command_start(b.t, &spec, &c, &e);
			const char *call = sys_fault_fired();
			sys_fault_arm(0, 0);
			if (r < 0) {
				failed++;
				if (e.code != EIO || !e.cause[0])
					t_fail("%s failed: %d '%s'", call, e.code, e.cause);
				t_eq(commands_all(b.t)->n, had);
				t_eq(count_fds(), fds);
				continue;
			}
			t_ok_e(command_wait_started(b.t, c, &e), &e);
			finish(b.t, c);
			t_eq(c->wait_status, 0);
		}
		t_assert(failed >= 5);
		t_ok(r);
	}
	bench_close(&b);
}

/* checkpoints */

/* What a restored process does with its end of a pipe. */
static int inner_end(struct command_end *end, uint64_t id, enum stream_kind kind)
{
	int ends[2];
	t_sys(pipe2(ends, O_CLOEXEC));
	bool in = kind == STREAM_STDIN;
	*end = (struct command_end){.id = id, .stream = kind, .fd = ends[in ? 1 : 0]};
	return ends[in ? 0 : 1];
}

TEST(a_rollback_that_fails_changes_nothing)
{
	struct bench b;
	struct err e = ERR_INIT;
	struct commands_saved saved;
	bench_open(&b);
	struct command *c = start(b.t, "echo one; sleep 0.3; echo two; sleep 100");
	WAIT_UNTIL(b.t, c->stream[STREAM_STDOUT].log.total_bytes == 4);
	commands_drain(b.t);
	t_ok_e(commands_save(b.t, &saved, &e), &e);
	struct command *younger = start(b.t, "sleep 100");
	struct command_end ends[2];
	int out = inner_end(&ends[0], c->id, STREAM_STDOUT);
	int err = inner_end(&ends[1], c->id, STREAM_STDERR);
	int r = -1;
	uint64_t n = 0;
	while (r < 0) {
		sys_fault_arm(++n, ENOSPC);
		r = commands_restore(b.t, &saved, ends, 2, &e);
		sys_fault_arm(0, 0);
		if (r == 0)
			break;
		t_eq(r, -ENOSPC);
		t_eq(younger->state, COMMAND_RUNNING);
		/* the ends are still mine, and not watched */
		t_eq(write(out, "x", 1), 1);
		dispatch_for(b.t, 5 * MS);
		char x;
		t_eq(read(ends[0].fd, &x, 1), 1);
	}
	t_assert(n > 2);
	t_eq(younger->state, COMMAND_ROLLED_BACK);
	t_eq(write(out, "mine\n", 5), 5);
	WAIT_UNTIL(b.t, c->stream[STREAM_STDOUT].log.total_bytes == 9);
	t_str_eq(text_of(c, STREAM_STDOUT), "one\nmine\n");
	close(out);
	close(err);
	commands_saved_deinit(&saved);
	bench_close(&b);
}

TEST(rollback_brings_handles_back)
{
	struct bench b;
	struct err e = ERR_INIT;
	struct commands_saved saved;
	bench_open(&b);
	struct command_spec spec = COMMAND_SPEC_INIT;
	spec.argv = ARGV("sh", "-c", "echo one; read x; echo $x; read x; sleep 100");
	spec.stdin_mode = STDIN_PIPE;
	struct command *alive = start_spec(b.t, &spec);
	struct command *over = finish(b.t, start(b.t, "echo over"));
	WAIT_UNTIL(b.t, alive->stream[STREAM_STDOUT].log.total_bytes == 4);

	commands_drain(b.t);
	t_ok_e(commands_save(b.t, &saved, &e), &e);
	const struct command *s = *(struct command **)vec_at(&saved.commands, 0);
	struct stat st;
	t_sys(fstat(alive->stream[STREAM_STDOUT].fd, &st));
	t_eq(s->stream[STREAM_STDOUT].ino, st.st_ino);
	t_assert(s->stream[STREAM_STDIN].is_open);
	t_eq(s->stream[STREAM_STDOUT].fd, -1);

	/* afterwards it says more, and ends; another one starts */
	t_eq(command_write(b.t, alive, "two\n", 4), 4);
	WAIT_UNTIL(b.t, alive->stream[STREAM_STDOUT].log.total_bytes == 8);
	t_ok_e(command_kill(b.t, alive, &e), &e);
	finish(b.t, alive);
	struct command *younger = start(b.t, "sleep 100");
	uint64_t alive_id = alive->id, over_id = over->id;
	command_forget(b.t, over);

	box_kill(&b.box);
	box_open_again(&b.box);
	attach(b.t, &b.box);
	struct command_end ends[3];
	int in = inner_end(&ends[0], alive_id, STREAM_STDIN);
	int out = inner_end(&ends[1], alive_id, STREAM_STDOUT);
	int err = inner_end(&ends[2], alive_id, STREAM_STDERR);
	/* all or nothing */
	t_eq(commands_restore(b.t, &saved, ends, 2, &e), -EINVAL);
	t_eq(alive->state, COMMAND_KILLED);
	t_ok_e(commands_restore(b.t, &saved, ends, 3, &e), &e);

	t_eq(younger->state, COMMAND_ROLLED_BACK);
	t_assert(commands_find(b.t, alive_id) == alive);
	t_eq(alive->state, COMMAND_RUNNING);
	t_eq(alive->ended_ns, 0);
	t_str_eq(text_of(alive, STREAM_STDOUT), "one\n");
	over = commands_find(b.t, over_id);
	t_assert(over);
	t_eq(over->state, COMMAND_EXITED);
	t_str_eq(text_of(over, STREAM_STDOUT), "over\n");

	/* a restored process would have this pid; here the next command might */
	alive->pid = 30000;
	/* the new ends are the handle's */
	t_eq(write(out, "three\n", 6), 6);
	WAIT_UNTIL(b.t, alive->stream[STREAM_STDOUT].log.total_bytes == 10);
	t_str_eq(text_of(alive, STREAM_STDOUT), "one\nthree\n");
	t_eq(command_write(b.t, alive, "in", 2), 2);
	char got[2];
	t_eq(read(in, got, 2), 2);
	/* numbers of handles are not used again */
	struct command *next = finish(b.t, start(b.t, "true"));
	t_assert(next->id > younger->id);
	close(in);
	close(out);
	close(err);

	/* back again, with ends that nobody has: they read as ended */
	for (int i = 0; i < STREAMS; i++)
		ends[i] = (struct command_end){.id = alive_id, .stream = i, .fd = -1};
	t_ok_e(commands_restore(b.t, &saved, ends, 3, &e), &e);
	t_eq(alive->stream[STREAM_STDOUT].fd, -1);
	t_str_eq(text_of(alive, STREAM_STDOUT), "one\n");
	t_eq(next->state, COMMAND_ROLLED_BACK);
	commands_saved_deinit(&saved);
	bench_close(&b);
}

TEST(drain_takes_what_is_in_the_pipes)
{
	struct bench b;
	struct err e = ERR_INIT;
	struct commands_saved saved;
	bench_open(&b);
	struct command_spec spec = COMMAND_SPEC_INIT;
	spec.argv =
		ARGV("bash", "-c", "head -c 60000 /dev/zero; exec <&-; kill -STOP $$");
	spec.stdin_mode = STDIN_PIPE;
	struct command *c = start_spec(b.t, &spec);
	/* all is written, then nobody reads: without a look by the table */
	int queued = 0;
	while (queued < 60000) {
		t_sleep_ms(1);
		t_sys(ioctl(c->stream[STREAM_STDOUT].fd, FIONREAD, &queued));
	}
	struct pollfd input = {.fd = c->stream[STREAM_STDIN].fd};
	while (poll(&input, 1, 1000) == 0)
		continue;
	t_eq(input.revents, POLLERR);
	t_eq(c->stream[STREAM_STDOUT].log.total_bytes, 0);
	commands_drain(b.t);
	t_eq(c->stream[STREAM_STDOUT].log.total_bytes, 60000);
	/* nobody reads stdin any more: no end to be made for it */
	t_ok_e(commands_save(b.t, &saved, &e), &e);
	const struct command *s = *(struct command **)vec_at(&saved.commands, 0);
	t_assert(!s->stream[STREAM_STDIN].is_open);
	t_assert(s->stream[STREAM_STDOUT].is_open);
	commands_saved_deinit(&saved);
	bench_close(&b);
}

static bool nobody(void *ctx, pid_t pid)
{
	return false;
}

static bool everybody(void *ctx, pid_t pid)
{
	return true;
}

TEST(a_freeze_is_quiet_and_settles_what_has_ended)
{
	struct bench b;
	struct err e = ERR_INIT;
	bench_open(&b);
	struct command *alive = start(b.t, "sleep 100");
	struct command *c = start(b.t, "sleep 0.2; echo last; exit 5");
	struct watcher before = b.w;
	t_ok_e(commands_settle(b.t, everybody, NULL, &e), &e);
	t_eq(c->state, COMMAND_RUNNING);
	/* its process is gone from the tree: init will say so */
	t_eq(commands_settle(b.t, nobody, NULL, &e), -ETIMEDOUT);
	t_eq(alive->state, COMMAND_RUNNING);
	t_eq(c->state, COMMAND_EXITED);
	t_eq(WEXITSTATUS(c->wait_status), 5);
	t_str_eq(text_of(c, STREAM_STDOUT), "last\n");
	/* nothing was told until now */
	t_eq(b.w.ended, before.ended);
	t_eq(b.w.told[STREAM_STDOUT], 0);
	struct pollfd p = {.fd = commands_fd(b.t), .events = POLLIN};
	t_eq(poll(&p, 1, 100), 1);
	commands_dispatch(b.t);
	t_eq(b.w.ended, before.ended + 1);
	t_eq(b.w.told[STREAM_STDOUT], 5);
	dispatch_for(b.t, 20 * MS);
	t_eq(b.w.ended, before.ended + 1);
	bench_close(&b);
}

TEST(checkpoints_share_handles_that_did_not_change)
{
	struct bench b;
	struct err e = ERR_INIT;
	struct commands_saved one, two, three;
	bench_open(&b);
	finish(b.t, start(b.t, "echo done"));
	struct command_spec spec = COMMAND_SPEC_INIT;
	spec.argv = ARGV("cat");
	spec.stdin_mode = STDIN_PIPE;
	struct command *cat = start_spec(b.t, &spec);
	commands_drain(b.t);
	t_ok_e(commands_save(b.t, &one, &e), &e);
	commands_drain(b.t);
	t_ok_e(commands_save(b.t, &two, &e), &e);
	struct command **h1 = one.commands.data, **h2 = two.commands.data;
	t_assert(h1[0] == h2[0] && h1[1] == h2[1]);
	t_eq(command_write(b.t, cat, "x", 1), 1);
	WAIT_UNTIL(b.t, cat->stream[STREAM_STDOUT].log.total_bytes == 1);
	t_ok_e(commands_save(b.t, &three, &e), &e);
	struct command **h3 = three.commands.data;
	t_assert(h1[0] == h3[0] && h1[1] != h3[1]);
	t_eq(h1[1]->stream[STREAM_STDOUT].log.total_bytes, 0);
	t_eq(h3[1]->stream[STREAM_STDOUT].log.total_bytes, 1);
	commands_saved_deinit(&one);
	commands_saved_deinit(&three);
	t_str_eq(text_of(h2[0], STREAM_STDOUT), "done\n");
	bench_close(&b);
	t_str_eq(h2[1]->argv[0], "cat");
	commands_saved_deinit(&two);
}

TEST(time_limits_go_on_with_what_was_left)
{
	struct bench b;
	struct err e = ERR_INIT;
	struct commands_saved saved;
	bench_open(&b);
	struct command_spec spec = COMMAND_SPEC_INIT;
	spec.argv = ARGV("sleep", "100");
	spec.timeout_ns = 2000 * MS;
	uint64_t begin = clock_now_ns();
	struct command *c = start_spec(b.t, &spec);
	uint64_t deadline = c->deadline_ns;
	t_assert(deadline >= begin + 2000 * MS && deadline <= clock_now_ns() + 2000 * MS);
	dispatch_for(b.t, 100 * MS);
	commands_drain(b.t);
	uint64_t before = clock_now_ns();
	t_ok_e(commands_save(b.t, &saved, &e), &e);
	uint64_t left = (*(struct command **)vec_at(&saved.commands, 0))->left_ns;
	t_assert(left <= deadline - before && left >= deadline - clock_now_ns());
	finish(b.t, c);
	t_assert(c->timed_out);
	struct command_end ends[2];
	int out = inner_end(&ends[0], c->id, STREAM_STDOUT);
	int err = inner_end(&ends[1], c->id, STREAM_STDERR);
	before = clock_now_ns();
	t_ok_e(commands_restore(b.t, &saved, ends, 2, &e), &e);
	t_assert(!c->timed_out);
	t_assert(c->deadline_ns >= before + left && c->deadline_ns <= clock_now_ns() + left);
	close(out);
	close(err);
	commands_saved_deinit(&saved);
	bench_close(&b);
}

TEST(a_fork_has_the_same_handles)
{
	struct bench b;
	struct err e = ERR_INIT;
	struct commands_saved saved;
	struct commands *twin;
	struct watcher w = {0};
	bench_open(&b);
	struct command *c = start(b.t, "echo common; sleep 100");
	WAIT_UNTIL(b.t, c->stream[STREAM_STDOUT].log.total_bytes == 7);
	commands_drain(b.t);
	t_ok_e(commands_save(b.t, &saved, &e), &e);
	struct command *later = start(b.t, "sleep 100");
	struct command_end ends[2];
	int out = inner_end(&ends[0], c->id, STREAM_STDOUT);
	int err = inner_end(&ends[1], c->id, STREAM_STDERR);
	struct commands_events events = events_of(&w);
	t_ok_e(commands_fork(&twin, &events, &saved, ends, 2, &e), &e);
	commands_saved_deinit(&saved);
	struct command *d = commands_find(twin, c->id);
	t_assert(d && d != c);
	t_assert(!commands_find(twin, later->id));
	t_eq(write(out, "mine\n", 5), 5);
	WAIT_UNTIL(twin, d->stream[STREAM_STDOUT].log.total_bytes == 12);
	t_str_eq(text_of(d, STREAM_STDOUT), "common\nmine\n");
	t_str_eq(text_of(c, STREAM_STDOUT), "common\n");
	close(out);
	close(err);
	commands_free(twin);
	bench_close(&b);
}
