#include "puppet/fault.h"

#include <stdlib.h>

/* Reachable from every arena without an argument, as the one of sys/fault.c. */
static uint32_t fault_left;

void puppet_fault_arm(uint32_t n)
{
	fault_left = n;
}

uint32_t puppet_fault_left(void)
{
	return fault_left;
}

uint32_t puppet_fault_lend(void)
{
	uint32_t n = fault_left;
	fault_left = 0;
	return n;
}

void puppet_fault_return(uint32_t left)
{
	if (left)
		fault_left = left;
}

void puppet_fault_from_environment(void)
{
	const char *text = getenv("MULLIGAN_FAULT_PUPPET");
	if (text)
		fault_left = (uint32_t)strtoul(text, NULL, 10);
}

static __attribute__((constructor(1000))) void fault_at_start(void)
{
	if (!getenv("MULLIGAN_FAULT_WHEN"))
		puppet_fault_from_environment();
}
