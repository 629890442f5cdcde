/*
 * Every kernel call of a checkpoint, and of what builds an incarnation, fails
 * once: the keeper's by sys/fault.h, the puppets' by puppet/fault.h. Either it
 * worked, or nothing has changed and nothing is left; and the guest, which
 * checks itself all the time, never notices.
 *
 * By default some of the numbers; with MULLIGAN_TEST_ALL in the environment
 * each one.
 */
#include <dirent.h>
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
#include "puppet/fault.h"
#include "restore/restore.h"
#include "sandbox/userns.h"
#include "sys/fault.h"

/*
 * Two processes. Each holds pages that are all of one generation, a file that
 * says which, and paths that must lead to the same place: by its descriptor,
 * by its directory, by name. It must not have more descriptors than at first.
 * Of two System V segments they have one attached, and look into the other;
 * they look at a semaphore, and one takes a message and sends it again.
 */
static const char guest_py[] =
	"import ctypes, os, sys, time\n"
	"os.makedirs('/tmp/w', exist_ok=True); os.chdir('/tmp/w')\n"
	"r, w = os.pipe(); os.write(w, b'queued')\n"
	"log = os.open('shared', os.O_RDWR | os.O_CREAT | os.O_APPEND)\n"
	"libc = ctypes.CDLL(None); libc.shmat.restype = ctypes.c_void_p\n"
	"held, alone = [libc.shmget(key, 5000, 0o1600) for key in (77, 78)]\n"
	"sem = libc.semget(79, 2, 0o1600); libc.semctl(sem, 1, 16, 7)\n"
	"queue = libc.msgget(80, 0o1600); message = (ctypes.c_long * 2)(5, 6)\n"
	"libc.msgsnd(queue, message, 8, 0)\n"
	"def attach(id): return ctypes.c_void_p(libc.shmat(id, None, 0))\n"
	"at = attach(held); ctypes.memmove(at, b'held', 4)\n"
	"there = attach(alone); ctypes.memmove(there, b'alone', 5); libc.shmdt(there)\n"
	"me = 'child' if os.fork() == 0 else 'parent'\n"
	"pages = [bytearray(4096) for i in range(64)]\n"
	"f = os.open(me, os.O_RDWR | os.O_CREAT)\n"
	"d = os.open('.', os.O_RDONLY)\n"
	"gone = os.open('gone' + me, os.O_RDWR | os.O_CREAT); os.unlink('gone' + me)\n"
	"def is_open(n):\n"
	"    try: os.fstat(n); return True\n"
	"    except OSError: return False\n"
	"def descriptors(): return [n for n in range(64) if is_open(n)]\n"
	"fds = descriptors()\n"
	"g = 0\n"
	"def fail(why):\n"
	"    open('/tmp/failed', 'a').write('%s %d: %s\\n' % (me, g, why)); os._exit(3)\n"
	"try:\n"
	"    while True:\n"
	"        b = g & 255\n"
	"        if any(p[0] != b or p[4095] != b for p in pages): fail('memory')\n"
	"        if g and os.pread(f, 8, 0) != b'%08d' % g: fail('file')\n"
	"        if g and os.pread(gone, 8, 0) != b'%08d' % g: fail('unlinked')\n"
	"        g += 1; b = g & 255\n"
	"        for p in pages: p[0] = b; p[4095] = b\n"
	"        os.pwrite(f, b'%08d' % g, 0); os.pwrite(gone, b'%08d' % g, 0)\n"
	"        if open('/tmp/w/' + me, 'rb').read() != b'%08d' % g: fail('name')\n"
	"        t = 't' + me\n"
	"        os.close(os.open(t, os.O_CREAT | os.O_WRONLY))\n"
	"        os.stat('/tmp/w/' + t); os.unlink(t, dir_fd=d)\n"
	"        if os.path.exists('/tmp/w/' + t): fail('directory')\n"
	"        if os.getcwd() != '/tmp/w': fail('cwd')\n"
	"        if ctypes.string_at(at, 4) != b'held': fail('segment')\n"
	"        if libc.semctl(sem, 1, 12) != 7: fail('semaphore')\n"
	"        if g % 16 == 0:\n"
	"            there = attach(alone)\n"
	"            if ctypes.string_at(there, 5) != b'alone': fail('lone segment')\n"
	"            libc.shmdt(there)\n"
	"        now = descriptors()\n"
	"        if now != fds: fail('descriptors %s, were %s' % (now, fds))\n"
	"        if me == 'parent' and g % 64 == 0:\n"
	"            message[0] = message[1] = 0\n"
	"            if libc.msgrcv(queue, message, 8, 5, 0) != 8: fail('queue')\n"
	"            if message[0] != 5 or message[1] != 6: fail('message')\n"
	"            libc.msgsnd(queue, message, 8, 0)\n"
	"            if os.read(r, 6) != b'queued': fail('pipe')\n"
	"            os.write(w, b'queued')\n"
	"        time.sleep(0.001)\n"
	"except Exception as e:\n"
	"    fail(repr(e))\n";

