#include "keeper/faults.h"

#include <stdlib.h>
#include <string.h>

#include "base/stage.h"
#include "puppet/fault.h"
#include "sys/fault.h"

void faults_begin(const char *method)
{
	const char *when = getenv("MULLIGAN_FAULT_WHEN");
	if (!when || strcmp(when, method))
		return;
	sys_fault_from_environment();
	puppet_fault_from_environment();
	stage_kill_at(getenv("MULLIGAN_KILL_AT"));
	stage_stop_at(getenv("MULLIGAN_STOP_AT"));
	unsetenv("MULLIGAN_FAULT_WHEN");
}
