/* Interest lists: what was told stays told, what was not is told once. */
#include "guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

static void add(int epoll, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event e = {.events = events, .data.u64 = data};
	guest_sys(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e));
}

/* One event, and which; 0: none. */
static uint64_t next(int epoll, uint32_t *events)
{
	struct epoll_event e = {0};
	int n = (int)guest_sys(epoll_wait(epoll, &e, 1, 0));
	if (events)
		*events = e.events;
	return n ? e.data.u64 : 0;
}

static void nothing(int epoll)
{
	guest_eq(next(epoll, NULL), 0);
}

static void put(int fd)
{
	guest_eq(write(fd, "x", 1), 1);
}

static void go(void)
{
	guest_ready();
	guest_wait_go();
}

static int new_epoll(void)
{
	return (int)guest_sys(epoll_create1(0));
}

static void new_pipe(int fds[2])
{
	guest_sys(pipe2(fds, O_NONBLOCK));
}

static void level(void)
{
	int a[2], b[2], epoll = new_epoll();
	char c;
	uint32_t events;
	new_pipe(a);
	new_pipe(b);
	guest_sys(fcntl(epoll, F_SETFL, O_NONBLOCK));
	add(epoll, a[0], EPOLLIN, 0xfedcba9876543210u);
	add(epoll, b[0], EPOLLIN | EPOLLRDHUP, 2);
	put(a[1]);
	go();
	for (int i = 0; i < 3; i++)
		guest_eq(next(epoll, &events), (long long)0xfedcba9876543210u);
	guest_eq(events, EPOLLIN);
	guest_eq(read(a[0], &c, 1), 1);
	nothing(epoll);
	close(b[1]);
	guest_eq(next(epoll, &events), 2);
	guest_eq(events, EPOLLHUP);
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = 7};
	guest_sys(epoll_ctl(epoll, EPOLL_CTL_MOD, a[0], &e));
	guest_sys(epoll_ctl(epoll, EPOLL_CTL_DEL, b[0], &e));
	put(a[1]);
	guest_eq(next(epoll, NULL), 7);
	guest_check(fcntl(epoll, F_GETFL) & O_NONBLOCK);
}

static void edge(void)
{
	int told[2], untold[2], idle[2], first = new_epoll(), second = new_epoll();
	new_pipe(told);
	new_pipe(untold);
	new_pipe(idle);
	put(told[1]);
	put(untold[1]);
	add(first, told[0], EPOLLIN | EPOLLET, 1);
	add(first, idle[0], EPOLLIN | EPOLLET, 2);
	add(second, untold[0], EPOLLIN | EPOLLET, 3);
	guest_eq(next(first, NULL), 1);
	go();
	nothing(first);
	put(told[1]);
	guest_eq(next(first, NULL), 1);
	nothing(first);
	put(idle[1]);
	guest_eq(next(first, NULL), 2);
	guest_eq(next(second, NULL), 3);
	nothing(second);
}

static void oneshot(void)
{
	int used[2], fresh[2], full[2], epoll = new_epoll();
	static char bytes[4096];
	new_pipe(used);
	new_pipe(fresh);
	new_pipe(full);
	while (write(full[1], bytes, sizeof(bytes)) > 0)
		;
	int count = (int)guest_sys(eventfd(1, EFD_NONBLOCK));
	add(epoll, used[0], EPOLLIN | EPOLLONESHOT, 1);
	add(epoll, count, EPOLLIN | EPOLLONESHOT | EPOLLET, 2);
	put(used[1]);
	guest_eq(next(epoll, NULL) + next(epoll, NULL), 3);
	guest_eq(read(used[0], bytes, 1), 1);
	add(epoll, fresh[0], EPOLLIN | EPOLLONESHOT, 4);
	add(epoll, full[1], EPOLLOUT | EPOLLONESHOT, 8);
	go();
	nothing(epoll);
	put(used[1]);
	nothing(epoll);
	close(used[1]);	/* it watches nothing, not even that */
	nothing(epoll);
	put(fresh[1]);
	guest_eq(next(epoll, NULL), 4);
	nothing(epoll);
	while (read(full[0], bytes, sizeof(bytes)) > 0)
		;
	guest_eq(next(epoll, NULL), 8);
	struct epoll_event e = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = 5};
	guest_sys(epoll_ctl(epoll, EPOLL_CTL_MOD, used[0], &e));
	guest_eq(next(epoll, NULL), 5);
	nothing(epoll);
}

