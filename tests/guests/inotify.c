/* Watches: each event once, under the right number, of what happens later. */
#include "guest.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int common_fd = -1; /* of several kinds: a user may have but 128 */

static int new_inotify(int flags)
{
	return common_fd >= 0 ? common_fd : (int)guest_sys(inotify_init1(flags));
}

static int watch(int fd, const char *path, uint32_t mask)
{
	return (int)guest_sys(inotify_add_watch(fd, path, mask));
}

/* An empty file, or what it is made to hold. */
static void make(const char *path, const char *text)
{
	int fd = (int)guest_sys(open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644));
	guest_eq(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static char events[65536];
static ssize_t events_n, events_at;

/* The next event must be that one; its cookie. */
static uint32_t expect(int fd, int number, uint32_t mask, const char *name)
{
	if (events_at == events_n) {
		events_n = guest_sys(read(fd, events, sizeof(events)));
		events_at = 0;
	}
	const struct inotify_event *e = (const void *)(events + events_at);
	events_at += (ssize_t)sizeof(*e) + e->len;
	if (e->wd != number || e->mask != mask || strcmp(e->len ? e->name : "", name) != 0)
		guest_bad("event %x of %d '%s', not %x of %d '%s'", e->mask, e->wd,
			  e->len ? e->name : "", mask, number, name);
	return e->cookie;
}

static void nothing(int fd)
{
	int n;
	guest_eq(events_at, events_n);
	guest_sys(ioctl(fd, FIONREAD, &n));
	if (n) {
		events_n = guest_sys(read(fd, events, sizeof(events)));
		const struct inotify_event *e = (const void *)events;
		guest_bad("event %x of %d '%s', not nothing", e->mask, e->wd, e->len ? e->name : "");
	}
}

static void forget(int fd)
{
	char bytes[65536];
	guest_check(read(fd, bytes, sizeof(bytes)) > 0);
}

static int ready_fd = -1, turn_fd; /* of one kind among all */

static void go(void)
{
	char byte;
	if (ready_fd < 0) {
		guest_ready();
		guest_wait_go();
		return;
	}
	guest_eq(write(ready_fd, "x", 1), 1);
	guest_eq(read(turn_fd, &byte, 1), 1);
}

/* Files, directories, links; numbers with gaps; a file that is open since before. */
static void tree(void)
{
	int fd = new_inotify(IN_NONBLOCK | IN_CLOEXEC);
	guest_sys(mkdir("d", 0755));
	guest_sys(mkdir("d/sub", 0755));
	guest_sys(mkdir("old", 0755));
	make("d/f", "f");
	make("e", "e");
	guest_sys(symlink("nowhere", "link"));
	int open_fd = (int)guest_sys(open("d/f", O_WRONLY));
	int d = watch(fd, "d", IN_CREATE | IN_DELETE | IN_MOVE | IN_MODIFY | IN_CLOSE_WRITE);
	int gap = watch(fd, "e", IN_ALL_EVENTS);
	int f = watch(fd, "d/f", IN_MODIFY | IN_ATTRIB);
	int sub = watch(fd, "d/sub", IN_ALL_EVENTS | IN_EXCL_UNLINK);
	int link = watch(fd, "link", IN_ATTRIB | IN_DELETE_SELF | IN_DONT_FOLLOW);
	int old = watch(fd, "old", IN_CREATE | IN_MOVE_SELF);
	int last = watch(fd, "e", IN_ALL_EVENTS);
	guest_eq(gap, last);
	guest_sys(inotify_rm_watch(fd, gap));
	last = watch(fd, "e", IN_ALL_EVENTS);
	guest_sys(inotify_rm_watch(fd, last));
	guest_sys(rename("old", "new"));
	forget(fd);
	go();
	nothing(fd);
	guest_eq(write(open_fd, "x", 1), 1);
	expect(fd, d, IN_MODIFY, "f");
	expect(fd, f, IN_MODIFY, "");
	make("d/n", "");
	expect(fd, d, IN_CREATE, "n");
	expect(fd, d, IN_CLOSE_WRITE, "n");
	guest_sys(rename("d/n", "d/m"));
	uint32_t cookie = expect(fd, d, IN_MOVED_FROM, "n");
	guest_check(cookie && cookie == expect(fd, d, IN_MOVED_TO, "m"));
	guest_sys(unlink("d/m"));
	expect(fd, d, IN_DELETE, "m");
	guest_sys(mkdir("d/sub/x", 0755));
	expect(fd, sub, IN_CREATE | IN_ISDIR, "x");
	make("new/n", "");
	expect(fd, old, IN_CREATE, "n");
	guest_sys(chmod("d/f", 0600));
	expect(fd, f, IN_ATTRIB, "");
	close(open_fd);
	expect(fd, d, IN_CLOSE_WRITE, "f");
	guest_sys(unlink("link"));
	expect(fd, link, IN_ATTRIB, "");
	expect(fd, link, IN_DELETE_SELF, "");
	expect(fd, link, IN_IGNORED, "");
	guest_check(watch(fd, "e", IN_MODIFY) > last);
	guest_eq(watch(fd, "d", IN_DELETE), d);
	nothing(fd);
	guest_check(fcntl(fd, F_GETFL) & O_NONBLOCK);
	guest_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	guest_sys(inotify_rm_watch(fd, sub));
	expect(fd, sub, IN_IGNORED, "");
}

/* A watch for one event, one that was used up, one for nothing. */
static void oneshot(void)
{
	int fd = new_inotify(IN_NONBLOCK);
	guest_sys(mkdir("d", 0755));
	guest_sys(mkdir("e", 0755));
	watch(fd, "d", IN_CREATE | IN_ONESHOT);
	int e = watch(fd, "e", IN_DELETE | IN_ONESHOT | IN_EXCL_UNLINK);
	make("d/1", "");
	make("e/1", "");
	guest_sys(mkdir("n", 0755));
	int none = watch(fd, "n", IN_ONLYDIR);
	forget(fd);
	go();
	make("d/2", "");
	make("n/2", "");
	nothing(fd);
	guest_sys(unlink("e/1"));
	expect(fd, e, IN_DELETE, "1");
	expect(fd, e, IN_IGNORED, "");
	guest_eq(watch(fd, "n", IN_CREATE | IN_MASK_ADD), none);
	make("n/3", "");
	expect(fd, none, IN_CREATE, "3");
	nothing(fd);
}

/* A child sleeps in the call; its working directory has another name by then. */
static void asleep(void)
{
	int status, there[2], fd = new_inotify(0);
	char byte;
	guest_sys(pipe(there));
	guest_sys(mkdir("d", 0755));
	int d = watch(fd, "d", IN_CREATE);
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) {
		guest_sys(chdir("d"));
		guest_eq(write(there[1], "x", 1), 1);
		expect(fd, d, IN_CREATE, "x");
		_exit(0);
	}
	guest_eq(read(there[0], &byte, 1), 1);
	guest_sleep_ms(20); /* most often it sleeps by then */
	guest_sys(rename("d", "e"));
	go();
	make("e/x", "");
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
}

