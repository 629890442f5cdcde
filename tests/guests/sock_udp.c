/*
 * UDP over the loopback, v4 or v6: bound, connected, with datagrams queued
 * from a sender that lives and from one that does not.
 */
#include "guest.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

static int family;

struct name {
	struct sockaddr_storage at;
	socklen_t len;
};

static struct name name_of(int fd)
{
	struct name n = {.len = sizeof(n.at)};
	guest_sys(getsockname(fd, (struct sockaddr *)&n.at, &n.len));
	return n;
}

static int bound(void)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	int fd = (int)guest_sys(socket(family, SOCK_DGRAM, 0));
	if (family == AF_INET)
		guest_sys(bind(fd, (struct sockaddr *)&v4, sizeof(v4)));
	else
		guest_sys(bind(fd, (struct sockaddr *)&v6, sizeof(v6)));
	return fd;
}

static void give(int fd, struct name to, const char *text)
{
	guest_eq(sendto(fd, text, strlen(text), 0, (struct sockaddr *)&to.at, to.len), strlen(text));
}

static void take(int fd, struct name from, const char *text)
{
	char got[64];
	struct name n = {.len = sizeof(n.at)};
	guest_eq(recvfrom(fd, got, sizeof(got), MSG_DONTWAIT, (struct sockaddr *)&n.at, &n.len),
		 strlen(text));
	guest_check(memcmp(got, text, strlen(text)) == 0);
	guest_check(n.len == from.len && memcmp(&n.at, &from.at, n.len) == 0);
}

int main(int argc, char **argv)
{
	int ttl = 9, value = 0;
	socklen_t len = sizeof(value);
	guest_start(argc, argv);
	family = argc > 2 && !strcmp(argv[2], "v6") ? AF_INET6 : AF_INET;
	int receiver = bound(), sender = bound(), dead = bound();
	int client = (int)guest_sys(socket(family, SOCK_DGRAM, 0));
	int lonely = (int)guest_sys(socket(family, SOCK_DGRAM, 0));
	struct name to = name_of(receiver), alive = name_of(sender), gone = name_of(dead);
	guest_sys(connect(client, (struct sockaddr *)&to.at, to.len));
	struct name client_name = name_of(client);
	if (family == AF_INET)
		guest_sys(setsockopt(sender, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl)));
	give(sender, to, "one");
	give(dead, to, "two");
	guest_eq(send(client, "three", 5, 0), 5);
	give(receiver, client_name, "back");
	close(dead);
	guest_ready();
	guest_wait_go();

	take(receiver, alive, "one");
	take(receiver, gone, "two");
	take(receiver, client_name, "three");
	take(client, to, "back");
	guest_eq(send(client, "four", 4, 0), 4);
	take(receiver, client_name, "four");
	give(sender, client_name, "not from its peer");
	guest_eq(recv(client, &value, 1, MSG_DONTWAIT), -1);
	guest_eq(errno, EAGAIN);
	give(lonely, to, "five");
	take(receiver, ({
		     struct name n = name_of(lonely);
		     if (family == AF_INET)
			     ((struct sockaddr_in *)&n.at)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		     else
			     ((struct sockaddr_in6 *)&n.at)->sin6_addr = in6addr_loopback;
		     n;
	     }),
	     "five");
	if (family == AF_INET) {
		guest_sys(getsockopt(sender, IPPROTO_IP, IP_TTL, &value, &len));
		guest_eq(value, ttl);
	}
	return 0;
}