struct bench {
	char dir[64];
	struct store *store;
	struct image image;
	struct spec spec;
	struct engine en;
	struct checkpoint *first;
	struct incarnation *in;
	struct commands *commands;
	struct commands_saved saved;	/* of the last checkpoint that worked */
};

static void must(int r, const struct err *e)
{
	if (r)
		t_fail("%d %s: %s", r, err_name(-r), e->cause);
}

static bool is_whole(void)
{
	return getenv("MULLIGAN_TEST_ALL");
}

static int engine_new(struct bench *b, struct err *e)
{
	char scratch[128];
	snprintf(scratch, sizeof(scratch), "%s/scratch", b->dir);
	return engine_init(&b->en, b->store, &b->spec, b->image.root, scratch, e);
}

static void ground_open(struct bench *b)
{
	struct err e = ERR_INIT;
	*b = (struct bench){ 0 };
	snprintf(b->dir, sizeof(b->dir), "/tmp/mulligan-faults.XXXXXX");
	t_assert(mkdtemp(b->dir));
	must(userns_enter(userns_needed(), &e), &e);
	must(store_open(b->dir, &b->store, &e), &e);
	must(image_open_host(b->store, &b->image, &e), &e);
	spec_init(&b->spec);
	must(spec_set_name(&b->spec, "faults", &e), &e);
	vec_each(struct image_mount, m, &b->image.mounts) {
		char text[600];
		snprintf(text, sizeof(text), "%s:%s:%s", m->source, m->target,
			 m->readonly ? "ro" : "cow");
		must(spec_add_volume(&b->spec, text, &e), &e);
	}
	char scratch[128];
	snprintf(scratch, sizeof(scratch), "%s/scratch", b->dir);
	t_eq(mkdir(scratch, 0700), 0);
}

static void ground_close(struct bench *b)
{
	char command[160];
	spec_deinit(&b->spec);
	image_close(&b->image);
	store_close(b->store);
	snprintf(command, sizeof(command), "umount -l %s/scratch 2>/dev/null; rm -rf %s", b->dir,
		 b->dir);
	t_eq(system(command), 0);
	while (waitpid(-1, NULL, __WALL) > 0)
		;
}

static int build(struct bench *b, struct checkpoint *c, struct incarnation **in, struct err *e)
{
	const struct restore_options options = { .track = true };
	return incarnation_build(&b->en, c, &options, in, NULL, e);
}

static void enter(struct bench *b, struct incarnation *in)
{
	struct err e = ERR_INIT;
	b->in = in;
	must(incarnation_release(in, &e), &e);
	must(commands_attach(b->commands, take_fd(&in->init_socket), in->pid1, &e), &e);
}

static void bench_open(struct bench *b)
{
	struct err e = ERR_INIT;
	struct incarnation *in;
	ground_open(b);
	must(engine_new(b, &e), &e);
	must(checkpoint_first(&b->first, &e), &e);
	struct commands_events events = { 0 };
	b->commands = commands_new(&events);
	must(build(b, b->first, &in, &e), &e);
	enter(b, in);
	must(commands_wait_ready(b->commands, 5000000000ull, &e), &e);
}