/*
 * Under several numbers in two processes; told once where edges count, as long
 * as there is anything where not.
 */
static void epoll(void)
{
	int fd = new_inotify(IN_NONBLOCK), level = (int)guest_sys(epoll_create1(0));
	int edge = (int)guest_sys(epoll_create1(0)), again = (int)guest_sys(dup2(fd, 100));
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 1};
	guest_sys(epoll_ctl(level, EPOLL_CTL_ADD, again, &ev));
	ev.events |= EPOLLET;
	guest_sys(epoll_ctl(edge, EPOLL_CTL_ADD, fd, &ev));
	guest_sys(mkdir("d", 0755));
	watch(fd, "/", IN_ATTRIB);
	int d = watch(again, "d", IN_CREATE);
	int status;
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) {
		struct epoll_event got;
		guest_eq(epoll_wait(level, &got, 1, -1), 1);
		guest_eq(got.data.u64, 1);
		expect(fd, d, IN_CREATE, "x");
		_exit(0);
	}
	guest_sleep_ms(20); /* most often it sleeps by then */
	go();
	guest_eq(epoll_wait(edge, &ev, 1, 0), 0);
	make("d/x", "");
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
	guest_eq(epoll_wait(level, &ev, 1, 0), 0);
	make("d/y", "");
	guest_eq(epoll_wait(edge, &ev, 1, 0), 1);
	guest_eq(epoll_wait(edge, &ev, 1, 0), 0);
	guest_eq(epoll_wait(level, &ev, 1, 0), 1);
	expect(again, d, IN_CREATE, "y");
	guest_eq(epoll_wait(level, &ev, 1, 0), 0);
	nothing(fd);
}

