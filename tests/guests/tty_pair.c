/*
 * Terminals both of whose ends are here: settings, sizes, numbers, both
 * queues, lines with their ends, packet mode, a locked, a closed and a hung up one.
 */
#include "guest.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>

struct pair {
	int master, slave;
	int number;
};

static int open_slave(const struct pair *p, int flags)
{
	char path[32];
	snprintf(path, sizeof(path), "/dev/pts/%d", p->number);
	return (int)guest_sys(open(path, flags | O_NOCTTY));
}

static struct pair make(void)
{
	struct pair p;
	int unlock = 0;
	p.master = (int)guest_sys(open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
	guest_sys(ioctl(p.master, TIOCSPTLCK, &unlock));
	guest_sys(ioctl(p.master, TIOCGPTN, &p.number));
	p.slave = open_slave(&p, O_RDWR);
	return p;
}

static void raw(const struct pair *p)
{
	struct termios t;
	guest_sys(tcgetattr(p->slave, &t));
	cfmakeraw(&t);
	guest_sys(tcsetattr(p->slave, TCSANOW, &t));
}

static void put(int fd, const char *bytes, size_t n)
{
	guest_eq(write(fd, bytes, n), n);
}

static void expect(int fd, const char *bytes, size_t n)
{
	char have[8192];
	guest_eq(read(fd, have, sizeof(have)), n);
	if (memcmp(have, bytes, n))
		guest_bad("read '%.*s', not '%.*s'", (int)n, have, (int)n, bytes);
}

#define PUT(fd, text) put(fd, text, sizeof(text) - 1)
#define EXPECT(fd, text) expect(fd, text, sizeof(text) - 1)

static void await_queue(int fd, int n)
{
	int have = -1;
	for (int i = 0; i < 1000 && have != n; i++) {
		guest_sys(ioctl(fd, FIONREAD, &have));
		if (have != n)
			guest_sleep_ms(1);
	}
	guest_eq(have, n);
}

static void expect_nothing(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	guest_eq(poll(&p, 1, 0), 0);
}

int main(int argc, char **argv)
{
	struct winsize size = { 33, 99, 7, 8 }, had_size;
	struct termios term, had;
	int value;
	struct stat st;
	guest_start(argc, argv);
	struct pair lines = make(), gap = make(), bytes = make(), packets = make(), dead = make(),
		    closed = make(), stop = make();
	guest_sys(close(gap.slave));
	guest_sys(close(gap.master));

	/* lines, with settings of their own */
	guest_sys(tcgetattr(lines.slave, &term));
	term.c_cc[VINTR] = 7;
	term.c_cc[VEOL] = '|';
	term.c_lflag &= ~(tcflag_t)ECHO;
	term.c_iflag |= IUTF8;
	cfsetspeed(&term, B19200);
	guest_sys(tcsetattr(lines.slave, TCSANOW, &term));
	guest_sys(tcgetattr(lines.slave, &term));
	guest_sys(ioctl(lines.slave, TIOCSWINSZ, &size));
	PUT(lines.master, "one\ntwo|a\x16\x03 b\n\x04half\x04\x16\x04\x16\nx\nnot fini");
	await_queue(lines.slave, 4 + 4 + 5 + 0 + 4 + 4);
	int reader = open_slave(&lines, O_RDONLY | O_NONBLOCK);
	guest_sys(fchmod(lines.slave, 0600));

	/* bytes, both ways, more than a reader's queue has */
	raw(&bytes);
	static char much[6000], got[sizeof(much)];
	for (size_t i = 0; i < sizeof(much); i++)
		much[i] = (char)(i * 7 + i / 256);
	put(bytes.master, much, sizeof(much));
	put(bytes.slave, much, 3000);
	await_queue(bytes.slave, 4095);
	await_queue(bytes.master, 3000);
	guest_sys(ioctl(bytes.slave, TIOCEXCL));

	value = 1;
	raw(&packets);
	guest_sys(ioctl(packets.master, TIOCPKT, &value));
	PUT(packets.slave, "packet");
	await_queue(packets.master, 6);

	guest_sys(close(dead.master));
	guest_sys(close(closed.slave));
	guest_sys(ioctl(closed.master, TIOCSPTLCK, &value));
	guest_sys(tcflow(stop.slave, TCOOFF));
	guest_ready();
	guest_wait_go();

	guest_sys(tcgetattr(lines.slave, &had));
	guest_check(!memcmp(&had, &term, sizeof(had)));
	guest_sys(ioctl(lines.master, TIOCGWINSZ, &had_size));
	guest_check(!memcmp(&had_size, &size, sizeof(size)));
	guest_sys(fstat(lines.slave, &st));
	guest_eq(st.st_mode & 07777, 0600);
	guest_eq(st.st_rdev, (136 << 8) + lines.number);
	guest_eq(fcntl(reader, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY | O_NONBLOCK);
	guest_eq(fcntl(lines.slave, F_GETFL) & O_NONBLOCK, 0);
	guest_eq(fcntl(lines.master, F_GETFD), FD_CLOEXEC);
	guest_sys(ioctl(lines.master, TIOCGPTN, &value));
	guest_eq(value, lines.number);
	EXPECT(lines.slave, "one\n");
	EXPECT(lines.slave, "two|");
	EXPECT(reader, "a\x03 b\n");
	EXPECT(lines.slave, "");
	EXPECT(lines.slave, "half");
	EXPECT(lines.slave, "\x04\nx\n");
	guest_eq(read(reader, &value, 1), -1);
	guest_eq(errno, EAGAIN);
	PUT(lines.master, "\x7f\x7fnished\n");
	EXPECT(lines.slave, "not finished\n");
	expect_nothing(lines.master);

	for (size_t n = 0; n < sizeof(got);)
		n += (size_t)guest_sys(read(bytes.slave, got + n, sizeof(got) - n));
	guest_check(!memcmp(got, much, sizeof(much)));
	expect_nothing(bytes.slave);
	expect(bytes.master, much, 3000);
	expect_nothing(bytes.master);
	guest_sys(ioctl(bytes.slave, TIOCGEXCL, &value));
	guest_eq(value, 1);

	guest_sys(ioctl(packets.master, TIOCGPKT, &value));
	guest_eq(value, 1);
	EXPECT(packets.master, "\0packet");
	guest_sys(tcflush(packets.slave, TCIFLUSH));
	char status;
	guest_eq(read(packets.master, &status, 1), 1);
	guest_eq(status, TIOCPKT_FLUSHREAD);

	guest_eq(read(dead.slave, &value, 1), 0);
	guest_eq(write(dead.slave, &value, 1), -1);
	guest_eq(errno, EIO);
	guest_sys(close(dead.slave));

	guest_eq(read(closed.master, &value, 1), -1);
	guest_eq(errno, EIO);
	guest_sys(ioctl(closed.master, TIOCGPTLCK, &value));
	guest_eq(value, 1);

	struct pollfd out = { .fd = stop.slave, .events = POLLOUT };
	guest_eq(poll(&out, 1, 0), 0);
	guest_sys(tcflow(stop.slave, TCOON));
	guest_eq(poll(&out, 1, 0), 1);

	/* the number in the gap is the lowest that is free */
	struct pair next = make();
	guest_eq(next.number, gap.number);
	return 0;
}
