/* A template runs programs, forks, spawns PID 1, and dies with its keepers. */
#include "template/template.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "harness/harness.h"

static struct prog_arena arena;

static void fill(const struct template *t, uint64_t at, const char *text, struct err *e)
{
	t_ok(prog_arena_init(&arena, PUP_ARENA, 65536));
	struct prog p;
	prog_init(&p, &arena);
	uint64_t bytes = prog_data(&arena, text, strlen(text) + 1);
	prog_sys(&p, SYS_mmap, at, 4096, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, (uint64_t)-1, 0);
	prog_op(&p, PUP_OP_COPY, at, bytes, strlen(text) + 1);
	uint64_t program = prog_seal(&p);
	t_ok(template_run(t, &arena, program, NULL, 0, e));
	prog_deinit(&p);
	prog_arena_deinit(&arena);
}

static void expect(const struct template *t, uint64_t at, const char *text)
{
	char have[64] = "";
	struct iovec local = { have, strlen(text) + 1 };
	struct iovec remote = { (void *)at, strlen(text) + 1 };
	t_eq(process_vm_readv(t->pid, &local, 1, &remote, 1, 0), (ssize_t)local.iov_len);
	t_str_eq(have, text);
}

static void await_death(pid_t pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return;
	struct pollfd p = { pidfd, POLLIN, 0 };
	t_eq(poll(&p, 1, 5000), 1);
	close(pidfd);
	waitpid(pid, NULL, __WALL);
}

TEST(fork_has_memory_of_its_own)
{
	struct err e = ERR_INIT;
	struct template a, b;
	t_ok(template_start(&a, &e));
	fill(&a, PUP_STAGE, "before", &e);
	t_ok(template_fork(&a, &b, &e));
	fill(&b, PUP_STAGE, "after", &e);
	expect(&a, PUP_STAGE, "before");
	expect(&b, PUP_STAGE, "after");
	pid_t first = a.pid, second = b.pid;
	template_close(&a);
	template_close(&b);
	await_death(first);
	await_death(second);
}

TEST(template_lives_while_a_keeper_is_attached)
{
	struct err e = ERR_INIT;
	struct template a, more;
	t_ok(template_start(&a, &e));
	t_ok(template_attach(&a, &more, &e));
	template_close(&a);
	fill(&more, PUP_STAGE, "still here", &e);
	expect(&more, PUP_STAGE, "still here");
	pid_t pid = more.pid;
	template_close(&more);
	await_death(pid);
}

TEST(failed_program_names_the_call)
{
	struct err e = ERR_INIT;
	struct template a;
	t_ok(template_start(&a, &e));
	t_ok(prog_arena_init(&arena, PUP_ARENA, 65536));
	struct prog p;
	prog_init(&p, &arena);
	prog_sys(&p, SYS_munmap, 12345, 1);
	t_eq(template_run(&a, &arena, prog_seal(&p), NULL, 0, &e), -EINVAL);
	t_assert(strstr(e.cause, "call 11("));
	prog_deinit(&p);
	prog_arena_deinit(&arena);
	pid_t pid = a.pid;
	template_close(&a);
	await_death(pid);
}

/* PID 1 makes a child with a chosen pid that parks; PID 1 waits for it. */
static void spawn_tree(struct prog_arena *tree, uint64_t *program)
{
	struct prog child, p;
	prog_init(&child, tree);
	prog_sys(&child, SYS_getpid);
	prog_sys(&child, SYS_exit_group, 7);
	uint64_t child_program = prog_seal(&child);
	prog_init(&p, tree);
	uint64_t defaults[4] = { 0 };
	prog_sys(&p, SYS_rt_sigaction, SIGCHLD, prog_data(tree, defaults, sizeof(defaults)), 0, 8);
	prog_op(&p, PUP_OP_CHILD, 4711, SIGCHLD, child_program, 0);
	prog_sys(&p, SYS_wait4, 4711, prog_data(tree, "12345678", 8), 0, 0);
	prog_op(&p, PUP_OP_NOTIFY, tree->remote + offsetof(struct pup_status, reached), 1);
	prog_sys(&p, SYS_exit_group, 3);
	*program = prog_seal(&p);
	prog_deinit(&child);
	prog_deinit(&p);
}

TEST(spawn_makes_pid1_and_a_child_with_its_pid)
{
	if (geteuid() != 0)
		t_skip("needs new PID namespaces without a user namespace: root");
	struct err e = ERR_INIT;
	struct template a;
	t_ok(template_start(&a, &e));
	t_ok(prog_arena_init(&arena, PUP_ARENA, 65536));
	uint64_t program;
	spawn_tree(&arena, &program);
	int gate = memfd_create("gate", 0), pidfd = -1;
	t_eq(ftruncate(gate, 4096), 0);
	int pid = template_spawn(&a, &arena, program, gate, CLONE_NEWPID, NULL, 0, &pidfd, &e);
	t_assert(pid > 0);
	struct pollfd wait = { pidfd, POLLIN, 0 };
	t_eq(poll(&wait, 1, 5000), 1);
	t_eq(prog_status(&arena)->failed, 0);
	t_eq(prog_status(&arena)->reached, 1);
	close(pidfd);
	close(gate);
	prog_arena_deinit(&arena);
	fill(&a, PUP_STAGE, "serves on", &e);
	pid_t template_pid = a.pid;
	template_close(&a);
	await_death(template_pid);
}
