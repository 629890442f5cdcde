/* mulligan-init by its protocol, as PID 1 of real namespaces. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "box.h"
#include "harness/harness.h"
#include "sandbox/init/proto.h"
#include "sys/proc.h"
#include "sys/procfs.h"
#include "sys/sock.h"

enum { WAIT_MS = 10000, OUT_BYTES = 64 << 10 };

/* A request, and what came of it. */
struct run {
	const char *const *argv;
	const char *cwd;
	const char *path; /* of the environment */
	uint32_t uid;
	uint32_t flags;
	int32_t error; /* -errno of SPAWNED */
	uint32_t step;
	int32_t pid;
	int status;
	char out[OUT_BYTES]; /* stdout and stderr */
};

static void receive(struct box *b, struct init_msg *msg)
{
	struct pollfd p = {.fd = b->socket_fd, .events = POLLIN};
	if (t_sys(poll(&p, 1, WAIT_MS)) == 0)
		t_fail("init says nothing");
	t_eq(t_ok(sys_sock_recv(b->socket_fd, msg, sizeof(*msg), NULL, NULL, 0)), sizeof(*msg));
	t_eq(msg->magic, INIT_MAGIC);
	t_eq(msg->version, INIT_VERSION);
}

static void open_ready(struct box *b)
{
	struct init_msg msg;
	box_open(b);
	receive(b, &msg);
	t_eq(msg.kind, INIT_READY);
	if (msg.value)
		t_fail("confinement failed at step %u: %s", msg.step, strerror(-msg.value));
}

static void block_string(struct buf *block, const char *s)
{
	buf_add(block, s, strlen(s) + 1);
}

static int block_of(const struct run *r, uint64_t *bytes)
{
	struct init_block head = {
		.magic = INIT_MAGIC,
		.uid = r->uid,
		.gid = r->uid,
		.n_env = 1,
		.umask = 022,
	};
	while (r->argv[head.n_args])
		head.n_args++;
	struct buf block = BUF_INIT;
	buf_add(&block, &head, sizeof(head));
	block_string(&block, r->cwd ? r->cwd : "/");
	for (uint32_t i = 0; i < head.n_args; i++)
		block_string(&block, r->argv[i]);
	char path[512];
	snprintf(path, sizeof(path), "PATH=%s", r->path ? r->path : "/usr/bin:/bin");
	block_string(&block, path);
	int fd = (int)t_sys(memfd_create("block", MFD_CLOEXEC));
	t_eq(write(fd, block.data, block.len), block.len);
	*bytes = block.len;
	buf_deinit(&block);
	return fd;
}

/* Ask for it; *out_fd reads what it says. */
static void request(struct box *b, struct run *r, uint64_t id, int *out_fd)
{
	int out[2];
	t_sys(pipe2(out, O_CLOEXEC));
	int null_fd = (int)t_sys(open("/dev/null", O_RDONLY | O_CLOEXEC));
	struct init_msg msg = {
		.magic = INIT_MAGIC,
		.version = INIT_VERSION,
		.kind = INIT_SPAWN,
		.id = id,
		.flags = r->flags | (b->is_rootless ? INIT_F_KEEP_GROUPS : 0),
	};
	int block_fd = block_of(r, &msg.block_bytes);
	const int fds[] = {block_fd, null_fd, out[1], out[1]};
	t_ok(sys_sock_send(b->socket_fd, &msg, sizeof(msg), fds, 4, 0));
	close(block_fd);
	close(null_fd);
	close(out[1]);
	*out_fd = out[0];
}

static void expect_spawned(struct box *b, struct run *r, uint64_t id)
{
	struct init_msg msg;
	do
		receive(b, &msg);
	while (msg.kind == INIT_EXITED);
	t_eq(msg.kind, INIT_SPAWNED);
	t_eq(msg.id, id);
	r->error = msg.value;
	r->step = msg.step;
	r->pid = msg.pid;
}

