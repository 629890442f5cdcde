/*
 * The default filter, run by a small BPF interpreter against many calls, and
 * the program that gives credentials back, run in a real process.
 */
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/ptrace.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "hosted.h"
#include "sandbox/confine.h"
#include "sandbox/confine_internal.h"
#include "sandbox/init/confine_abi.h"
#include "sandbox/userns.h"
#include "sys/ns.h"

/* A 32-bit word of the data that a filter sees; checks what the kernel does. */
static uint32_t load_word(const struct seccomp_data *d, uint32_t offset)
{
	t_assert(offset % 4 == 0 && offset < sizeof(*d));
	uint32_t word;
	memcpy(&word, (const char *)d + offset, sizeof(word));
	return word;
}

static bool jump_taken(const struct sock_filter *f, uint32_t acc)
{
	switch (BPF_OP(f->code)) {
	case BPF_JEQ:
		return acc == f->k;
	case BPF_JGT:
		return acc > f->k;
	case BPF_JGE:
		return acc >= f->k;
	case BPF_JSET:
		return acc & f->k;
	default:
		t_fail("jump 0x%x", f->code);
	}
}

/* What the kernel would do with this call. */
static uint32_t simulate(const struct sock_filter *f, size_t n, const struct seccomp_data *d)
{
	uint32_t acc = 0, mem[BPF_MEMWORDS] = {0};
	for (size_t pc = 0; pc < n; pc++) {
		const struct sock_filter *i = &f[pc];
		switch (i->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			acc = load_word(d, i->k);
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			acc &= i->k;
			break;
		case BPF_ST:
			mem[i->k] = acc;
			break;
		case BPF_LD | BPF_MEM:
			acc = mem[i->k];
			break;
		case BPF_RET | BPF_K:
			return i->k;
		case BPF_JMP | BPF_JA:
			pc += i->k;
			break;
		default:
			if (BPF_CLASS(i->code) != BPF_JMP)
				t_fail("instruction 0x%x", i->code);
			pc += jump_taken(i, acc) ? i->jt : i->jf;
		}
	}
	t_fail("the filter ran off its end");
}

static struct confine *new_filter(void)
{
	struct err e = ERR_INIT;
	struct confine *c;
	t_ok_e(confine_new(&c, &e), &e);
	return c;
}

static uint32_t ask_arch(const struct confine *c, uint32_t arch, int nr, uint64_t a0, uint64_t a1)
{
	size_t n;
	const struct sock_filter *f = confine_filter(c, &n);
	const struct seccomp_data d = {
		.nr = nr,
		.arch = arch,
		.args = {a0, a1},
	};
	return simulate(f, n, &d);
}

static uint32_t ask(const struct confine *c, int nr, uint64_t a0, uint64_t a1)
{
	return ask_arch(c, AUDIT_ARCH_X86_64, nr, a0, a1);
}

enum { ALLOW = SECCOMP_RET_ALLOW, ERRNO = SECCOMP_RET_ERRNO };

TEST(filter_allows_all_calls_of_the_puppet)
{
	struct confine *c = new_filter();
	size_t n;
	const struct sock_filter *f = confine_filter(c, &n);
	for (size_t i = 0; i < confine_n_puppet_calls; i++) {
		const struct confine_call *call = &confine_puppet_calls[i];
		struct seccomp_data d = {.nr = call->nr, .arch = AUDIT_ARCH_X86_64};
		memcpy(d.args, call->arg, sizeof(call->arg));
		if (simulate(f, n, &d) != SECCOMP_RET_ALLOW)
			t_fail("%s is not allowed", call->name);
	}
	t_note("%zu instructions", n);
	confine_free(c);
}

static const struct confine_rule *find_rule(int nr)
{
	for (size_t i = 0; i < confine_n_rules; i++)
		if ((int)confine_rules[i].nr == nr)
			return &confine_rules[i];
	return NULL;
}

TEST(filter_follows_its_lists)
{
	struct confine *c = new_filter();
	for (size_t i = 0; i < confine_n_allowed; i++)
		if (confine_allowed[i] >= 0 && !find_rule(confine_allowed[i]))
			t_eq(ask(c, confine_allowed[i], 1, 0), ALLOW);
	for (size_t i = 0; i < confine_n_refused; i++)
		t_eq(ask(c, confine_refused[i], 1, 0), ERRNO | EPERM);
	/* no number is in neither list but by default or by a rule of its own */
	for (int nr = 0; nr < 600; nr++) {
		uint32_t r = ask(c, nr, 1, 0);
		if (r != ALLOW && r != (ERRNO | EPERM) && !find_rule(nr))
			t_eq(r, ERRNO | ENOSYS);
	}
	confine_free(c);
}