static void bench_close(struct bench *b)
{
	incarnation_free(b->in);
	commands_saved_deinit(&b->saved);
	commands_free(b->commands);
	checkpoint_unref(b->first);
	engine_deinit(&b->en);
	ground_close(b);
}

/* The guest */

static struct command *guest_start(struct bench *b)
{
	struct err e = ERR_INIT;
	const char *argv[] = { "/usr/bin/python3", "-c", guest_py, NULL };
	const char *env[] = { "PATH=/usr/bin:/bin", NULL };
	struct command_spec spec = COMMAND_SPEC_INIT;
	struct command *c;
	spec.argv = argv;
	spec.env = env;
	spec.stdin_mode = STDIN_NULL;
	must(command_start(b->commands, &spec, &c, &e), &e);
	must(command_wait_started(b->commands, c, &e), &e);
	return c;
}

static long guest_generation(struct bench *b, const char *who)
{
	char path[64], text[16] = "";
	snprintf(path, sizeof(path), "tmp/w/%s", who);
	scoped_fd int fd = openat(b->in->root_fd, path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && pread(fd, text, sizeof(text) - 1, 0) > 0 ? atol(text) : -1;
}

static void guest_failed(struct bench *b, const char *when)
{
	char text[1024] = "";
	scoped_fd int fd = openat(b->in->root_fd, "tmp/failed", O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
		t_fail("%s: guest: %s", when, text);
}

/* Both processes go on, and find everything as it was. */
static void guest_goes_on(struct bench *b, const char *when)
{
	static const char *const who[] = { "parent", "child" };
	for (int i = 0; i < 2; i++) {
		long from = guest_generation(b, who[i]);
		uint64_t deadline = clock_now_ns() + 10000000000ull;
		while (from < 0 || guest_generation(b, who[i]) < from + 2) {
			guest_failed(b, when);
			if (clock_now_ns() > deadline)
				t_fail("%s: the %s stands still at %ld", when, who[i], from);
			if (from < 0)
				from = guest_generation(b, who[i]);
			/* a thread that had not stopped in time: as the keeper does */
			freezer_settle(b->en.freezer);
			t_sleep_ms(1);
		}
	}
	guest_failed(b, when);
}

/* What there is: nothing of it may grow. */

struct census {
	int fds, processes, layers, mounts;
};

static int count_dir(const char *path)
{
	DIR *dir = opendir(path);
	int n = 0;
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static int count_lines(const char *path)
{
	FILE *f = fopen(path, "re");
	int n = 0, c;
	while (f && (c = fgetc(f)) != EOF)
		n += c == '\n';
	if (f)
		fclose(f);
	return n;
}

/* Descendants; those that are only waiting to be reaped do not count. */
static int count_descendants(pid_t pid)
{
	char path[64];
	int n = 0, child;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	FILE *f = fopen(path, "re");
	while (f && fscanf(f, "%d", &child) == 1) {
		char state = 'Z', stat[64];
		snprintf(stat, sizeof(stat), "/proc/%d/stat", child);
		FILE *s = fopen(stat, "re");
		if (s && fscanf(s, "%*d %*[^)]) %c", &state) != 1)
			state = 'Z';
		if (s)
			fclose(s);
		n += (state != 'Z') + count_descendants(child);
	}
	if (f)
		fclose(f);
	return n;
}

static struct census census_now(struct bench *b)
{
	char layers[128];
	snprintf(layers, sizeof(layers), "%s/layers", b->dir);
	return (struct census){ .fds = count_dir("/proc/self/fd"),
				.processes = count_descendants(getpid()),
				.layers = count_dir(layers),
				.mounts = count_lines("/proc/self/mountinfo") };
}

/* For whoever reads of a leak: what there is now. */
static void note_descriptors(void)
{
	for (int fd = 0; fd < 1024; fd++) {
		char path[64], target[128] = "";
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (readlink(path, target, sizeof(target) - 1) > 0)
			t_note("  %d %s", fd, target);
	}
}

/* Processes and what they hold go away in their own time. */
static void census_same(struct bench *b, const struct census *before, const char *when)
{
	struct census now = census_now(b);
	for (int i = 0; i < 3000 && (now.processes > before->processes ||
				     now.layers > before->layers); i++) {
		t_sleep_ms(1);
		now = census_now(b);
	}
	if (now.fds > before->fds)
		note_descriptors();
	if (now.fds > before->fds || now.processes > before->processes ||
	    now.layers > before->layers || now.mounts > before->mounts)
		t_fail("%s: descriptors %d -> %d, processes %d -> %d, layers %d -> %d, "
		       "mounts %d -> %d", when, before->fds, now.fds, before->processes,
		       now.processes, before->layers, now.layers, before->mounts, now.mounts);
}

/* Faults of the keeper's own calls, or of the puppets'. */

struct sweep {
	bool puppets;
	unsigned int step;
	uint64_t n;
	unsigned int failed, worked;
	char when[200];
};

static void sweep_arm(struct sweep *s)
{
	if (s->puppets)
		puppet_fault_arm((uint32_t)s->n);
	else
		sys_fault_arm(s->n, EIO);
}

/* Whether the fault was met; what follows is not to meet it. */
static bool sweep_fired(struct sweep *s)
{
	bool fired = s->puppets ? !puppet_fault_left() : sys_fault_fired() != NULL;
	snprintf(s->when, sizeof(s->when), "%s call %llu%s%s", s->puppets ? "puppet" : "keeper",
		 (unsigned long long)s->n, s->puppets || !fired ? "" : " ",
		 s->puppets || !fired ? "" : sys_fault_fired());
	puppet_fault_arm(0);
	sys_fault_arm(0, 0);
	return fired;
}

static void sweep_next(struct sweep *s, int r, const struct err *e)
{
	if (r == 0)
		s->worked++;
	else
		s->failed++;
	if (e->broken)
		t_fail("%s: broken: %s", s->when, e->cause);
	if (r && !e->cause[0])
		t_fail("%s: %d without a cause", s->when, r);
	s->n += is_whole() ? 1 : s->step;
}

static int on_frozen(void *ctx, struct err *e)
{
	struct bench *b = ctx;
	commands_drain(b->commands);
	commands_saved_deinit(&b->saved);
	return commands_save(b->commands, &b->saved, e);
}

static int take(struct bench *b, struct checkpoint **c, struct err *e)
{
	struct vec outers = VEC_INIT(struct part_outer);
	vec_each(struct command *, at, commands_all(b->commands))
		for (int s = 0; s < STREAMS; s++) {
			const struct command *cmd = *at;
			if (cmd->stream[s].fd < 0)
				continue;
			struct part_outer *o = vec_add(&outers);
			*o = (struct part_outer){ .dev = cmd->stream[s].dev,
						  .ino = cmd->stream[s].ino,
						  .tty = -1,
						  .command = cmd->id,
						  .stream = s };
		}
	struct checkpoint_hooks hooks = { b, on_frozen };
	struct checkpoint_stats stats = { 0 };
	int r = checkpoint_take(b->in, &outers, &hooks, c, &stats, e);
	vec_deinit(&outers);
	return r;
}

static void rollback(struct bench *b, struct incarnation *in)
{
	struct err e = ERR_INIT;
	struct incarnation *old = b->in;
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

/* The next checkpoint has all that matters: the guest lives on from it. */
static void take_and_roll_back(struct bench *b, const char *when)
{
	struct err e = ERR_INIT;
	struct checkpoint *c;
	struct incarnation *in;
	if (take(b, &c, &e))
		t_fail("%s: the next checkpoint failed: %s", when, e.cause);
	guest_goes_on(b, when);
	if (build(b, c, &in, &e))
		t_fail("%s: the next rollback failed: %s", when, e.cause);
	rollback(b, in);
	guest_goes_on(b, when);
	checkpoint_unref(c);
}

/* Every ROLLBACK_EACH-th fault is followed by a rollback to the next one. */
enum { ROLLBACK_EACH = 5 };

static void sweep_checkpoint(struct sweep *s)
{
	struct bench b;
	bench_open(&b);
	guest_start(&b);
	while (guest_generation(&b, "parent") < 2 || guest_generation(&b, "child") < 2)
		t_sleep_ms(5);
	take_and_roll_back(&b, "before");
	for (unsigned int i = 1;; i++) {
		struct err e = ERR_INIT;
		struct checkpoint *c;
		must(checkpoint_prepare(b.in, &e), &e);
		struct census before = census_now(&b);
		sweep_arm(s);
		int r = take(&b, &c, &e);
		bool fired = sweep_fired(s);
		sweep_next(s, r, &e);
		guest_goes_on(&b, s->when);
		if (r == 0)
			checkpoint_unref(c);
		else
			census_same(&b, &before, s->when);
		if (!fired)
			break;
		if (i % ROLLBACK_EACH == 0)
			take_and_roll_back(&b, s->when);
	}
	take_and_roll_back(&b, "after");
	t_note("%llu calls: %u failed, %u worked nevertheless", (unsigned long long)s->n,
	       s->failed, s->worked);
	t_assert(s->failed > 10);
	bench_close(&b);
}

TEST(checkpoint_with_a_failing_call_is_whole_or_nothing, .timeout_s = 600)
{
	sweep_checkpoint(&(struct sweep){ .n = 1, .step = 23 });
}

/* Taken for different, a description that is shared would be made twice. */
TEST(descriptions_that_cannot_be_compared_are_not_taken_for_different, .timeout_s = 60)
{
	struct bench b;
	bench_open(&b);
	guest_start(&b);
	while (guest_generation(&b, "parent") < 2 || guest_generation(&b, "child") < 2)
		t_sleep_ms(5);
	unsigned int n = 0;
	for (const char *fired = ""; fired;) {
		struct err e = ERR_INIT;
		struct checkpoint *c;
		sys_fault_arm_only("kcmp", ++n, EIO);
		int r = take(&b, &c, &e);
		fired = sys_fault_fired();
		sys_fault_arm(0, 0);
		if (r == 0)
			checkpoint_unref(c);
		if (fired && r == 0)
			t_fail("comparison %u failed, and it was taken", n);
		guest_goes_on(&b, "after a comparison");
	}
	t_note("%u comparisons", n - 1);
	t_assert(n > 5);
	bench_close(&b);
}

TEST(checkpoint_with_a_failing_call_of_a_puppet_is_whole_or_nothing, .timeout_s = 600)
{
	sweep_checkpoint(&(struct sweep){ .n = 1, .step = 3, .puppets = true });
}

/* Cgroups are kept for the next incarnations: have them before the census. */
static void keep_groups(struct bench *b, struct checkpoint *c)
{
	enum { N = 4 };
	struct incarnation *in[N];
	struct err e = ERR_INIT;
	int before = count_descendants(getpid());
	for (int i = 0; i < N; i++)
		must(build(b, c, &in[i], &e), &e);
	for (int i = 0; i < N; i++)
		incarnation_free(in[i]);
	while (count_descendants(getpid()) > before)
		t_sleep_ms(1);
}

/* Rollback and fork: an incarnation is built, or nothing is left of it. */
static void sweep_build(struct sweep *s)
{
	struct bench b;
	struct err e = ERR_INIT;
	struct checkpoint *c;
	bench_open(&b);
	guest_start(&b);
	while (guest_generation(&b, "parent") < 2 || guest_generation(&b, "child") < 2)
		t_sleep_ms(5);
	must(take(&b, &c, &e), &e);
	keep_groups(&b, c);
	for (unsigned int i = 1;; i++) {
		struct incarnation *in = NULL;
		e = (struct err)ERR_INIT;
		struct census before = census_now(&b);
		sweep_arm(s);
		int r = build(&b, c, &in, &e);
		bool fired = sweep_fired(s);
		sweep_next(s, r, &e);
		if (r == 0 && (i % ROLLBACK_EACH == 0 || !fired)) {
			rollback(&b, in);
			guest_goes_on(&b, s->when);
		} else {
			incarnation_free(in);
			census_same(&b, &before, s->when);
		}
		if (!fired)
			break;
		if (r == 0 || i % ROLLBACK_EACH)
			continue;
		/* its template serves */
		if (build(&b, c, &in, &e))
			t_fail("%s: the next one failed, too: %s", s->when, e.cause);
		rollback(&b, in);
		guest_goes_on(&b, s->when);
	}
	t_note("%llu calls: %u failed, %u worked nevertheless", (unsigned long long)s->n,
	       s->failed, s->worked);
	t_assert(s->failed > 10);
	checkpoint_unref(c);
	bench_close(&b);
}

TEST(rollback_with_a_failing_call_leaves_nothing, .timeout_s = 600)
{
	sweep_build(&(struct sweep){ .n = 1, .step = 11 });
}

TEST(rollback_with_a_failing_call_of_a_puppet_leaves_nothing, .timeout_s = 600)
{
	sweep_build(&(struct sweep){ .n = 1, .step = 7, .puppets = true });
}

/* What create does above a made base. */
static int create(struct bench *b, struct incarnation **in, struct err *e)
{
	int r = engine_new(b, e);
	if (r)
		return r;
	struct checkpoint *first = NULL;
	r = checkpoint_first(&first, e);
	if (!r)
		r = build(b, first, in, e);
	if (!r)
		incarnation_free(*in);
	if (first)
		checkpoint_unref(first);
	engine_deinit(&b->en);
	return r;
}

static void sweep_create(struct sweep *s)
{
	struct bench b;
	struct err e = ERR_INIT;
	struct incarnation *in;
	ground_open(&b);
	must(create(&b, &in, &e), &e);
	bool fired = true;
	while (fired) {
		e = (struct err)ERR_INIT;
		struct census before = census_now(&b);
		/* the mounts that all incarnations share go with the namespace */
		before.mounts = 1 << 20;
		sweep_arm(s);
		int r = create(&b, &in, &e);
		fired = sweep_fired(s);
		sweep_next(s, r, &e);
		census_same(&b, &before, s->when);
	}
	t_note("%llu calls: %u failed, %u worked nevertheless", (unsigned long long)s->n,
	       s->failed, s->worked);
	t_assert(s->failed > 10);
	ground_close(&b);
}

TEST(create_with_a_failing_call_leaves_nothing, .timeout_s = 600)
{
	sweep_create(&(struct sweep){ .n = 1, .step = 7 });
}

TEST(create_with_a_failing_call_of_a_puppet_leaves_nothing, .timeout_s = 600)
{
	sweep_create(&(struct sweep){ .n = 1, .step = 3, .puppets = true });
}

TEST(killed_template_loses_its_checkpoint_alone, .timeout_s = 60)
{
	struct bench b;
	struct err e = ERR_INIT;
	struct checkpoint *one, *two;
	struct incarnation *in = NULL;
	bool ordinary = geteuid() != 0;
	bench_open(&b);
	guest_start(&b);
	while (guest_generation(&b, "parent") < 2 || guest_generation(&b, "child") < 2)
		t_sleep_ms(5);
	must(take(&b, &one, &e), &e);
	must(take(&b, &two, &e), &e);
	kill(one->template.pid, SIGKILL);
	t_assert(build(&b, one, &in, &e) < 0);
	t_assert(strstr(e.cause, "lost"));
	e = (struct err)ERR_INIT;
	must(build(&b, two, &in, &e), &e);
	rollback(&b, in);
	guest_goes_on(&b, "after the other checkpoint's template was killed");
	take_and_roll_back(&b, "after a template was killed");
	/* the one it descends from: the next is made from nothing */
	kill(b.in->from->template.pid, SIGKILL);
	if (ordinary) {
		/* the files that are mapped can only be found by path: refused */
		struct checkpoint *none;
		t_assert(take(&b, &none, &e) < 0);
		t_assert(strstr(e.cause, "cannot be opened again"));
		guest_goes_on(&b, "after a checkpoint was refused");
	} else {
		take_and_roll_back(&b, "after its own template was killed");
		take_and_roll_back(&b, "after that");
	}
	checkpoint_unref(one);
	checkpoint_unref(two);
	bench_close(&b);
}
