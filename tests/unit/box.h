/*
 * box.h - a bare incarnation for tests: mulligan-init as PID 1 of new PID,
 * mount and IPC namespaces over this machine's own root.
 *
 * With BOX_ROOTLESS=1 in the environment, or for an ordinary user, the test
 * first enters a user namespace in which only its own id is mapped, to 0.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct box {
	pid_t init_pid;
	int socket_fd; /* the keeper's end; -1: given away */
	bool is_rootless;
};

/* Capabilities that stay, for what a test expects of /proc/<pid>/status. */
uint64_t box_bounding(void);

/* Start it; READY is not read yet. */
void box_open(struct box *b);

/* Start another one in the same user namespace. */
void box_open_again(struct box *b);

/* Close the socket and wait until PID 1 is gone. */
void box_close(struct box *b);

/* Kill PID 1 and reap it. */
void box_kill(struct box *b);