TEST(filter_lets_libc_fall_back)
{
	struct confine *c = new_filter();
	static const int absent[] = {
		SYS_clone3,         SYS_io_uring_setup,
		SYS_io_uring_enter, SYS_io_uring_register,
		SYS_io_setup,       SYS_landlock_create_ruleset,
		SYS_modify_ldt,     447 /* memfd_secret */,
		462 /* mseal */,    999,
	};
	for (size_t i = 0; i < sizeof(absent) / sizeof(*absent); i++)
		t_eq(ask(c, absent[i], 0, 0), ERRNO | ENOSYS);
	confine_free(c);
}

TEST(filter_looks_at_arguments)
{
	struct confine *c = new_filter();
	const uint64_t high = 1ull << 32;
	t_eq(ask(c, SYS_clone, SIGCHLD, 0), ALLOW);
	t_eq(ask(c, SYS_clone, CLONE_VM | CLONE_THREAD, 0), ALLOW);
	t_assert(ask(c, SYS_clone, CLONE_NEWUSER | SIGCHLD, 0) != ALLOW);
	t_assert(ask(c, SYS_clone, CLONE_NEWNS, 0) != ALLOW);
	t_assert(ask(c, SYS_clone, CLONE_NEWPID | high, 0) != ALLOW);
	t_eq(ask(c, SYS_userfaultfd, 1 | O_CLOEXEC, 0), ALLOW);
	t_assert(ask(c, SYS_userfaultfd, O_CLOEXEC, 0) != ALLOW);
	t_eq(ask(c, SYS_ioctl, 0, TIOCSTI), ERRNO | EPERM);
	t_eq(ask(c, SYS_ioctl, 0, TIOCSTI | high), ERRNO | EPERM);
	t_eq(ask(c, SYS_ioctl, 0, TIOCLINUX), ERRNO | EPERM);
	t_eq(ask(c, SYS_ioctl, TIOCSTI, TCGETS), ALLOW);
	t_eq(ask(c, SYS_socket, AF_UNIX, 0), ALLOW);
	t_eq(ask(c, SYS_socket, AF_INET, 0), ALLOW);
	t_eq(ask(c, SYS_socket, AF_INET6, 0), ALLOW);
	t_eq(ask(c, SYS_socket, AF_NETLINK, 0), ALLOW);
	t_eq(ask(c, SYS_socket, AF_PACKET, 0), ALLOW);
	t_eq(ask(c, SYS_socket, AF_VSOCK, 0), ERRNO | EAFNOSUPPORT);
	t_eq(ask(c, SYS_socket, AF_VSOCK | high, 0), ERRNO | EAFNOSUPPORT);
	t_eq(ask(c, SYS_socket, AF_ALG, 0), ERRNO | EAFNOSUPPORT);
	t_eq(ask(c, SYS_personality, 0xffffffff, 0), ALLOW);
	t_eq(ask(c, SYS_personality, ADDR_NO_RANDOMIZE, 0), ALLOW);
	t_assert(ask(c, SYS_personality, READ_IMPLIES_EXEC, 0) != ALLOW);
	confine_free(c);
}

static uint32_t ask_arg(const struct confine *c, const struct confine_rule *r, uint64_t value)
{
	size_t n;
	const struct sock_filter *f = confine_filter(c, &n);
	struct seccomp_data d = {.nr = (int)r->nr, .arch = AUDIT_ARCH_X86_64};
	d.args[r->arg] = value;
	return simulate(f, n, &d);
}

static bool is_listed(const struct confine_rule *r, uint32_t value)
{
	for (size_t i = 0; i < r->n_values; i++)
		if (r->values[i] == (value & (uint32_t)r->mask))
			return true;
	return false;
}

/* Every value around and far from the listed ones, with a high half, too. */
TEST(filter_follows_its_rules)
{
	struct confine *c = new_filter();
	for (size_t i = 0; i < confine_n_rules; i++) {
		const struct confine_rule *r = &confine_rules[i];
		for (uint32_t k = 0; k < 5000 + r->n_values; k++) {
			uint32_t value = k < 5000 ? k : r->values[k - 5000];
			bool good = is_listed(r, value) == (r->kind == CONFINE_ONLY);
			uint32_t want = good ? (uint32_t)ALLOW : ERRNO | r->error;
			t_eq(ask_arg(c, r, value), want);
			t_eq(ask_arg(c, r, value | 0xdeadull << 32), want);
		}
	}
	confine_free(c);
}