static void expect_exited(struct box *b, struct run *r)
{
	struct init_msg msg;
	do {
		receive(b, &msg);
		t_eq(msg.kind, INIT_EXITED);
	} while (msg.pid != r->pid);
	r->status = msg.value;
}

static void read_out(struct run *r, int fd)
{
	size_t n = 0;
	for (;;) {
		ssize_t got = read(fd, r->out + n, sizeof(r->out) - 1 - n);
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	r->out[n] = '\0';
	close(fd);
}

static void run(struct box *b, struct run *r)
{
	static uint64_t id;
	int fd;
	request(b, r, ++id, &fd);
	expect_spawned(b, r, id);
	if (!r->error)
		expect_exited(b, r);
	read_out(r, fd);
}

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})
#define RUN(...) ((struct run){.argv = ARGV(__VA_ARGS__)})

/* Whether text has a line "key: value" where value starts like this. */
static void expect_field(const char *text, const char *key, const char *value)
{
	const char *have = procfs_field(text, key);
	if (!have || strncmp(have, value, strlen(value)) != 0)
		t_fail("%s is %.20s, not %s", key, have ? have : "(absent)", value);
}

TEST(echo_says_it_and_exits_with_0)
{
	struct box b;
	open_ready(&b);
	struct run r = RUN("echo", "hello");
	run(&b, &r);
	t_eq(r.error, 0);
	t_assert(r.pid > 1);
	t_eq(r.status, 0);
	t_str_eq(r.out, "hello\n");
	box_close(&b);
}

TEST(exit_codes_and_signals_are_told)
{
	struct box b;
	open_ready(&b);
	struct run code = RUN("sh", "-c", "exit 42");
	run(&b, &code);
	t_eq(WEXITSTATUS(code.status), 42);
	struct run killed = RUN("sh", "-c", "kill -TERM $$");
	run(&b, &killed);
	t_assert(WIFSIGNALED(killed.status));
	t_eq(WTERMSIG(killed.status), SIGTERM);
	box_close(&b);
}

static void expect_failure(struct box *b, struct run r, int error, uint32_t step)
{
	run(b, &r);
	t_eq(r.error, -error);
	t_eq(r.step, step);
}

TEST(what_cannot_start_says_why)
{
	struct box b;
	const char *dir = t_tmpdir();
	char plain[300], script[300], path[700];
	snprintf(plain, sizeof(plain), "%s/plain", dir);
	snprintf(script, sizeof(script), "%s/script", dir);
	close((int)t_sys(open(plain, O_WRONLY | O_CREAT, 0644)));
	int fd = (int)t_sys(open(script, O_WRONLY | O_CREAT, 0755));
	t_eq(write(fd, "#!/no/such/thing\n", 17), 17);
	t_sys(fchmod(fd, 0755));
	close(fd);
	t_sys(chmod(dir, 0755));
	open_ready(&b);
	expect_failure(&b, RUN("no-such-command"), ENOENT, INIT_STEP_LOOKUP);
	expect_failure(&b, RUN(""), ENOENT, INIT_STEP_LOOKUP);
	expect_failure(&b, RUN("/no/such/file"), ENOENT, INIT_STEP_LOOKUP);
	expect_failure(&b, RUN(plain), EACCES, INIT_STEP_LOOKUP);
	expect_failure(&b, RUN("/"), EACCES, INIT_STEP_LOOKUP);
	expect_failure(&b, RUN(script), ENOENT, INIT_STEP_INTERPRETER);
	struct run search = RUN("script");
	search.path = dir;
	expect_failure(&b, search, ENOENT, INIT_STEP_INTERPRETER);
	struct run denied = RUN("plain");
	snprintf(path, sizeof(path), "/nowhere:%s:/usr/bin", dir);
	denied.path = path;
	expect_failure(&b, denied, EACCES, INIT_STEP_LOOKUP);
	struct run cwd = RUN("true");
	cwd.cwd = "/no/such/dir";
	expect_failure(&b, cwd, ENOENT, INIT_STEP_CWD);
	/* and it goes on */
	struct run r = RUN("true");
	run(&b, &r);
	t_eq(r.status, 0);
	box_close(&b);
}

