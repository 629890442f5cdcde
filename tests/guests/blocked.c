/*
 * A process blocked in one system call, which must not return before there is
 * a reason: no EINTR, no early end, the right result at the end. A child gives
 * the reason once the file of argv[1] is there.
 */
#include "guest.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int fds[2];
static uint32_t *word;
static volatile sig_atomic_t signals;

static void on_signal(int sig)
{
	signals++;
}

static void block_read(void)
{
	char c = 0;
	guest_eq(read(fds[0], &c, 1), 1);
	guest_eq(c, 'w');
	guest_check(guest_go());
}

static void check_byte(void)
{
	guest_check(guest_go());
	block_read();
}

static void block_write(void)
{
	/* the pipe is full; the child empties it */
	guest_eq(write(fds[1], "x", 1), 1);
	guest_check(guest_go());
}

static void block_poll(void)
{
	struct pollfd p = {.fd = fds[0], .events = POLLIN};
	guest_eq(poll(&p, 1, -1), 1);
	guest_eq(p.revents, POLLIN);
	check_byte();
}

static void block_poll_timeout(void)
{
	struct pollfd p = {.fd = fds[0], .events = POLLIN};
	guest_eq(poll(&p, 1, 600000), 1);
	check_byte();
}

static void block_ppoll(void)
{
	struct pollfd p = {.fd = fds[0], .events = POLLIN};
	struct timespec ts = {.tv_sec = 600};
	sigset_t set;
	sigfillset(&set);
	guest_eq(ppoll(&p, 1, &ts, &set), 1);
	check_byte();
}

static void block_select(void)
{
	fd_set set;
	FD_ZERO(&set);
	FD_SET(fds[0], &set);
	guest_eq(select(fds[0] + 1, &set, NULL, NULL, NULL), 1);
	guest_check(FD_ISSET(fds[0], &set));
	check_byte();
}

static void block_pselect(void)
{
	fd_set set;
	struct timespec ts = {.tv_sec = 600};
	FD_ZERO(&set);
	FD_SET(fds[0], &set);
	guest_eq(pselect(fds[0] + 1, &set, NULL, NULL, &ts, NULL), 1);
	check_byte();
}

static void block_epoll(void)
{
	int epoll = (int)guest_sys(epoll_create1(0));
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = 42}, got;
	guest_sys(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[0], &event));
	guest_eq(epoll_wait(epoll, &got, 1, -1), 1);
	guest_eq(got.data.u64, 42);
	check_byte();
}

static void block_futex(void)
{
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == 0) {
		long r = syscall(SYS_futex, word, FUTEX_WAIT, 0, NULL, NULL, 0);
		guest_check(r == 0 || errno == EAGAIN);
	}
	guest_check(guest_go());
}

static void block_futex_timeout(void)
{
	struct timespec ts = {.tv_sec = 600};
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == 0) {
		long r = syscall(SYS_futex, word, FUTEX_WAIT, 0, &ts, NULL, 0);
		guest_check(r == 0 || errno == EAGAIN);
	}
	guest_check(guest_go());
}

static void block_pause(void)
{
	guest_eq(pause(), -1);
	guest_eq(errno, EINTR);
	guest_eq(signals, 1);
	guest_check(guest_go());
}

static void block_sigsuspend(void)
{
	sigset_t all, now;
	sigfillset(&all);
	sigdelset(&all, SIGUSR1);
	guest_eq(sigsuspend(&all), -1);
	guest_eq(errno, EINTR);
	guest_eq(signals, 1);
	sigprocmask(SIG_SETMASK, NULL, &now);
	guest_eq(sigismember(&now, SIGUSR2), 0);
	guest_check(guest_go());
}

static void block_sigwait(void)
{
	sigset_t set;
	siginfo_t info;
	struct timespec ts = {.tv_sec = 600};
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	guest_eq(sigtimedwait(&set, &info, &ts), SIGUSR1);
	guest_check(guest_go());
}