TEST(filter_keeps_settings_away_that_a_restore_would_lose)
{
	struct confine *c = new_filter();
	static const struct {
		int nr;
		uint64_t arg[6];
	} lost[] = {
		{SYS_prctl, {59 /* PR_SET_SYSCALL_USER_DISPATCH */, 1}},
		{SYS_prctl, {PR_SET_SPECULATION_CTRL}},
		{SYS_prctl, {0x53564d41 /* PR_SET_VMA */}},
		{SYS_arch_prctl, {0x5001 /* ARCH_SHSTK_ENABLE */}},
		{SYS_arch_prctl, {0x1012 /* ARCH_SET_CPUID */}},
		{SYS_fcntl, {3, F_NOTIFY}},
		{SYS_madvise, {0, 4096, MADV_DONTFORK}},
		{SYS_madvise, {0, 4096, MADV_WIPEONFORK}},
		{SYS_madvise, {0, 4096, MADV_DONTDUMP}},
		{SYS_madvise, {0, 4096, 102 /* MADV_GUARD_INSTALL */}},
		{SYS_process_madvise, {3, 0, 1, MADV_DONTFORK}},
		{SYS_mmap, {0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, ~0u}},
		{SYS_mmap, {0, 4096, 3, 8 /* MAP_DROPPABLE */ | MAP_ANONYMOUS, ~0u}},
	};
	size_t n;
	const struct sock_filter *f = confine_filter(c, &n);
	for (size_t i = 0; i < sizeof(lost) / sizeof(*lost); i++) {
		struct seccomp_data d = {.nr = lost[i].nr, .arch = AUDIT_ARCH_X86_64};
		memcpy(d.args, lost[i].arg, sizeof(d.args));
		t_eq(simulate(f, n, &d), ERRNO | EINVAL);
	}
	confine_free(c);
}

TEST(filter_refuses_other_architectures)
{
	struct confine *c = new_filter();
	for (int nr = 0; nr < 450; nr++) {
		t_assert(ask_arch(c, AUDIT_ARCH_I386, nr, 0, 0) != ALLOW);
		/* the x32 calls of our own architecture */
		t_assert(ask(c, nr | 0x40000000, 0, 0) != ALLOW);
	}
	confine_free(c);
}

TEST(bounding_set_has_no_power_over_the_host)
{
	uint64_t set = confine_bounding();
	static const int never[] = {
		CAP_SYS_ADMIN, CAP_SYS_PTRACE,      CAP_SYS_MODULE, CAP_SYS_RAWIO,
		CAP_MKNOD,     CAP_DAC_READ_SEARCH, CAP_NET_ADMIN,  CAP_SYSLOG,
		CAP_BPF,       CAP_PERFMON,         CAP_SYS_BOOT,   CAP_CHECKPOINT_RESTORE,
	};
	for (size_t i = 0; i < sizeof(never) / sizeof(*never); i++)
		t_assert(!(set >> never[i] & 1));
	t_assert(set >> CAP_SETUID & 1);
}

TEST(blob_for_init_is_whole)
{
	struct confine *c = new_filter();
	struct buf b = BUF_INIT;
	t_ok(confine_init_blob(c, 77, 88, &b));
	struct confine_abi head;
	memcpy(&head, b.data, sizeof(head));
	t_eq(head.magic, CONFINE_MAGIC);
	t_eq(head.nproc, 77);
	t_eq(head.nofile, 88);
	t_eq(head.bounding, confine_bounding());
	t_eq(b.len, sizeof(head) + head.n_insns * sizeof(struct sock_filter));
	buf_deinit(&b);
	confine_free(c);
}

struct status {
	unsigned int uid[4], gid[4];
	uint64_t inh, prm, eff, bnd, amb;
	int nnp, seccomp, filters;
	char groups[128];
};

