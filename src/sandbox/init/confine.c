#include "sandbox/init/internal.h"

#include <linux/mman.h>
#include <asm/resource.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>

#include "sandbox/init/confine_abi.h"

enum { CAPABILITIES = 64, SEEK_END_ = 2 };

struct limit {
	uint64_t soft;
	uint64_t hard;
};

static long limit_processes(uint64_t nproc)
{
	struct limit limit = {nproc, nproc};
	return sys4(__NR_prlimit64, 0, RLIMIT_NPROC, (long)&limit, 0);
}

static long limit_descriptors(uint64_t nofile)
{
	struct limit limit;
	long ret = sys4(__NR_prlimit64, 0, RLIMIT_NOFILE, 0, (long)&limit);
	if (init_failed(ret))
		return ret;
	limit.soft = nofile < limit.hard ? nofile : limit.hard;
	return sys4(__NR_prlimit64, 0, RLIMIT_NOFILE, (long)&limit, 0);
}

static long drop_bounding(uint64_t keep)
{
	for (int cap = 0; cap < CAPABILITIES; cap++) {
		if (keep >> cap & 1)
			continue;
		long ret = sys2(__NR_prctl, PR_CAPBSET_DROP, cap);
		if (ret == -EINVAL)
			return 0; /* the kernel has no more of them */
		if (init_failed(ret))
			return ret;
	}
	return 0;
}

/* Keep of what this process has the given capabilities, inherit none. */
static long keep_capabilities(uint64_t keep)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};
	long ret = sys2(__NR_capget, (long)&header, (long)data);
	if (init_failed(ret))
		return ret;
	for (int i = 0; i < 2; i++) {
		uint32_t word = (uint32_t)(keep >> 32 * i) & data[i].permitted;
		data[i] = (struct __user_cap_data_struct){
			.effective = word,
			.permitted = word,
		};
	}
	header.pid = 0;
	return sys2(__NR_capset, (long)&header, (long)data);
}

static long install_filter(const struct confine_abi *abi)
{
	struct sock_fprog program = {
		.len = (unsigned short)abi->n_insns,
		.filter = (struct sock_filter *)(abi + 1),
	};
	return sys3(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, (long)&program);
}

static long apply(const struct confine_abi *abi, uint32_t *step)
{
	long ret = abi->nproc ? limit_processes(abi->nproc) : 0;
	*step = INIT_STEP_LIMIT;
	if (!init_failed(ret) && abi->nofile)
		ret = limit_descriptors(abi->nofile);
	if (init_failed(ret))
		return ret;
	*step = INIT_STEP_BOUNDING;
	ret = drop_bounding(abi->bounding);
	if (init_failed(ret))
		return ret;
	*step = INIT_STEP_CAPABILITIES;
	ret = keep_capabilities(abi->bounding);
	if (init_failed(ret))
		return ret;
	*step = INIT_STEP_NO_NEW_PRIVS;
	if (abi->flags & CONFINE_F_NO_NEW_PRIVS)
		ret = sys5(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (init_failed(ret))
		return ret;
	*step = INIT_STEP_SECCOMP;
	if (abi->n_insns)
		ret = install_filter(abi);
	/* a change of credentials may have undone it */
	sys2(__NR_prctl, PR_SET_DUMPABLE, 0);
	return ret;
}

static bool makes_sense(const struct confine_abi *abi, long size)
{
	return abi->magic == CONFINE_MAGIC && abi->version == CONFINE_VERSION &&
	       abi->n_insns <= CONFINE_INSNS_MAX &&
	       (uint64_t)size >= sizeof(*abi) + abi->n_insns * sizeof(struct sock_filter);
}

long init_confine(uint32_t *step)
{
	*step = INIT_STEP_CONFINE_BLOB;
	long size = sys3(__NR_lseek, INIT_CONFINE_FD, 0, SEEK_END_);
	if (size < 0)
		return size;
	if (size < (long)sizeof(struct confine_abi))
		return -EINVAL;
	long mapped = sys6(__NR_mmap, 0, size, PROT_READ, MAP_PRIVATE, INIT_CONFINE_FD, 0);
	init_close(INIT_CONFINE_FD);
	if (init_failed(mapped))
		return mapped;
	const struct confine_abi *abi = (const struct confine_abi *)mapped;
	long ret = makes_sense(abi, size) ? apply(abi, step) : -EINVAL;
	sys2(__NR_munmap, mapped, size);
	return ret;
}
