/*
 * cleanup.h - who owns a thing is written at its declaration.
 *
 *	scoped_fd int fd = open(...);		closed when the scope ends
 *	scoped_free char *s = strdup(...);	freed when the scope ends
 *	return take_fd(&fd);			ownership goes to the caller
 *
 * An unset descriptor is -1, never 0.
 */
#pragma once

#include <stdlib.h>
#include <unistd.h>

/* unused: some are held for the scope alone */
#define scoped(fn) __attribute__((cleanup(fn), unused))
#define scoped_fd scoped(cleanup_fd)
#define scoped_free scoped(cleanup_free)
#define must_check __attribute__((warn_unused_result))

/* Close *fd if it is set and unset it; close() is never retried on EINTR. */
static inline void cleanup_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline void cleanup_free(void *pointer)
{
	void **p = pointer;
	free(*p);
	*p = NULL;
}

static inline int take_fd(int *fd)
{
	int taken = *fd;
	*fd = -1;
	return taken;
}

#define take_ptr(p)                          \
	({                                   \
		__typeof__(p) taken_ = (p);  \
		(p) = NULL;                  \
		taken_;                      \
	})