static void read_status(struct status *s)
{
	*s = (struct status){.seccomp = -1};
	FILE *f = fopen("/proc/self/status", "re");
	t_assert(f);
	char line[256];
	while (fgets(line, sizeof(line), f)) {
		char *v = strchr(line, ':');
		unsigned long long caps = v ? strtoull(v + 1, NULL, 16) : 0;
		if (!strncmp(line, "Uid", 3))
			sscanf(v, ": %u %u %u %u", &s->uid[0], &s->uid[1], &s->uid[2], &s->uid[3]);
		if (!strncmp(line, "Gid", 3))
			sscanf(v, ": %u %u %u %u", &s->gid[0], &s->gid[1], &s->gid[2], &s->gid[3]);
		if (!strncmp(line, "Groups", 6))
			sscanf(v, ": %127[^\n]", s->groups);
		if (!strncmp(line, "CapInh", 6))
			s->inh = caps;
		if (!strncmp(line, "CapPrm", 6))
			s->prm = caps;
		if (!strncmp(line, "CapEff", 6))
			s->eff = caps;
		if (!strncmp(line, "CapBnd", 6))
			s->bnd = caps;
		if (!strncmp(line, "CapAmb", 6))
			s->amb = caps;
		if (!strncmp(line, "NoNewPrivs", 10))
			s->nnp = atoi(v + 1);
		if (!strncmp(line, "Seccomp:", 8))
			s->seccomp = atoi(v + 1);
		if (!strncmp(line, "Seccomp_filters", 15))
			s->filters = atoi(v + 1);
	}
	fclose(f);
}

static void run_emitted(const struct confinement *want, struct confine *c)
{
	struct status now;
	read_status(&now);
	struct prog_arena a;
	hosted_arena(&a, 256 << 10);
	struct prog p;
	prog_init(&p, &a);
	confine_emit(&p, want, now.bnd);
	if (c)
		confine_emit_seccomp(&p, c);
	uint64_t program = prog_seal(&p);
	t_assert(!a.failed);
	struct hosted h = {.n_ops = 0};
	long r = hosted_run(&h, program);
	if (r)
		t_fail("operation %d emitted at line %u: %s", h.n_ops, h.failed_line,
		       strerror((int)-r));
	t_note("%d operations", h.n_ops);
	prog_deinit(&p);
	prog_arena_deinit(&a);
}

static void check_status(const struct confinement *want)
{
	struct status s;
	read_status(&s);
	t_eq(s.uid[0], want->ruid);
	t_eq(s.uid[1], want->euid);
	t_eq(s.uid[2], want->suid);
	t_eq(s.uid[3], want->fsuid);
	t_eq(s.gid[0], want->rgid);
	t_eq(s.gid[3], want->fsgid);
	t_eq(s.inh, want->cap_inh);
	t_eq(s.prm, want->cap_prm);
	t_eq(s.eff, want->cap_eff);
	t_eq(s.bnd, want->cap_bnd);
	t_eq(s.amb, want->cap_amb);
	t_eq(s.nnp, want->no_new_privs);
	t_eq(prctl(PR_GET_SECUREBITS), want->securebits);
	t_eq(prctl(PR_GET_DUMPABLE), want->dumpable);
}

/* In a process with all capabilities in its user namespace. */
static void emitted_is_exact(uid_t become, const struct confinement *want)
{
	pid_t pid = t_fork();
	if (!pid) {
		struct err e = ERR_INIT;
		if (become)
			t_become(become, become);
		t_ok_e(userns_enter(userns_needed(), &e), &e);
		if (!userns_uid_mapped(want->ruid)) {
			t_note("no range of ids for uid %u: not as that", become);
			_exit(0);
		}
		run_emitted(want, NULL);
		check_status(want);
		_exit(0);
	}
	t_join(pid);
}

static uint64_t cap(int n)
{
	return 1ull << n;
}

TEST(restored_root_is_confined_as_it_was)
{
	const struct confinement want = {
		.cap_prm = confine_bounding(),
		.cap_eff = confine_bounding(),
		.cap_bnd = confine_bounding(),
		.no_new_privs = true,
		.dumpable = 1,
		.keep_groups = true,
	};
	emitted_is_exact(0, &want);
	emitted_is_exact(1001, &want);
}

TEST(restored_user_is_confined_as_it_was)
{
	static const gid_t groups[] = {5, 27};
	struct confinement want = {
		.ruid = 1000,
		.euid = 1000,
		.suid = 1000,
		.fsuid = 1000,
		.rgid = 1000,
		.egid = 1000,
		.sgid = 1000,
		.fsgid = 1000,
		.groups = groups,
		.n_groups = 2,
		.cap_bnd = confine_bounding(),
		.no_new_privs = true,
		.dumpable = 1,
	};
	emitted_is_exact(0, &want);
	want.suid = want.fsuid = 0;
	want.cap_prm = cap(CAP_CHOWN);
	emitted_is_exact(0, &want);
	emitted_is_exact(1001, &want);
}

