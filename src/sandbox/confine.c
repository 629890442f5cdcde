/*
 * confine.c - the default filter, and the capabilities that stay.
 *
 * The filter is what libseccomp makes of confine_calls.c, with the
 * instructions of confine_args.c in front for what its comparisons cannot say
 * safely.
 */
#include "sandbox/confine.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "sandbox/confine_internal.h"
#include "sandbox/init/confine_abi.h"

struct confine {
	struct sock_filter *insns;
	size_t n;
};

#define CAP(name) (1ull << CAP_##name)

/*
 * The usual set of container engines without MKNOD: in a user namespace it
 * gives nothing, and real root could reach the machine's disks with it.
 */
uint64_t confine_bounding(void)
{
	return CAP(AUDIT_WRITE) | CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FOWNER) | CAP(FSETID) |
	       CAP(KILL) | CAP(NET_BIND_SERVICE) | CAP(NET_RAW) | CAP(SETFCAP) | CAP(SETGID) |
	       CAP(SETPCAP) | CAP(SETUID) | CAP(SYS_CHROOT);
}

enum { USERFAULTFD_USER_ONLY = 1 }; /* UFFD_USER_MODE_ONLY, Linux 5.11 */

static int add_lists(scmp_filter_ctx ctx)
{
	int r = 0;
	for (size_t i = 0; !r && i < confine_n_allowed; i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, confine_allowed[i], 0);
	for (size_t i = 0; !r && i < confine_n_refused; i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), confine_refused[i], 0);
	return r;
}

/*
 * personality() values that change nothing a restore must know: the query,
 * plain Linux with its 32-bit and 2.6 names, and no address randomisation
 * (debuggers).
 */
static int add_personality(scmp_filter_ctx ctx)
{
	static const uint64_t values[] = {
		0xffffffff, 0, PER_LINUX32, UNAME26, PER_LINUX32 | UNAME26, ADDR_NO_RANDOMIZE,
	};
	int r = 0;
	for (size_t i = 0; !r && i < sizeof(values) / sizeof(*values); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(personality), 1,
				     SCMP_A0(SCMP_CMP_EQ, values[i], 0));
	return r;
}

static int add_rules(scmp_filter_ctx ctx)
{
	const uint64_t namespaces = CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS |
				    CLONE_NEWPID | CLONE_NEWUSER | CLONE_NEWUTS;
	int r = add_lists(ctx);
	if (!r)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				     SCMP_A0(SCMP_CMP_MASKED_EQ, namespaces, 0));
	if (!r)
		r = seccomp_rule_add(
			ctx, SCMP_ACT_ALLOW, SCMP_SYS(userfaultfd), 1,
			SCMP_A0(SCMP_CMP_MASKED_EQ, USERFAULTFD_USER_ONLY, USERFAULTFD_USER_ONLY));
	return r ? r : add_personality(ctx);
}

/* libseccomp's part, exported through a memfd. */
static int export_rules(int fd)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	if (!ctx)
		return -ENOMEM;
	int r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));
	if (!r) /* a binary tree instead of a list */
		r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!r)
		r = add_rules(ctx);
	if (!r)
		r = seccomp_export_bpf(ctx, fd);
	seccomp_release(ctx);
	return r;
}

static int load_rules(struct confine *c, int fd)
{
	off_t bytes = lseek(fd, 0, SEEK_END);
	if (bytes < 0)
		return -errno;
	c->n = confine_front_insns();
	c->insns = calloc(c->n + (size_t)bytes / sizeof(*c->insns), sizeof(*c->insns));
	if (!c->insns)
		return -ENOMEM;
	confine_front_write(c->insns);
	ssize_t n = pread(fd, c->insns + c->n, (size_t)bytes, 0);
	if (n != bytes)
		return n < 0 ? -errno : -EIO;
	c->n += (size_t)bytes / sizeof(*c->insns);
	return c->n <= CONFINE_INSNS_MAX ? 0 : -E2BIG;
}

int confine_new(struct confine **out, struct err *e)
{
	struct confine *c = calloc(1, sizeof(*c));
	scoped_fd int fd = memfd_create("mulligan-filter", MFD_CLOEXEC);
	int r = !c ? -ENOMEM : fd < 0 ? -errno : export_rules(fd);
	if (!r)
		r = load_rules(c, fd);
	if (r) {
		confine_free(c);
		return err_set(e, -r, "make the seccomp filter: %s", strerror(-r));
	}
	*out = c;
	return 0;
}

void confine_free(struct confine *c)
{
	if (c)
		free(c->insns);
	free(c);
}

const struct sock_filter *confine_filter(const struct confine *c, size_t *n)
{
	*n = c->n;
	return c->insns;
}

int confine_init_blob(const struct confine *c, uint64_t nproc, uint64_t nofile,
		      struct buf *out)
{
	const struct confine_abi head = {
		.magic = CONFINE_MAGIC,
		.version = CONFINE_VERSION,
		.flags = CONFINE_F_NO_NEW_PRIVS,
		.n_insns = (uint32_t)c->n,
		.bounding = confine_bounding(),
		.nproc = nproc,
		.nofile = nofile,
	};
	buf_add(out, &head, sizeof(head));
	buf_add(out, c->insns, c->n * sizeof(*c->insns));
	return out->failed ? -ENOMEM : 0;
}
