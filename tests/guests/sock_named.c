/*
 * Unix sockets with names: listening ones, connections through them, both
 * ways and with one end closed, those that wait to be accepted, datagrams.
 * Kinds: abstract, path (on the disk of the sandbox), shm.
 */
#include "guest.h"
#include "peer.h"

#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

static const char *kind;
static char place[64] = "sockets";	/* that of files; or an abstract prefix */

struct name {
	socklen_t len;
	struct sockaddr_un at;
};

static struct name name_of(const char *text)
{
	struct name n = {.at = {.sun_family = AF_UNIX}};
	char *to = n.at.sun_path;
	bool abstract = strcmp(kind, "abstract") == 0;
	n.len = (socklen_t)snprintf(to + abstract, sizeof(n.at.sun_path) - 1, "%s/%s", place, text);
	n.len += 1 + offsetof(struct sockaddr_un, sun_path);
	return n;
}

static bool has_file(void)
{
	return strcmp(kind, "abstract") != 0;
}

/* Alone it has the machine's own /dev/shm and network: it shares no names. */
static void make_place(void)
{
	if (strcmp(kind, "path") != 0)
		snprintf(place, sizeof(place), "%s-%d",
			 has_file() ? "/dev/shm/sock_named" : "sock_named", getpid());
	if (has_file())
		guest_sys(mkdir(place, 0700));
}

static void remove_place(void)
{
	static const char *const names[] = {"renamed", "own", "left", "early", "box", "sender", "a", "b", "closed"};
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		unlink(name_of(names[i]).at.sun_path);
	guest_sys(rmdir(place));
}

static int bound(int type, const char *text)
{
	struct name n = name_of(text);
	int fd = (int)guest_sys(socket(AF_UNIX, type, 0));
	guest_sys(bind(fd, (struct sockaddr *)&n.at, n.len));
	return fd;
}

static int listening(int type, const char *text, int backlog)
{
	int fd = bound(type, text);
	guest_sys(listen(fd, backlog));
	return fd;
}

static void connect_to(int fd, const char *text)
{
	struct name n = name_of(text);
	guest_sys(connect(fd, (struct sockaddr *)&n.at, n.len));
}

static int calling(int type, const char *text)
{
	int fd = (int)guest_sys(socket(AF_UNIX, type, 0));
	connect_to(fd, text);
	return fd;
}

static void check_name(int fd, bool peer, const char *text)
{
	struct name want = name_of(text ? text : ""), have = {.len = sizeof(have.at)};
	if (!text)
		want.len = offsetof(struct sockaddr_un, sun_path);
	guest_sys((peer ? getpeername : getsockname)(fd, (struct sockaddr *)&have.at, &have.len));
	guest_eq(have.len, want.len);
	guest_check(memcmp(&have.at, &want.at, want.len) == 0);
}

static void expect(int fd, const char *text)
{
	char got[64];
	guest_eq(recv(fd, got, sizeof(got), MSG_DONTWAIT), strlen(text));
	guest_check(memcmp(got, text, strlen(text)) == 0);
}

static void expect_from(int fd, const char *text, const char *from)
{
	struct name want = name_of(from ? from : ""), have = {.len = sizeof(have.at)};
	char got[64];
	guest_eq(recvfrom(fd, got, sizeof(got), MSG_DONTWAIT, (struct sockaddr *)&have.at, &have.len),
		 strlen(text));
	guest_check(memcmp(got, text, strlen(text)) == 0);
	guest_eq(have.len, from ? want.len : 0);
	guest_check(!from || memcmp(&have.at, &want.at, want.len) == 0);
}