TEST(a_file_that_may_not_run_does_not_end_the_search)
{
	struct box b;
	const char *dir = t_tmpdir();
	char file[300], path[700];
	snprintf(file, sizeof(file), "%s/echo", dir);
	close((int)t_sys(open(file, O_WRONLY | O_CREAT, 0644)));
	t_sys(chmod(dir, 0755));
	snprintf(path, sizeof(path), "%s:/usr/bin:/bin", dir);
	open_ready(&b);
	struct run r = RUN("echo", "found");
	r.path = path;
	run(&b, &r);
	t_eq(r.error, 0);
	t_str_eq(r.out, "found\n");
	box_close(&b);
}

TEST(a_command_is_confined_and_starts_clean)
{
	struct box b;
	char want[32];
	open_ready(&b);
	struct run r = RUN("cat", "/proc/self/status");
	run(&b, &r);
	snprintf(want, sizeof(want), "%016llx", (unsigned long long)box_bounding());
	expect_field(r.out, "CapBnd", want);
	expect_field(r.out, "CapEff", want);
	expect_field(r.out, "CapPrm", want);
	expect_field(r.out, "CapInh", "0000000000000000");
	expect_field(r.out, "NoNewPrivs", "1");
	expect_field(r.out, "Seccomp", "2");
	expect_field(r.out, "SigBlk", "0000000000000000");
	expect_field(r.out, "SigIgn", "0000000000000000");
	expect_field(r.out, "SigCgt", "0000000000000000");
	expect_field(r.out, "Umask", "0022");
	if (!b.is_rootless)
		expect_field(r.out, "Groups", "\n");
	/* sh is the session leader, and has no descriptor but 0, 1, 2 */
	struct run s = RUN("sh", "-c",
			   "set -- $(cat /proc/$$/stat); echo $1 $5 $6; "
			   "ls /proc/$$/fd; pwd");
	run(&b, &s);
	int pid, pgrp, sid;
	t_eq(sscanf(s.out, "%d %d %d", &pid, &pgrp, &sid), 3);
	t_eq(pgrp, pid);
	t_eq(sid, pid);
	t_str_eq(strchr(s.out, '\n') + 1, "0\n1\n2\n/\n");
	box_close(&b);
}

TEST(another_user_has_no_capabilities_and_owns_its_pipes)
{
	struct box b;
	open_ready(&b);
	struct run r = RUN("sh", "-c",
			   "grep -E '^(Uid|Gid|Cap...):' /proc/self/status; "
			   "echo again > /dev/stdout");
	r.uid = 1234;
	run(&b, &r);
	if (b.is_rootless) {
		t_eq(r.error, -EINVAL);
		t_eq(r.step, INIT_STEP_GID);
	} else {
		t_eq(r.status, 0);
		expect_field(r.out, "Uid", "1234\t1234\t1234\t1234");
		expect_field(r.out, "CapEff", "0000000000000000");
		expect_field(r.out, "CapPrm", "0000000000000000");
		t_assert(strstr(r.out, "\nagain\n"));
	}
	box_close(&b);
}

TEST(init_cannot_be_signalled_from_inside)
{
	struct box b;
	struct procfs p = PROCFS_INIT;
	struct procfs_status st;
	open_ready(&b);
	struct run r = RUN("bash", "-c",
			   "for s in $(seq 1 64); do kill -$s 1; done 2>/dev/null;"
			   "kill -KILL 1; kill -STOP 1; echo sent");
	run(&b, &r);
	t_str_eq(r.out, "sent\n");
	t_ok(procfs_open(&p, NULL));
	t_ok(procfs_status(&p, b.init_pid, 0, &st));
	t_assert(st.state == 'S' || st.state == 'R');
	t_eq(st.sig_blocked, 1ull << (SIGCHLD - 1));
	t_eq(st.sig_shared_pending & ~(1ull << (SIGCHLD - 1)), 0);
	procfs_close(&p);
	struct run all = RUN("sh", "-c", "kill -9 -1 2>/dev/null; echo alone");
	run(&b, &all);
	t_str_eq(all.out, "alone\n");
	struct run after = RUN("true");
	run(&b, &after);
	t_eq(after.status, 0);
	box_close(&b);
}

