#include "keeper/child.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

void child_begin(pid_t keeper, const char *name)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != keeper)
		_exit(1);
	prctl(PR_SET_NAME, name);
}

static int by_number(const void *a, const void *b)
{
	const int *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

int child_keep_only(struct vec *fds)
{
	unsigned int next = STDERR_FILENO + 1;
	if (fds->n)
		qsort(fds->data, fds->n, sizeof(int), by_number);
	vec_each(int, fd, fds) {
		if (*fd < (int)next)
			continue;
		if (*fd > (int)next && close_range(next, (unsigned int)*fd - 1, 0))
			return -errno;
		next = (unsigned int)*fd + 1;
	}
	return close_range(next, ~0u, 0) ? -errno : 0;
}
