/*
 * Create, checkpoint, rollback and go on, without a keeper: the engine alone,
 * on the machine's own system files.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "checkpoint/checkpoint.h"
#include "exec/command.h"
#include "harness/harness.h"
#include "restore/restore.h"
#include "sandbox/userns.h"

struct bench {
	char dir[64];
	struct store *store;
	struct image image;
	struct spec spec;
	struct engine en;
	struct checkpoint *first;
	struct incarnation *in;
	struct commands *commands;
	struct commands_saved saved;
};

static void must(int r, const struct err *e)
{
	if (r)
		t_fail("%d %s: %s", r, err_name(-r), e->cause);
}

static void add_volumes(struct bench *b)
{
	struct err e = ERR_INIT;
	vec_each(struct image_mount, m, &b->image.mounts) {
		char text[600];
		snprintf(text, sizeof(text), "%s:%s:%s", m->source, m->target,
			 m->readonly ? "ro" : "cow");
		must(spec_add_volume(&b->spec, text, &e), &e);
	}
}

static void note_times(const struct stage_times *times)
{
	for (size_t i = 0; i < times->n; i++)
		t_note("  %-10s %8.1f us", times->stage[i].name, (double)times->stage[i].ns / 1e3);
	t_note("  total      %8.1f us", (double)times->total_ns / 1e3);
}

static void enter(struct bench *b, struct incarnation *in)
{
	struct err e = ERR_INIT;
	b->in = in;
	must(incarnation_release(in, &e), &e);
	must(commands_attach(b->commands, take_fd(&in->init_socket), in->pid1, &e), &e);
}

static struct incarnation *build(struct bench *b, struct checkpoint *c)
{
	struct err e = ERR_INIT;
	struct incarnation *in;
	struct stage_times times;
	struct restore_options options = { .track = true };
	int r = incarnation_build(&b->en, c, &options, &in, &times, &e);
	note_times(&times);
	must(r, &e);
	return in;
}

static void bench_open(struct bench *b)
{
	struct err e = ERR_INIT;
	*b = (struct bench){ 0 };
	snprintf(b->dir, sizeof(b->dir), "/tmp/mulligan-engine.XXXXXX");
	t_assert(mkdtemp(b->dir));
	must(userns_enter(userns_needed(), &e), &e);
	must(store_open(b->dir, &b->store, &e), &e);
	must(image_open_host(b->store, &b->image, &e), &e);
	spec_init(&b->spec);
	must(spec_set_name(&b->spec, "engine", &e), &e);
	add_volumes(b);
	char scratch[128];
	snprintf(scratch, sizeof(scratch), "%s/scratch", b->dir);
	t_eq(mkdir(scratch, 0700), 0);
	must(engine_init(&b->en, b->store, &b->spec, b->image.root, scratch, &e), &e);
	must(checkpoint_first(&b->first, &e), &e);
	struct commands_events events = { 0 };
	b->commands = commands_new(&events);
	enter(b, build(b, b->first));
	must(commands_wait_ready(b->commands, 5000000000ull, &e), &e);
}

static void bench_close(struct bench *b)
{
	char command[128];
	incarnation_free(b->in);
	commands_free(b->commands);
	checkpoint_unref(b->first);
	engine_deinit(&b->en);
	spec_deinit(&b->spec);
	image_close(&b->image);
	store_close(b->store);
	snprintf(command, sizeof(command), "umount -l %s/scratch 2>/dev/null; rm -rf %s", b->dir,
		 b->dir);
	t_eq(system(command), 0);
	while (waitpid(-1, NULL, __WALL) > 0)
		;
}

/* What takes so long hangs, on a busy machine too. */
#define PATIENCE_NS 40000000000ull

static void wait_for(struct bench *b, uint64_t timeout_ns, bool (*done)(struct command *),
		     struct command *c)
{
	uint64_t deadline = clock_now_ns() + timeout_ns;
	while (!done(c) && clock_now_ns() < deadline) {
		struct pollfd p = { commands_fd(b->commands), POLLIN, 0 };
		poll(&p, 1, 50);
		commands_dispatch(b->commands);
	}
}

static struct command *start(struct bench *b, const char *script)
{
	struct err e = ERR_INIT;
	const char *argv[] = { "/bin/bash", "-c", script, NULL };
	const char *env[] = { "PATH=/usr/bin:/bin", NULL };
	struct command_spec spec = COMMAND_SPEC_INIT;
	spec.argv = argv;
	spec.env = env;
	spec.stdin_mode = STDIN_NULL;
	struct command *c;
	must(command_start(b->commands, &spec, &c, &e), &e);
	must(command_wait_started(b->commands, c, &e), &e);
	return c;
}