/* In memory, where nothing is cut. */
static void memory(void)
{
	int fd = new_inotify(IN_NONBLOCK);
	char dir[] = "/dev/shm/guest-XXXXXX", file[64];
	guest_check(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/f", dir);
	make(file, "");
	int d = watch(fd, dir, IN_ALL_EVENTS), f = watch(fd, file, IN_MODIFY);
	go();
	nothing(fd);
	int out = (int)guest_sys(open(file, O_WRONLY));
	expect(fd, d, IN_OPEN, "f");
	guest_eq(write(out, "x", 1), 1);
	expect(fd, d, IN_MODIFY, "f");
	expect(fd, f, IN_MODIFY, "");
	close(out);
	expect(fd, d, IN_CLOSE_WRITE, "f");
	nothing(fd);
}

/* All is told of, and nobody does anything: what looks at the files is not seen. */
static void quiet(void)
{
	int fd = new_inotify(0);
	guest_sys(mkdir("d", 0755));
	guest_sys(mkdir("d/cwd", 0755));
	make("d/mapped", "text");
	make("d/shared", "text");
	make("d/open", "text");
	make("d/gone", "text");
	int mapped = (int)guest_sys(open("d/mapped", O_RDONLY));
	int shared_fd = (int)guest_sys(open("d/shared", O_RDWR));
	int gone = (int)guest_sys(open("d/gone", O_RDWR));
	int open_fd = (int)guest_sys(open("d/open", O_RDWR));
	int dir = (int)guest_sys(open("d", O_RDONLY | O_DIRECTORY));
	const char *a = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, mapped, 0);
	char *b = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, 0);
	guest_check(a != MAP_FAILED && b != MAP_FAILED);
	close(mapped);
	close(shared_fd);
	guest_sys(unlink("d/gone"));
	guest_sys(chdir("d/cwd"));
	watch(fd, ".", IN_ALL_EVENTS);
	watch(fd, "../mapped", IN_ALL_EVENTS);
	watch(fd, "../open", IN_ALL_EVENTS);
	int d = watch(fd, "..", IN_ALL_EVENTS);
	go();
	nothing(fd);
	guest_eq(a[0] + b[0], 't' + 't');
	guest_eq(lseek(gone, 0, SEEK_SET) + lseek(open_fd, 0, SEEK_SET), 0);
	make("../x", "");
	expect(fd, d, IN_CREATE, "x");
	close(dir);
}

/* Many, and a third of the numbers is not in use. */
static void many(void)
{
	enum { DIRS = 100 };
	static int number[DIRS];
	int fd = new_inotify(IN_NONBLOCK);
	char path[64];
	guest_sys(mkdir("d", 0755));
	for (int i = 0; i < DIRS; i++) {
		snprintf(path, sizeof(path), "d/%d", i);
		guest_sys(mkdir(path, 0755));
		number[i] = watch(fd, path, IN_CREATE);
		if (i % 3 == 0)
			guest_sys(inotify_rm_watch(fd, number[i]));
	}
	forget(fd);
	go();
	for (int i = 0; i < DIRS; i++) {
		snprintf(path, sizeof(path), "d/%d/%d", i, i);
		make(path, "");
		if (i % 3)
			expect(fd, number[i], IN_CREATE, strrchr(path, '/') + 1);
	}
	nothing(fd);
}

static const struct {
	const char *name;
	void (*run)(void);
	bool is_alone; /* with an inotify of its own */
} kinds[] = {
	{"epoll", epoll, true},    {"asleep", asleep, true}, {"tree", tree, false},
	{"oneshot", oneshot, false}, {"memory", memory, false}, {"many", many, false},
	{"quiet", quiet, false}, /* the last: it is told of its own end */
};

enum { KINDS = sizeof(kinds) / sizeof(*kinds) };

static void run_kind(unsigned k, int inotify, int ready, int turn)
{
	ready_fd = ready;
	turn_fd = turn;
	common_fd = kinds[k].is_alone ? -1 : inotify;
	guest_sys(mkdir(kinds[k].name, 0755));
	guest_sys(chdir(kinds[k].name));
	kinds[k].run();
	_exit(0);
}

/* Each in a process and directory of its own, one after the other. */
static void all(void)
{
	int ready[2], turn[KINDS][2], status;
	char byte;
	int inotify = (int)guest_sys(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
	guest_sys(pipe(ready));
	for (unsigned k = 0; k < KINDS; k++) {
		guest_sys(pipe(turn[k]));
		pid_t pid = fork();
		guest_check(pid >= 0);
		if (pid == 0)
			run_kind(k, inotify, ready[1], turn[k][0]);
		guest_eq(read(ready[0], &byte, 1), 1);
	}
	guest_ready();
	guest_wait_go();
	for (unsigned k = 0; k < KINDS; k++) {
		guest_eq(write(turn[k][1], "x", 1), 1);
		guest_sys(wait(&status));
		guest_eq(status, 0);
	}
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	const char *kind = argc > 2 ? argv[2] : "all";
	if (strcmp(kind, "all") == 0) {
		all();
		return 0;
	}
	for (unsigned k = 0; k < KINDS; k++)
		if (strcmp(kinds[k].name, kind) == 0) {
			kinds[k].run();
			return 0;
		}
	guest_bad("no kind '%s'", kind);
}
