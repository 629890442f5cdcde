/* Datagrams without a byte wait in a queue, first or alone. */
#include "guest.h"

#include <netinet/in.h>
#include <sys/socket.h>

static void udp_pair(int ends[2])
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	ends[0] = (int)guest_sys(socket(AF_INET, SOCK_DGRAM, 0));
	ends[1] = (int)guest_sys(socket(AF_INET, SOCK_DGRAM, 0));
	guest_sys(bind(ends[1], (struct sockaddr *)&at, sizeof(at)));
	guest_sys(getsockname(ends[1], (struct sockaddr *)&at, &len));
	guest_sys(connect(ends[0], (struct sockaddr *)&at, sizeof(at)));
}

/* A message that is there; -1: none. */
static ssize_t next(int fd, char text[16])
{
	ssize_t n = recv(fd, text, 16, MSG_DONTWAIT);
	guest_check(n >= 0 || errno == EAGAIN);
	return n;
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	const char *kind = argc > 2 ? argv[2] : "dgram";
	int ends[2];
	char text[16];
	if (strstr(kind, "udp"))
		udp_pair(ends);
	else
		guest_sys(socketpair(AF_UNIX, strstr(kind, "seqpacket") ? SOCK_SEQPACKET : SOCK_DGRAM,
				     0, ends));
	guest_eq(send(ends[0], "", 0, 0), 0);
	if (strstr(kind, "first"))
		guest_eq(send(ends[0], "abc", 3, 0), 3);
	if (strstr(kind, "seen"))
		guest_eq(recv(ends[1], text, sizeof(text), MSG_PEEK), 0);
	if (strstr(kind, "closed"))
		guest_sys(close(ends[0]));
	guest_ready();
	guest_wait_go();
	guest_eq(next(ends[1], text), 0);
	if (strstr(kind, "first"))
		guest_eq(next(ends[1], text), 3);
	if (strstr(kind, "closed"))
		guest_eq(next(ends[1], text), 0);
	else
		guest_eq(next(ends[1], text), -1);
	return 0;
}