static void block_wait(void)
{
	int status;
	guest_check(wait(&status) > 0);
	guest_eq(status, 0);
	guest_check(guest_go());
}

static void block_waitid(void)
{
	siginfo_t info;
	guest_sys(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT));
	guest_eq(info.si_status, 0);
	guest_check(guest_go());
}

static void block_lock(void)
{
	/* the child holds the lock until it ends */
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = (int)guest_sys(open("lock", O_RDWR));
	guest_sys(fcntl(fd, F_SETLKW, &l));
	guest_check(guest_go());
}

static void wake_byte(pid_t parent)
{
	guest_eq(write(fds[1], "w", 1), 1);
}

static void wake_drain(pid_t parent)
{
	static char bytes[1 << 16];
	guest_check(read(fds[0], bytes, sizeof(bytes)) > 0);
}

static void wake_word(pid_t parent)
{
	__atomic_store_n(word, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, word, FUTEX_WAKE, 10, NULL, NULL, 0);
}

static void wake_signal(pid_t parent)
{
	guest_sys(kill(parent, SIGUSR1));
}

static void wake_nothing(pid_t parent)
{
}

static const struct {
	const char *name;
	void (*block)(void);
	void (*wake)(pid_t parent);
} kinds[] = {
	{"read", block_read, wake_byte},
	{"write", block_write, wake_drain},
	{"poll", block_poll, wake_byte},
	{"poll-timeout", block_poll_timeout, wake_byte},
	{"ppoll", block_ppoll, wake_byte},
	{"select", block_select, wake_byte},
	{"pselect", block_pselect, wake_byte},
	{"epoll", block_epoll, wake_byte},
	{"futex", block_futex, wake_word},
	{"futex-timeout", block_futex_timeout, wake_word},
	{"pause", block_pause, wake_signal},
	{"sigsuspend", block_sigsuspend, wake_signal},
	{"sigtimedwait", block_sigwait, wake_signal},
	{"wait4", block_wait, wake_nothing},
	{"waitid", block_waitid, wake_nothing},
	{"lock", block_lock, wake_nothing},
};

static void __attribute__((noreturn)) child_main(void (*wake)(pid_t), int up_fd)
{
	pid_t parent = getppid();
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = (int)guest_sys(open("lock", O_CREAT | O_RDWR, 0644));
	guest_sys(fcntl(fd, F_SETLK, &l));
	guest_eq(write(up_fd, "u", 1), 1);
	close(up_fd);
	guest_wait_go();
	guest_sleep_ms(30);
	wake(parent);
	_exit(0);
}

int main(int argc, char **argv)
{
	static char bytes[4096];
	int up[2];
	unsigned k = 0;
	guest_start(argc, argv);
	const char *kind = argc > 2 ? argv[2] : "read";
	while (k < sizeof(kinds) / sizeof(*kinds) && strcmp(kinds[k].name, kind) != 0)
		k++;
	if (k == sizeof(kinds) / sizeof(*kinds))
		guest_bad("no kind '%s'", kind);
	struct sigaction sa = {.sa_handler = on_signal};
	guest_sys(sigaction(SIGUSR1, &sa, NULL));
	guest_sys(pipe(fds));
	guest_sys(pipe(up));
	word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	guest_check(word != MAP_FAILED);
	if (strcmp(kind, "write") == 0) {
		guest_sys(fcntl(fds[1], F_SETFL, O_NONBLOCK));
		while (write(fds[1], bytes, sizeof(bytes)) > 0)
			;
		guest_sys(fcntl(fds[1], F_SETFL, 0));
	}
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) {
		close(up[0]);
		child_main(kinds[k].wake, up[1]);
	}
	close(up[1]);
	guest_eq(read(up[0], bytes, 1), 1);
	close(up[0]);
	guest_ready();
	kinds[k].block();
	return 0;
}