static void say(int fd, const char *text)
{
	guest_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void send_to(int fd, const char *text, const char *to)
{
	struct name n = name_of(to);
	guest_eq(sendto(fd, text, strlen(text), 0, (struct sockaddr *)&n.at, n.len), strlen(text));
}

/* A connection: the end that called, the accepted one. */
struct line {
	int out, in;
};

static struct line line_to(int type, int listener, const char *text, const char *own)
{
	struct line l = {own ? bound(type, own) : (int)guest_sys(socket(AF_UNIX, type, 0)), -1};
	connect_to(l.out, text);
	l.in = (int)guest_sys(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
	return l;
}

static void check_line(const struct line *l, const char *text, const char *own, pid_t caller)
{
	check_name(l->out, false, own);
	check_name(l->out, true, text);
	check_name(l->in, false, text);
	check_name(l->in, true, own);
	check_creds(l->out, getpid());
	check_creds(l->in, caller);
	guest_eq(option(l->in, SO_ACCEPTCONN), 0);
	say(l->out, "to");
	expect(l->in, "to");
	say(l->in, "fro");
	expect(l->out, "fro");
}

/* Somebody new finds the listener. */
static void check_listener(int fd, int type, const char *text)
{
	check_name(fd, false, text);
	guest_eq(option(fd, SO_ACCEPTCONN), 1);
	struct line l = line_to(type, fd, text, NULL);
	check_line(&l, text, NULL, getpid());
	close(l.in);
	close(l.out);
}

static void check_backlog(int fd, const char *text)
{
	int caller[3];
	for (int i = 0; i < 3; i++)
		caller[i] = calling(SOCK_STREAM, text);
	struct name n = name_of(text);
	int more = (int)guest_sys(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
	guest_eq(connect(more, (struct sockaddr *)&n.at, n.len), -1);
	guest_eq(errno, EAGAIN);
	close(more);
	for (int i = 0; i < 3; i++) {
		close((int)guest_sys(accept(fd, NULL, NULL)));
		close(caller[i]);
	}
}

/* A child calls, and keeps its end until it is told to use it. */
static pid_t child_calls(const char *text, int listener, int *in)
{
	pid_t pid = (pid_t)guest_sys(fork());
	if (pid == 0) {
		close(listener);
		int fd = calling(SOCK_STREAM, text);
		guest_wait_go();
		check_creds(fd, getppid());
		say(fd, "child");
		_exit(0);
	}
	*in = (int)guest_sys(accept(listener, NULL, NULL));
	return pid;
}

/* Who ended while it had called. */
static pid_t dead_calls(const char *text, int listener, int *in)
{
	int status;
	pid_t pid = (pid_t)guest_sys(fork());
	if (pid == 0) {
		int fd = calling(SOCK_STREAM, text);
		say(fd, "last words");
		_exit(0);
	}
	*in = (int)guest_sys(accept(listener, NULL, NULL));
	guest_eq(waitpid(pid, &status, 0), pid);
	return pid;
}

/* A child listens and ends; the socket stays ours. */
static pid_t child_listens(const char *text, int *fd)
{
	int status;
	*fd = (int)guest_sys(socket(AF_UNIX, SOCK_STREAM, 0));
	pid_t pid = (pid_t)guest_sys(fork());
	if (pid == 0) {
		struct name n = name_of(text);
		guest_sys(bind(*fd, (struct sockaddr *)&n.at, n.len));
		guest_sys(listen(*fd, 4));
		_exit(0);
	}
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
	return pid;
}

static void check_file(const char *text, const struct stat *was)
{
	struct stat st;
	struct name n = name_of(text);
	guest_sys(lstat(n.at.sun_path, &st));
	guest_check(S_ISSOCK(st.st_mode));
	guest_eq(st.st_mode, was->st_mode);
	guest_eq(st.st_uid, was->st_uid);
	guest_eq(st.st_gid, was->st_gid);
	guest_eq(st.st_nlink, 1);
	guest_eq(st.st_mtim.tv_sec, was->st_mtim.tv_sec);
	guest_eq(st.st_mtim.tv_nsec, was->st_mtim.tv_nsec);
}

static void set_file(const char *text, struct stat *st)
{
	struct name n = name_of(text);
	const struct timespec times[2] = {{1000, 7}, {2000, 9}};
	guest_sys(chmod(n.at.sun_path, 0612));
	guest_sys(utimensat(AT_FDCWD, n.at.sun_path, times, 0));
	guest_sys(lstat(n.at.sun_path, st));
}

int main(int argc, char **argv)
{
	struct stat file, dir, dir_now;
	int status;
	guest_start(argc, argv);
	kind = argc > 2 ? argv[2] : "abstract";
	bool disk = strcmp(kind, "path") == 0;
	make_place();

	int stream = listening(SOCK_STREAM, "stream", 2);
	int packet = listening(SOCK_SEQPACKET, "packet", 7);
	int off_name = listening(SOCK_STREAM, "off", 3);
	struct line plain = line_to(SOCK_STREAM, stream, "stream", NULL);
	struct line named = line_to(SOCK_SEQPACKET, packet, "packet", "own");
	struct line gone = line_to(SOCK_STREAM, stream, "stream", NULL);
	struct line left = line_to(SOCK_STREAM, stream, "stream", NULL);
	say(gone.out, "farewell");
	close(gone.out);
	say(left.in, "goodbye");
	close(left.in);
	int from_child, from_dead;
	pid_t child = child_calls("stream", stream, &from_child);
	pid_t dead = dead_calls("stream", stream, &from_dead);
	if (has_file()) {
		struct name n = name_of("off"), to = name_of("renamed");
		set_file("stream", &file);
		guest_sys(unlink(n.at.sun_path));
		n = name_of("packet");
		guest_sys(rename(n.at.sun_path, to.at.sun_path));
	} else {
		close(off_name);
	}
	int left_listener;
	pid_t left_pid = child_listens("left", &left_listener);
	int early = bound(SOCK_STREAM, "early");

	/* on a disk only one that is not in use */
	int box = bound(SOCK_DGRAM, "box"), sender = -1, to_box = -1, a = -1, b = -1, orphan = -1;
	int waits[2] = {-1, -1}, lost = -1;
	if (!disk) {
		sender = bound(SOCK_DGRAM, "sender");
		to_box = calling(SOCK_DGRAM, "box");
		a = bound(SOCK_DGRAM, "a");
		b = bound(SOCK_DGRAM, "b");
		connect_to(a, "b");
		connect_to(b, "a");
		send_to(sender, "one", "box");
		say(to_box, "two");
		int closed = bound(SOCK_DGRAM, "closed");
		send_to(closed, "three", "box");
		lost = calling(SOCK_DGRAM, "closed");
		close(closed);
		say(a, "from a");
		for (int i = 0; i < 2; i++)
			waits[i] = calling(SOCK_STREAM, "stream");
		guest_sys(shutdown(waits[1], SHUT_WR));
	}
	orphan = (int)guest_sys(socket(AF_UNIX, SOCK_DGRAM, 0)); /* autobind */
	struct sockaddr_un any = {.sun_family = AF_UNIX}, any_now;
	socklen_t len = sizeof(any);
	guest_sys(bind(orphan, (struct sockaddr *)&any, sizeof(sa_family_t)));
	guest_sys(getsockname(orphan, (struct sockaddr *)&any, &len));
	socklen_t any_len = len;
	int pair[2];
	guest_sys(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	say(pair[0], "unnamed");
	int epoll = (int)guest_sys(epoll_create1(0));
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = 77};
	guest_sys(epoll_ctl(epoll, EPOLL_CTL_ADD, packet, &ev));
	say(plain.in, "queued");
	if (has_file())
		guest_sys(stat(place, &dir));
	guest_ready();
	guest_wait_go();

	if (has_file()) {
		guest_sys(stat(place, &dir_now));
		guest_eq(dir_now.st_mtim.tv_sec, dir.st_mtim.tv_sec);
		guest_eq(dir_now.st_mtim.tv_nsec, dir.st_mtim.tv_nsec);
	}
	if (has_file())
		check_file("stream", &file);
	expect(plain.out, "queued");
	check_line(&plain, "stream", NULL, getpid());
	check_line(&named, "packet", "own", getpid());
	guest_eq(epoll_wait(epoll, &ev, 1, 0), 0);
	expect(gone.in, "farewell");
	guest_eq(recv(gone.in, &status, 1, 0), 0);
	check_name(gone.in, false, "stream");
	expect(left.out, "goodbye");
	guest_eq(recv(left.out, &status, 1, 0), 0);
	check_name(left.out, true, "stream");
	check_creds(left.out, getpid());
	check_creds(from_child, child);
	guest_eq(waitpid(child, &status, 0), child);
	guest_eq(status, 0);
	expect(from_child, "child");
	check_creds(from_dead, dead);
	expect(from_dead, "last words");

	if (!disk) {
		for (int i = 0; i < 2; i++) {
			struct line l = {waits[i], (int)guest_sys(accept(stream, NULL, NULL))};
			if (i == 0) {
				check_line(&l, "stream", NULL, getpid());
				continue;
			}
			check_creds(l.in, getpid());
			guest_eq(recv(l.in, &status, 1, 0), 0);
			say(l.in, "still");
			expect(l.out, "still");
		}
		expect_from(box, "one", "sender");
		expect_from(box, "two", NULL);
		expect_from(box, "three", "closed");
		say(to_box, "four");
		expect_from(box, "four", NULL);
		expect_from(b, "from a", "a");
		say(b, "from b");
		expect_from(a, "from b", "b");
		check_name(lost, true, "closed");
		guest_eq(send(lost, "x", 1, 0), -1);
		guest_eq(errno, ECONNREFUSED);
	}
	guest_eq(accept4(stream, NULL, NULL, (int)guest_sys(fcntl(stream, F_SETFL, O_NONBLOCK))), -1);
	guest_eq(errno, EAGAIN);
	guest_sys(fcntl(stream, F_SETFL, 0));
	check_listener(stream, SOCK_STREAM, "stream");
	check_backlog(stream, "stream");
	if (!has_file()) {
		check_listener(packet, SOCK_SEQPACKET, "packet");
	} else {
		struct name n = name_of("renamed");
		int fd = (int)guest_sys(socket(AF_UNIX, SOCK_SEQPACKET, 0));
		guest_sys(connect(fd, (struct sockaddr *)&n.at, n.len));
		check_name(fd, true, "packet");
		check_creds(fd, getpid());
		guest_eq(epoll_wait(epoll, &ev, 1, 1000), 1);
		guest_eq(ev.data.u32, 77);
		check_name(off_name, false, "off");
		guest_eq(option(off_name, SO_ACCEPTCONN), 1);
		guest_sys(unlink(name_of("stream").at.sun_path));
	}
	int to_left = calling(SOCK_STREAM, "left");
	check_creds(to_left, left_pid);
	guest_sys(accept(left_listener, NULL, NULL));
	check_name(early, false, "early");
	guest_sys(listen(early, 5));
	check_listener(early, SOCK_STREAM, "early");
	int late = (int)guest_sys(socket(AF_UNIX, SOCK_DGRAM, 0));
	check_name(box, false, "box");
	send_to(late, "late", "box");
	expect_from(box, "late", NULL);
	len = sizeof(any_now);
	guest_sys(getsockname(orphan, (struct sockaddr *)&any_now, &len));
	guest_eq(len, any_len);
	guest_check(memcmp(&any, &any_now, len) == 0);
	guest_eq(bind(late, (struct sockaddr *)&any, any_len), -1);
	guest_eq(errno, EADDRINUSE);
	expect(pair[1], "unnamed");
	if (has_file())
		remove_place();
	return 0;
}