static void nested(void)
{
	int fds[2], inner = new_epoll(), middle = new_epoll(), outer = new_epoll();
	new_pipe(fds);
	add(middle, inner, EPOLLIN, 2);
	add(outer, middle, EPOLLIN | EPOLLET, 1);
	add(outer, fds[1], EPOLLOUT | EPOLLET, 4);
	add(inner, fds[0], EPOLLIN, 3);
	guest_eq(next(outer, NULL), 4);
	go();
	nothing(outer);
	put(fds[1]);
	guest_eq(next(outer, NULL), 1);
	guest_eq(next(middle, NULL), 2);
	guest_eq(next(inner, NULL), 3);
	nothing(outer);
}

/* The description lives on under another number; its old one is reused. */
static void numbers(void)
{
	int a[2], b[2], epoll = new_epoll();
	new_pipe(a);
	new_pipe(b);
	int number = (int)guest_sys(dup(a[0]));
	add(epoll, number, EPOLLIN, 1);
	guest_eq(guest_sys(dup2(b[0], number)), number);
	add(epoll, number, EPOLLIN, 2);
	int high = (int)guest_sys(fcntl(a[0], F_DUPFD, 900));
	add(epoll, high, EPOLLIN, 4);
	close(high);
	int both = (int)guest_sys(dup(a[0]));
	add(epoll, both, EPOLLIN | EPOLLET, 8);
	go();
	nothing(epoll);
	put(b[1]);
	guest_eq(next(epoll, NULL), 2);
	struct epoll_event e = {0};
	guest_sys(epoll_ctl(epoll, EPOLL_CTL_DEL, number, &e));
	put(a[1]);
	struct epoll_event got[8];
	uint64_t sum = 0;
	int n = (int)guest_sys(epoll_wait(epoll, got, 8, 0));
	for (int i = 0; i < n; i++)
		sum += got[i].data.u64;
	guest_eq(n, 3);
	guest_eq(sum, 13);
	guest_sys(epoll_ctl(epoll, EPOLL_CTL_DEL, both, &e));
	guest_eq(epoll_ctl(epoll, EPOLL_CTL_DEL, high, &e), -1);
	guest_eq(guest_sys(dup2(a[0], high)), high);
	guest_sys(epoll_ctl(epoll, EPOLL_CTL_DEL, high, &e));
}

/* A child waits in the epoll of its parent, for what only it has open. */
static void shared(void)
{
	int bell[2], status, epoll = new_epoll();
	struct epoll_event e;
	new_pipe(bell);
	add(epoll, bell[0], EPOLLIN | EPOLLEXCLUSIVE, 1);
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) {
		close(bell[1]);
		int own = (int)guest_sys(eventfd(0, 0));
		add(epoll, own, EPOLLIN, 2);
		guest_eq(epoll_wait(epoll, &e, 1, -1), 1);
		guest_eq(e.data.u64, 1);
		guest_check(guest_go());
		uint64_t one = 1;
		guest_eq(write(own, &one, 8), 8);
		_exit(0);
	}
	close(bell[0]);
	guest_sleep_ms(20);
	go();
	put(bell[1]);
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
	nothing(epoll);
}

static void *wait_in_pwait2(void *arg)
{
	struct timespec ts = {.tv_sec = 600};
	struct epoll_event e;
	guest_eq(syscall(441, *(int *)arg, &e, 1, &ts, NULL, 8), 1);
	guest_eq(e.data.u64, 3);
	return NULL;
}

/* Threads asleep in the calls of all kinds. */
static void asleep(void)
{
	int fds[2], epoll = new_epoll(), other = new_epoll();
	struct epoll_event e;
	sigset_t all;
	pthread_t thread;
	pid_t pid;
	new_pipe(fds);
	add(epoll, fds[0], EPOLLIN, 3);
	add(other, fds[0], EPOLLIN, 4);
	guest_eq(pthread_create(&thread, NULL, wait_in_pwait2, &epoll), 0);
	pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) {
		sigfillset(&all);
		guest_eq(epoll_pwait(other, &e, 1, 600000, &all), 1);
		guest_eq(e.data.u64, 4);
		guest_check(guest_go());
		_exit(0);
	}
	guest_sleep_ms(20);
	go();
	put(fds[1]);
	guest_eq(pthread_join(thread, NULL), 0);
	int status;
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
}

