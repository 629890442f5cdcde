/*
 * Descriptors on their way through unix sockets: of files that some process
 * still has, that none has, and of sockets that have descriptors queued
 * themselves.
 */
#include "guest.h"

#include <fcntl.h>
#include <sys/socket.h>

static void give(int socket, const char *text, const int *fds, size_t n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} control = {0};
	struct iovec iov = {(void *)text, strlen(text)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	if (n) {
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(n * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	}
	guest_eq(sendmsg(socket, &m, 0), strlen(text));
}

/* Exactly this text, and n descriptors. */
static void take(int socket, size_t cap, const char *text, int *fds, size_t n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} control;
	char got[64];
	struct iovec iov = {got, cap};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control)};
	guest_eq(recvmsg(socket, &m, MSG_DONTWAIT), strlen(text));
	guest_check(memcmp(got, text, strlen(text)) == 0);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	guest_eq(c ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0, n);
	if (c)
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
}

int main(int argc, char **argv)
{
	int stream[2], packet[2], inner[2], a[2], b[2], fds[4];
	char text[32];
	guest_start(argc, argv);
	guest_sys(socketpair(AF_UNIX, SOCK_STREAM, 0, stream));
	guest_sys(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packet));
	guest_sys(socketpair(AF_UNIX, SOCK_STREAM, 0, inner));
	guest_sys(pipe(a));
	guest_sys(pipe(b));
	int file = (int)guest_sys(open("/dev/null", O_RDWR));
	int disk = (int)guest_sys(open("held", O_RDWR | O_CREAT, 0600));
	/* b's reader exists in a queue only; inner[1], too, and has one itself */
	give(stream[0], "plain", NULL, 0);
	give(stream[0], "files", (int[]){file, b[0]}, 2);
	give(stream[0], "after", NULL, 0);
	if (argc > 2) /* a file of the disk: with what may be moved under it */
		give(stream[0], "disk", &disk, 1);
	give(inner[0], "deep", (int[]){a[0]}, 1);
	give(packet[0], "socket", (int[]){inner[1], file}, 2);
	give(packet[0], "none", NULL, 0);
	close(b[0]);
	close(a[0]);
	close(inner[1]);
	guest_eq(write(b[1], "in b", 4), 4);
	guest_eq(write(a[1], "in a", 4), 4);
	guest_ready();
	guest_wait_go();

	take(stream[1], 5, "plain", NULL, 0);
	take(stream[1], 64, "files", fds, 2);
	guest_sys(fcntl(file, F_SETFL, O_APPEND)); /* it is one description */
	guest_eq(fcntl(fds[0], F_GETFL) & O_APPEND, O_APPEND);
	guest_eq(read(fds[1], text, sizeof(text)), 4);
	guest_check(memcmp(text, "in b", 4) == 0);
	take(stream[1], 5, "after", NULL, 0);
	if (argc > 2)
		take(stream[1], 64, "disk", fds, 1);
	take(packet[1], 64, "socket", fds, 2);
	take(fds[0], 64, "deep", fds + 2, 1);
	guest_eq(read(fds[2], text, sizeof(text)), 4);
	guest_check(memcmp(text, "in a", 4) == 0);
	guest_eq(fcntl(fds[1], F_GETFL) & O_APPEND, O_APPEND);
	guest_eq(send(fds[0], "up", 2, 0), 2);
	guest_eq(recv(inner[0], text, sizeof(text), 0), 2);
	take(packet[1], 64, "none", NULL, 0);
	return 0;
}
