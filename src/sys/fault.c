#include "sys/fault.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * The one piece of global state in this layer: the seam must be reachable
 * from every wrapper without an argument, or nobody would use it.
 */
static struct {
	uint64_t count;
	uint64_t fail_at;	/* 0: never */
	int error;
	const char *only;	/* NULL: any call */
	const char *fired;
} fault;

int sys_fault(const char *call)
{
	if (__builtin_expect(fault.only != NULL, 0) && strcmp(fault.only, call))
		return 0;
	if (__builtin_expect(++fault.count != fault.fail_at, 1))
		return 0;
	fault.fired = call;
	return -fault.error;
}

void sys_fault_arm(uint64_t n, int err)
{
	sys_fault_arm_only(NULL, n, err);
}

void sys_fault_arm_only(const char *call, uint64_t n, int err)
{
	fault.count = 0;
	fault.fail_at = n;
	fault.error = err;
	fault.only = call;
	fault.fired = NULL;
}

void sys_fault_passed(uint64_t n)
{
	fault.count += n;
}

uint64_t sys_fault_count(void)
{
	return fault.count;
}

const char *sys_fault_fired(void)
{
	return fault.fired;
}

static int error_by_name(const char *name)
{
	if (isdigit((unsigned char)*name))
		return atoi(name);
	for (int i = 1; i < 134; i++) {
		const char *known = strerrorname_np(i);
		if (known && !strcmp(known, name))
			return i;
	}
	return EIO;
}

void sys_fault_from_environment(void)
{
	const char *text = getenv("MULLIGAN_FAULT");
	if (!text || !isdigit((unsigned char)*text))
		return;
	char *end;
	uint64_t n = strtoull(text, &end, 10);
	int error = *end == ':' ? error_by_name(end + 1) : EIO;
	sys_fault_arm(n, error > 0 ? error : EIO);
}

static __attribute__((constructor(1000))) void fault_at_start(void)
{
	if (!getenv("MULLIGAN_FAULT_WHEN"))
		sys_fault_from_environment();
}