TEST(init_cannot_be_looked_into_from_inside)
{
	struct box b;
	open_ready(&b);
	static const char *const secrets[] = {
		"cat /proc/1/maps",      "cat /proc/1/mem",    "cat /proc/1/environ",
		"readlink /proc/1/fd/3", "cat < /proc/1/fd/5", "readlink /proc/1/exe",
		"ls /proc/1/root/",      "ls /proc/1/cwd/",    "readlink /proc/1/ns/pid",
	};
	for (size_t i = 0; i < sizeof(secrets) / sizeof(*secrets); i++) {
		struct run r = RUN("sh", "-c", secrets[i]);
		run(&b, &r);
		if (r.status == 0)
			t_fail("'%s' works: %.60s", secrets[i], r.out);
	}
	box_close(&b);
}

TEST(orphans_are_reaped_and_told)
{
	struct box b;
	int fd;
	struct init_msg msg;
	open_ready(&b);
	struct run r = RUN("sh", "-c", "(sh -c 'echo $$; sleep 0.2; exit 9' &) ");
	request(&b, &r, 1, &fd);
	expect_spawned(&b, &r, 1);
	expect_exited(&b, &r);
	t_eq(r.status, 0);
	read_out(&r, fd);
	do
		receive(&b, &msg);
	while (msg.pid != atoi(r.out));
	t_eq(msg.kind, INIT_EXITED);
	t_eq(WEXITSTATUS(msg.value), 9);
	box_close(&b);
}

TEST(signals_reach_a_command_and_nobody_else)
{
	struct box b;
	int fd;
	open_ready(&b);
	struct run r = RUN("sleep", "100");
	request(&b, &r, 1, &fd);
	expect_spawned(&b, &r, 1);
	struct init_msg msg = {
		.magic = INIT_MAGIC,
		.version = INIT_VERSION,
		.kind = INIT_SIGNAL,
		.value = SIGKILL,
	};
	for (int pid = -1; pid <= 1; pid++) { /* everybody, own group, init */
		msg.pid = pid;
		t_ok(sys_sock_send(b.socket_fd, &msg, sizeof(msg), NULL, 0, 0));
	}
	struct run other = RUN("true");
	run(&b, &other);
	msg.pid = r.pid;
	msg.value = SIGUSR1;
	msg.flags = INIT_F_GROUP;
	t_ok(sys_sock_send(b.socket_fd, &msg, sizeof(msg), NULL, 0, 0));
	expect_exited(&b, &r);
	t_eq(WTERMSIG(r.status), SIGUSR1);
	close(fd);
	box_close(&b);
}

TEST(limits_that_a_guest_puts_on_init_do_not_end_it)
{
	struct box b;
	open_ready(&b);
	struct run limit = RUN("prlimit", "--pid", "1", "--nofile=6:6");
	run(&b, &limit);
	t_eq(limit.status, 0);
	expect_failure(&b, RUN("true"), EMFILE, INIT_STEP_MESSAGE);
	expect_failure(&b, RUN("true"), EMFILE, INIT_STEP_MESSAGE);
	t_eq(waitpid(b.init_pid, NULL, WNOHANG), 0);
	box_close(&b);
}

TEST(end_of_the_keeper_ends_the_namespace)
{
	struct box b;
	int fd;
	open_ready(&b);
	struct run r = RUN("sh", "-c", "setsid sleep 100 & sleep 100");
	request(&b, &r, 1, &fd);
	expect_spawned(&b, &r, 1);
	box_close(&b);
	/* all that held the pipe is gone */
	struct pollfd p = {.fd = fd, .events = POLLIN};
	t_eq(poll(&p, 1, WAIT_MS), 1);
	char c;
	t_eq(read(fd, &c, 1), 0);
	close(fd);
}