static void fifo(void)
{
	unlink("fifo");
	guest_sys(mkfifo("fifo", 0600));
	int reader = (int)guest_sys(open("fifo", O_RDONLY | O_NONBLOCK));
	int writer = (int)guest_sys(open("fifo", O_WRONLY | O_NONBLOCK));
	int epoll = new_epoll(), edges = new_epoll();
	char c;
	add(epoll, reader, EPOLLIN, 1);
	add(edges, writer, EPOLLOUT | EPOLLET, 2);
	add(edges, reader, EPOLLIN | EPOLLONESHOT, 4);
	put(writer);
	guest_eq(next(edges, NULL) + next(edges, NULL), 6);
	guest_eq(read(reader, &c, 1), 1);
	go();
	nothing(epoll);
	nothing(edges);
	int again = (int)guest_sys(open("fifo", O_WRONLY | O_NONBLOCK));
	put(again);
	guest_eq(next(epoll, NULL), 1);
	nothing(edges);
	guest_eq(read(reader, &c, 1), 1);
	nothing(epoll);
	close(writer);
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = 9};
	guest_sys(epoll_ctl(edges, EPOLL_CTL_MOD, reader, &e));
	put(again);
	guest_eq(next(edges, NULL), 9);
}

static void other_kinds(void)
{
	int epoll = new_epoll();
	struct itimerspec t = {.it_value.tv_sec = 3600};
	sigset_t set;
	struct signalfd_siginfo info;
	int timer = (int)guest_sys(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	guest_sys(sigprocmask(SIG_BLOCK, &set, NULL));
	int signals = (int)guest_sys(signalfd(-1, &set, SFD_NONBLOCK));
	guest_sys(timerfd_settime(timer, 0, &t, NULL));
	add(epoll, signals, EPOLLIN, 1);
	add(epoll, timer, EPOLLIN | EPOLLET, 2);
	go();
	guest_sys(raise(SIGUSR1));
	struct epoll_event e;
	guest_eq(epoll_wait(epoll, &e, 1, 1000), 1);
	guest_eq(e.data.u64, 1);
	guest_eq(read(signals, &info, sizeof(info)), sizeof(info));
	guest_eq(info.ssi_signo, SIGUSR1);
	t.it_value = (struct timespec){0, 10000000};
	guest_sys(timerfd_settime(timer, 0, &t, NULL));
	guest_eq(epoll_wait(epoll, &e, 1, 5000), 1);
	guest_eq(e.data.u64, 2);
	nothing(epoll);
}

/* A signal ends the wait of a process that sleeps on its signalfd alone. */
static void signal_wakes(void)
{
	sigset_t set;
	int status, epoll = new_epoll();
	struct epoll_event e;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	guest_sys(sigprocmask(SIG_BLOCK, &set, NULL));
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) {
		int fd = (int)guest_sys(signalfd(-1, &set, 0));
		add(epoll, fd, EPOLLIN, 6);
		guest_eq(epoll_wait(epoll, &e, 1, -1), 1);
		guest_eq(e.data.u64, 6);
		guest_check(guest_go());
		_exit(0);
	}
	guest_sleep_ms(20);
	go();
	guest_sys(kill(pid, SIGUSR2));
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
}

static const struct {
	const char *name;
	void (*run)(void);
} kinds[] = {
	{"level", level},   {"edge", edge},     {"oneshot", oneshot}, {"nested", nested},
	{"numbers", numbers}, {"shared", shared}, {"asleep", asleep},   {"fifo", fifo},
	{"kinds", other_kinds}, {"signal", signal_wakes},
};

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	for (unsigned k = 0; k < sizeof(kinds) / sizeof(*kinds); k++)
		if (argc > 2 && strcmp(kinds[k].name, argv[2]) == 0) {
			kinds[k].run();
			return 0;
		}
	guest_bad("no kind '%s'", argc > 2 ? argv[2] : "");
}