static void run_ok(struct bench *b, const char *script)
{
	struct command *c = start(b, script);
	wait_for(b, PATIENCE_NS, (bool (*)(struct command *))command_is_over, c);
	t_eq(c->state, COMMAND_EXITED);
	if (c->wait_status)
		t_fail("'%s' ended with %#x", script, (unsigned)c->wait_status);
}

static void add_outers(struct bench *b, struct vec *outers)
{
	const struct vec *all = commands_all(b->commands);
	for (size_t i = 0; i < all->n; i++) {
		struct command *c = *(struct command **)vec_at(all, i);
		for (int s = 0; s < STREAMS; s++) {
			if (c->stream[s].fd < 0)
				continue;
			struct part_outer *o = vec_add(outers);
			*o = (struct part_outer){ .dev = c->stream[s].dev,
						  .ino = c->stream[s].ino,
						  .tty = -1,
						  .command = c->id,
						  .stream = s };
		}
	}
}

static int on_frozen(void *ctx, struct err *e)
{
	struct bench *b = ctx;
	commands_drain(b->commands);
	return commands_save(b->commands, &b->saved, e);
}

static struct checkpoint *take(struct bench *b)
{
	struct err e = ERR_INIT;
	struct vec outers = VEC_INIT(struct part_outer);
	add_outers(b, &outers);
	struct checkpoint_hooks hooks = { b, on_frozen };
	struct checkpoint *c;
	struct checkpoint_stats stats = { 0 };
	int r = checkpoint_take(b->in, &outers, &hooks, &c, &stats, &e);
	note_times(&stats.times);
	t_note("  %zu processes, %zu threads, %llu pages", stats.processes, stats.threads,
	       (unsigned long long)stats.dirty_pages);
	must(r, &e);
	vec_deinit(&outers);
	return c;
}

static void rollback(struct bench *b, struct checkpoint *c)
{
	struct err e = ERR_INIT;
	struct incarnation *in = build(b, c), *old = b->in;
	struct vec ends = VEC_INIT(struct command_end);
	vec_each(struct files_outer, o, &in->outers) {
		struct command_end *end = vec_add(&ends);
		*end = (struct command_end){ o->command, (enum stream_kind)o->stream,
					     take_fd(&o->fd) };
	}
	incarnation_kill(old);
	enter(b, in);
	must(commands_restore(b->commands, &b->saved, ends.data, ends.n, &e), &e);
	must(commands_wait_ready(b->commands, 5000000000ull, &e), &e);
	incarnation_free(old);
	vec_deinit(&ends);
}

TEST(command_runs_in_a_fresh_incarnation, .timeout_s = 60)
{
	struct bench b;
	bench_open(&b);
	run_ok(&b, "echo hello; test $$ -gt 1; ls /usr/bin/env");
	bench_close(&b);
}

TEST(counter_goes_on_after_checkpoint_and_rollback, .timeout_s = 240)
{
	struct bench b;
	bench_open(&b);
	struct command *c = start(&b, "i=0; while :; do i=$((i+1)); echo $i >> /tmp/count; "
				      "sleep 0.01; done");
	run_ok(&b, "until n=$(tail -n 1 /tmp/count) && test \"$n\" -gt 5; do sleep 0.01; done");
	struct checkpoint *one = take(&b);
	t_eq(c->state, COMMAND_RUNNING);
	/* no number is missing, none comes twice; it goes on counting */
	static const char check[] =
		"n=$(tail -n 1 /tmp/count); test $n -gt 5 && seq $n | cmp - <(head -n $n /tmp/count)"
		" && until test $(tail -n 1 /tmp/count) -gt $n; do sleep 0.01; done";
	run_ok(&b, check);
	for (int i = 0; i < 5; i++) {
		run_ok(&b, "rm -rf /tmp/*; kill -9 -1; true");
		rollback(&b, one);
		t_eq(c->state, COMMAND_RUNNING);
		run_ok(&b, check);
		checkpoint_unref(one);
		one = take(&b);
	}
	checkpoint_unref(one);
	bench_close(&b);
}

static const char threads_py[] =
	"import threading, time, os, sys\n"
	"n = [0] * 4\n"
	"def work(i):\n"
	"    while n[i] <= 10 or not os.path.exists('/tmp/stop'):\n"
	"        n[i] += 1\n"
	"        time.sleep(0.002)\n"
	"ts = [threading.Thread(target=work, args=(i,)) for i in range(4)]\n"
	"[t.start() for t in ts]\n"
	"[t.join() for t in ts]\n"
	"sys.exit(0 if min(n) > 10 else 1)\n";