TEST(a_mad_keeper_ends_the_namespace)
{
	struct box b;
	open_ready(&b);
	t_ok(sys_sock_send(b.socket_fd, "nonsense", 8, NULL, 0, 0));
	t_eq(t_wait(b.init_pid), 1);
	close(b.socket_fd);
}

TEST(a_block_that_lies_is_refused)
{
	struct box b;
	open_ready(&b);
	int null_fd = (int)t_sys(open("/dev/null", O_RDWR | O_CLOEXEC));
	static const struct {
		struct init_block head;
		uint64_t bytes;
	} lies[] = {
		{{.magic = 1, .n_args = 1}, sizeof(struct init_block) + 8},
		{{.magic = INIT_MAGIC, .n_args = 0}, sizeof(struct init_block) + 8},
		{{.magic = INIT_MAGIC, .n_args = 9}, sizeof(struct init_block) + 8},
		{{.magic = INIT_MAGIC, .n_args = 1, .n_groups = 9}, sizeof(struct init_block) + 8},
		{{.magic = INIT_MAGIC, .n_args = 1}, sizeof(struct init_block)},
		{{.magic = INIT_MAGIC, .n_args = 1}, 1 << 20},
		{{.magic = INIT_MAGIC, .n_args = 1}, 1ull << 40},
		{{.magic = INIT_MAGIC, .n_args = 1}, 0},
	};
	for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
		struct init_msg msg = {
			.magic = INIT_MAGIC,
			.version = INIT_VERSION,
			.kind = INIT_SPAWN,
			.id = i,
			.block_bytes = lies[i].bytes,
		};
		int fd = (int)t_sys(memfd_create("lie", MFD_CLOEXEC));
		t_eq(write(fd, &lies[i].head, sizeof(lies[i].head)), sizeof(lies[i].head));
		t_eq(write(fd, "a\0b\0c\0d", 8), 8);
		const int fds[] = {fd, null_fd, null_fd, null_fd};
		t_ok(sys_sock_send(b.socket_fd, &msg, sizeof(msg), fds, 4, 0));
		close(fd);
		receive(&b, &msg);
		t_eq(msg.kind, INIT_SPAWNED);
		t_eq(msg.id, i);
		t_eq(msg.value, -EINVAL);
		t_eq(msg.step, INIT_STEP_BLOCK);
	}
	close(null_fd);
	box_close(&b);
}

static size_t count_fds(struct procfs *p, pid_t pid)
{
	struct vec fds = VEC_INIT(int);
	t_ok(procfs_fd_numbers(p, pid, &fds));
	size_t n = fds.n;
	vec_deinit(&fds);
	return n;
}

TEST(ten_thousand_commands_leave_nothing, .timeout_s = 180)
{
	enum { COMMANDS = 10000 };
	struct box b;
	struct procfs p = PROCFS_INIT;
	open_ready(&b);
	t_ok(procfs_open(&p, NULL));
	size_t fds = count_fds(&p, b.init_pid);
	t_eq(fds, 5); /* three place holders, the socket, signals */
	uint64_t start = clock_now_ns();
	for (int i = 0; i < COMMANDS; i++) {
		struct run r = RUN("true");
		run(&b, &r);
		t_eq(r.error, 0);
		t_eq(r.status, 0);
	}
	t_note("%.0f us a command", (double)(clock_now_ns() - start) / 1e3 / COMMANDS);
	t_eq(count_fds(&p, b.init_pid), fds);
	struct vec children = VEC_INIT(pid_t);
	t_ok(procfs_children(&p, b.init_pid, b.init_pid, &children));
	t_eq(children.n, 0);
	struct procfs_maps m = PROCFS_MAPS_INIT;
	t_ok(procfs_maps(&p, b.init_pid, &m));
	t_assert(m.maps.n <= 8);
	procfs_maps_deinit(&m);
	vec_deinit(&children);
	procfs_close(&p);
	box_close(&b);
}
