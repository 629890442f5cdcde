/* epoll.h - what is done with epolls beside the table of kinds. */
#pragma once

#include "parts/files.h"

/* All descriptions are there: let the epolls among them watch. 0 or -errno. */
must_check int epoll_join(struct files_open *o);

/* Does this epoll watch a file that is opened again (o->wanted)? */
bool epoll_watches_moved(const struct files_open *o, int file);

/*
 * Let a live epoll, here as epoll_fd, watch the new descriptions of what is
 * opened again beside the old ones; what is closed it forgets by itself.
 */
must_check int epoll_add_moved(struct files_open *o, int file, int epoll_fd);

/*
 * Let all live epolls forget the old description of a file that was opened
 * again: nobody has it but we, as old_fd. -errno: some may watch it still.
 */
must_check int epoll_forget(const struct look *l, int file, int old_fd);

/* A descriptor of a description that was looked at, from its process. */
must_check int epoll_copy(const struct look *l, int file);