TEST(python_threads_join_after_rollback, .timeout_s = 240)
{
	struct bench b;
	bench_open(&b);
	char script[1024];
	snprintf(script, sizeof(script), "exec /usr/bin/python3 -c \"%s\"", threads_py);
	struct command *c = start(&b, script);
	struct timespec wait = { 0, 400000000 };
	nanosleep(&wait, NULL);
	struct checkpoint *one = take(&b);
	for (int i = 0; i < 3; i++) {
		run_ok(&b, "kill -9 -1; true");
		rollback(&b, one);
		nanosleep(&wait, NULL);
		commands_dispatch(b.commands);
		t_eq(c->state, COMMAND_RUNNING);
		checkpoint_unref(one);
		one = take(&b);
	}
	run_ok(&b, "touch /tmp/stop");
	wait_for(&b, PATIENCE_NS, (bool (*)(struct command *))command_is_over, c);
	t_eq(c->state, COMMAND_EXITED);
	t_eq(c->wait_status, 0);
	checkpoint_unref(one);
	bench_close(&b);
}

/* Rewrites, grows, drops and remaps its memory, and checks it as it goes. */
static const char churn_py[] =
	"import mmap, os, random, time\n"
	"r = random.Random(1)\n"
	"maps, want = {}, {}\n"
	"n = 0\n"
	"while True:\n"
	"    k = r.randrange(8)\n"
	"    if k in maps and r.random() < 0.15:\n"
	"        maps.pop(k).close(); want.pop(k)\n"
	"    if k not in maps:\n"
	"        maps[k] = mmap.mmap(-1, 4096 * r.randrange(1, 40), flags=34); want[k] = {}\n"
	"    p = r.randrange(len(maps[k]) // 4096)\n"
	"    if r.random() < 0.2:\n"
	"        maps[k].madvise(4, p * 4096, 4096); want[k].pop(p, 0)\n"
	"    else:\n"
	"        maps[k][p * 4096] = n % 251 + 1; want[k][p] = n % 251 + 1\n"
	"    n += 1\n"
	"    if n % 50 == 0:\n"
	"        for k, m in maps.items():\n"
	"            for p in range(len(m) // 4096):\n"
	"                assert m[p * 4096] == want[k].get(p, 0), (n, k, p)\n"
	"        with open('/tmp/new', 'w') as f: f.write(str(n))\n"
	"        os.replace('/tmp/new', '/tmp/ok')\n"
	"        time.sleep(0.005)\n";

enum { CHAIN = 12 };

/* The parent of a process, as the kernel sees it. */
static pid_t parent_of(struct bench *b, pid_t pid)
{
	struct procfs_stat st;
	t_ok(procfs_stat(freezer_procfs(b->en.freezer), pid, 0, &st));
	return st.ppid;
}

static void still_content(struct bench *b, struct command *c)
{
	run_ok(b, "rm -f /tmp/ok; until test -s /tmp/ok; do sleep 0.01; done");
	commands_dispatch(b->commands);
	t_eq(c->state, COMMAND_RUNNING);
}

TEST(chain_is_forked_from_skip_ancestors, .timeout_s = 240)
{
	struct bench b;
	struct err e = ERR_INIT;
	bench_open(&b);
	char script[2048];
	snprintf(script, sizeof(script), "exec /usr/bin/python3 -c \"%s\"", churn_py);
	struct command *c = start(&b, script);
	struct timespec wait = { 0, 300000000 };
	nanosleep(&wait, NULL);
	struct checkpoint *chain[CHAIN + 1] = { b.first };
	struct commands_saved saved[CHAIN + 1];
	for (unsigned int n = 1; n <= CHAIN; n++) {
		must(checkpoint_prepare(b.in, &e), &e);
		t_eq(parent_of(&b, b.in->ahead.pid), chain[n & (n - 1)]->template.pid);
		still_content(&b, c);
		chain[n] = take(&b);
		saved[n] = b.saved;
	}
	static const unsigned int back[] = { 8, 3, 12, 5, 10 };
	for (size_t i = 0; i < sizeof(back) / sizeof(back[0]); i++) {
		b.saved = saved[back[i]];
		rollback(&b, chain[back[i]]);
		still_content(&b, c);
	}
	for (unsigned int n = 1; n <= CHAIN; n++) {
		commands_saved_deinit(&saved[n]);
		checkpoint_unref(chain[n]);
	}
	bench_close(&b);
}