TEST(restored_odd_capabilities_are_exact)
{
	struct confinement want = {
		.ruid = 7,
		.euid = 8,
		.suid = 9,
		.fsuid = 8,
		.rgid = 7,
		.egid = 8,
		.sgid = 9,
		.fsgid = 9,
		.cap_bnd = cap(CAP_CHOWN) | cap(CAP_KILL),
		.cap_prm = cap(CAP_KILL) | cap(CAP_FOWNER),
		.cap_eff = cap(CAP_FOWNER),
		.cap_inh = cap(CAP_KILL) | cap(CAP_SETUID),
		.cap_amb = cap(CAP_KILL),
		.securebits = 0x5, /* noroot, no setuid fixup */
		.dumpable = 0,
	};
	emitted_is_exact(0, &want);
	emitted_is_exact(1001, &want);
}

static void confine_here(void)
{
	struct err e = ERR_INIT;
	if (userns_needed())
		t_ok_e(userns_enter(true, &e), &e);
	struct confine *c = new_filter();
	const struct confinement want = {
		.cap_prm = confine_bounding(),
		.cap_eff = confine_bounding(),
		.cap_bnd = confine_bounding(),
		.no_new_privs = true,
		.dumpable = 1,
		.keep_groups = true,
	};
	run_emitted(&want, c);
	confine_free(c);
}

TEST(kernel_takes_the_filter_for_all_threads)
{
	pid_t pid = t_fork();
	if (!pid) {
		confine_here();
		struct status s;
		read_status(&s);
		t_eq(s.seccomp, 2);
		t_eq(s.filters, 1);
		t_eq(syscall(SYS_unshare, CLONE_NEWUSER), -1);
		t_eq(errno, EPERM);
		t_eq(syscall(SYS_clone3, NULL, 0), -1);
		t_eq(errno, ENOSYS);
		t_eq(syscall(SYS_mount, "a", "/", "tmpfs", 0, 0), -1);
		t_eq(errno, EPERM);
		t_eq(socket(AF_VSOCK, SOCK_STREAM, 0), -1);
		t_eq(errno, EAFNOSUPPORT);
		t_eq(syscall(SYS_io_uring_setup, 1, NULL), -1);
		t_eq(errno, ENOSYS);
		pid_t child = fork();
		t_assert(child >= 0);
		if (!child)
			_exit(0);
		t_join(child);
		_exit(0);
	}
	t_join(pid);
}

/* A PID 1 that is non-dumpable and has what its children lack. */
static void look_at_init(pid_t init)
{
	char path[64];
	static const char *const files[] = {"mem", "environ", "maps", "syscall"};
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", init, files[i]);
		int fd = open(path, O_RDONLY);
		char byte;
		if (fd >= 0 && read(fd, &byte, 1) >= 0)
			t_fail("%s can be read", path);
		if (fd >= 0)
			close(fd);
	}
	t_eq(syscall(SYS_ptrace, PTRACE_SEIZE, init, 0, 0), -1);
	t_eq(errno, EPERM);
}

static void hostile_as(uid_t uid)
{
	pid_t pid = t_fork();
	if (!pid) {
		struct err e = ERR_INIT;
		if (uid)
			t_become(uid, uid);
		t_ok_e(userns_enter(userns_needed(), &e), &e);
		t_sys(prctl(PR_SET_DUMPABLE, 0));
		pid_t init = getpid();
		pid_t child = t_fork();
		if (!child) {
			confine_here();
			look_at_init(init);
			_exit(0);
		}
		t_join(child);
		_exit(0);
	}
	t_join(pid);
}

TEST(confined_root_cannot_read_or_trace_init)
{
	hostile_as(0);
	hostile_as(1001);
}

TEST(confined_process_can_trace_its_own_child)
{
	pid_t pid = t_fork();
	if (!pid) {
		confine_here();
		pid_t child = fork();
		if (!child) {
			pause();
			_exit(0);
		}
		t_sys(syscall(SYS_ptrace, PTRACE_SEIZE, child, 0, 0));
		t_sys(syscall(SYS_ptrace, PTRACE_INTERRUPT, child, 0, 0));
		int status;
		t_sys(waitpid(child, &status, 0));
		t_assert(WIFSTOPPED(status));
		t_sys(kill(child, SIGKILL));
		t_sys(waitpid(child, &status, 0));
		_exit(0);
	}
	t_join(pid);
}
