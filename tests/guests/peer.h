/* peer.h - what a socket tells of itself and of its other end. */
#pragma once

#include <sys/socket.h>

#include "guest.h"

static inline int option(int fd, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);
	guest_sys(getsockopt(fd, SOL_SOCKET, name, &value, &len));
	return value;
}

static inline void check_creds(int fd, pid_t pid)
{
	struct ucred c;
	socklen_t len = sizeof(c);
	guest_sys(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &len));
	guest_eq(c.pid, pid);
	guest_eq(c.uid, getuid());
	guest_eq(c.gid, getgid());
}
