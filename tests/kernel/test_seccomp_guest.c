/*
 * A guest with a seccomp filter of its own: a call injected into it passes
 * the filter, and a KILL rule would kill the guest. An ordinary user can
 * neither suspend the filter nor read it, so such a guest must be refused;
 * looking at it (seize, stop, detach) must leave it unharmed.
 */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel/facts.h"

enum {
	FILTERED_CALL = SYS_getppid, /* the guest itself never makes it */
};

struct guest {
	pid_t pid;
	int go_fd, up_fd;
};

static void __attribute__((noreturn)) guest_main(int go_fd, int up_fd)
{
	struct sock_filter rules[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FILTERED_CALL, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(rules) / sizeof(*rules), rules};
	char c = 'u';
	t_sys(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	t_sys(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
	t_sys(write(up_fd, &c, 1));
	_exit(read(go_fd, &c, 1) == 1 ? 42 : 1);
}

static struct guest guest_start(void)
{
	struct guest g;
	int go[2], up[2];
	char c;
	t_sys(pipe(go));
	t_sys(pipe(up));
	g.pid = t_fork();
	if (g.pid == 0)
		guest_main(go[0], up[1]);
	close(go[0]);
	close(up[1]);
	t_eq(read(up[0], &c, 1), 1);
	g.go_fd = go[1];
	g.up_fd = up[0];
	return g;
}

/* Let the guest go on; it must come to its own end. */
static void guest_finish(struct guest *g)
{
	char c = 'g';
	t_sys(write(g->go_fd, &c, 1));
	t_eq(t_wait(g->pid), 42);
	close(g->go_fd);
	close(g->up_fd);
}

static void stop(pid_t pid)
{
	int status;
	t_sys(ptrace(PTRACE_INTERRUPT, pid, 0, 0));
	t_eq(waitpid(pid, &status, __WALL), pid);
	t_assert(WIFSTOPPED(status));
}

static int status_field(pid_t pid, const char *key)
{
	char path[64], line[256];
	int value = -1;
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	FILE *f = fopen(path, "re");
	t_assert(f);
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':')
			sscanf(line + strlen(key) + 1, "%d", &value);
	fclose(f);
	return value;
}

TEST(ordinary_user_cannot_lift_a_filter_and_leaves_the_guest_unharmed)
{
	struct sock_filter rules[64];
	t_become(ORDINARY_UID, ORDINARY_UID);
	int ours = status_field(getpid(), "Seccomp_filters");
	struct guest g = guest_start();
	t_eq(status_field(g.pid, "Seccomp"), 2);
	t_eq(status_field(g.pid, "Seccomp_filters"), (ours > 0 ? ours : 0) + 1);

	long r = ptrace(PTRACE_SEIZE, g.pid, 0, PTRACE_O_SUSPEND_SECCOMP);
	t_note("SEIZE with SUSPEND_SECCOMP as uid %d: %s", geteuid(),
	       r ? strerror(errno) : "allowed");
	t_eq(r, -1);
	t_sys(ptrace(PTRACE_SEIZE, g.pid, 0, 0));
	stop(g.pid);
	r = ptrace(PTRACE_SECCOMP_GET_FILTER, g.pid, 0, rules);
	t_note("GET_FILTER as uid %d: %s", geteuid(), r < 0 ? strerror(errno) : "allowed");
	t_eq(r, -1);
	t_sys(ptrace(PTRACE_DETACH, g.pid, 0, 0));
	guest_finish(&g);
}

TEST(root_of_a_user_namespace_cannot_lift_a_filter_either)
{
	struct sock_filter rules[64];
	fact_enter_userns();
	struct guest g = guest_start();
	t_eq(ptrace(PTRACE_SEIZE, g.pid, 0, PTRACE_O_SUSPEND_SECCOMP), -1);
	t_sys(ptrace(PTRACE_SEIZE, g.pid, 0, 0));
	stop(g.pid);
	t_eq(ptrace(PTRACE_SECCOMP_GET_FILTER, g.pid, 0, rules), -1);
	t_sys(ptrace(PTRACE_DETACH, g.pid, 0, 0));
	guest_finish(&g);
}

TEST(root_reads_and_suspends_a_filter)
{
	struct sock_filter rules[64];
	if (geteuid() != 0)
		t_skip("needs root");
	struct guest g = guest_start();
	if (ptrace(PTRACE_SEIZE, g.pid, 0, PTRACE_O_SUSPEND_SECCOMP) < 0) {
		t_note("SUSPEND_SECCOMP: %s", strerror(errno));
		guest_finish(&g);
		t_skip("this root may not suspend seccomp (a container?)");
	}
	stop(g.pid);
	t_eq(ptrace(PTRACE_SECCOMP_GET_FILTER, g.pid, 0, rules), 4);
	t_eq(rules[1].k, FILTERED_CALL);
	t_sys(ptrace(PTRACE_DETACH, g.pid, 0, 0));
	guest_finish(&g);
}

/* What a refusal prevents: an injected call meets the guest's KILL rule. */
TEST(injected_call_that_the_filter_kills_ends_the_guest)
{
	struct guest g = guest_start();
	struct {
		unsigned long r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi,
			rdi, orig_rax, rip, cs, eflags, rsp, ss, fs_base, gs_base, ds, es, fs, gs;
	} regs;
	int status;
	t_sys(ptrace(PTRACE_SEIZE, g.pid, 0, 0));
	stop(g.pid);
	t_sys(ptrace(PTRACE_GETREGS, g.pid, 0, &regs));
	regs.rip -= 2; /* the syscall instruction it waits in */
	regs.rax = FILTERED_CALL;
	regs.orig_rax = -1ul;
	t_sys(ptrace(PTRACE_SETREGS, g.pid, 0, &regs));
	t_sys(ptrace(PTRACE_CONT, g.pid, 0, 0));
	t_eq(waitpid(g.pid, &status, __WALL), g.pid);
	t_assert(WIFSIGNALED(status));
	t_eq(WTERMSIG(status), SIGSYS);
	close(g.go_fd);
	close(g.up_fd);
}
