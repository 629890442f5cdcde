/* Looking at a live terminal leaves it as it was, whichever kernel call of it fails. */
#include "parts/tty_queue.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/harness.h"
#include "sys/fault.h"

/* What a terminal is like before it is looked at. */
struct scene {
	const char *name;
	bool by_lines, packets, by_key, by_call;
	const char *typed, *said;
};

static const struct scene scenes[] = {
	{ "lines", true, false, false, false, "one\ntwo\nhalf", "out" },
	{ "bytes", false, false, false, false, "keys", "out" },
	{ "packets", true, true, false, false, "one\ntwo\n", "" },
	{ "stopped by a key", true, false, true, false, "one\n", "out" },
	{ "stopped by a call", false, false, false, true, "keys", "out" },
};

static void await_input(int fd, int n)
{
	int have = 0;
	while (have < n) {
		t_sys(poll(NULL, 0, 1));
		t_sys(ioctl(fd, FIONREAD, &have));
	}
}

static void set_packets(int fd, int on)
{
	t_sys(ioctl(fd, TIOCPKT, &on));
}

static void scene_open(const struct scene *s, struct tty_ends *ends, struct image_tty *t)
{
	ends->master = (int)t_sys(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
	t_sys(unlockpt(ends->master));
	ends->slave = (int)t_sys(
		ioctl(ends->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK));
	*t = (struct image_tty){ .packets = s->packets,
				 .input = VEC_INIT(char),
				 .output = VEC_INIT(char),
				 .lines = VEC_INIT(uint32_t) };
	t_ok(sys_tty_get_settings(ends->slave, &t->term));
	t->term.lflag &= ~(uint32_t)ECHO;
	t->term.oflag = 0;
	if (!s->by_lines)
		t->term.lflag &= ~(uint32_t)ICANON;
	t_ok(sys_tty_set_settings(ends->slave, &t->term));
	size_t typed = strlen(s->typed), said = strlen(s->said);
	/* half a line does not count: a last byte that is seen to arrive does */
	t_eq(write(ends->master, s->typed, typed), typed);
	t_eq(write(ends->slave, s->said, said), said);
	const char *end = strrchr(s->typed, '\n');
	await_input(ends->slave, s->by_lines ? (int)(end + 1 - s->typed) : (int)typed);
	await_input(ends->master, (int)said);
	if (s->by_key) {
		t_eq(write(ends->master, "\x13", 1), 1);
		while (sys_tty_poll(ends->slave, POLLOUT) & POLLOUT)
			t_sys(poll(NULL, 0, 1));
	}
	if (s->by_call)
		t_sys(ioctl(ends->slave, TCXONC, TCOOFF));
	set_packets(ends->master, s->packets);
}

/* All that there is to read, one line a read. */
static void t_reads(int fd, const char *want, bool by_lines)
{
	char have[256] = "";
	size_t n = 0;
	while (n < strlen(want)) {
		ssize_t r = read(fd, have + n, sizeof(have) - 1 - n);
		t_assert(r > 0 || errno == EAGAIN);
		if (r < 0) {
			t_sys(poll(NULL, 0, 1));
			continue;
		}
		n += (size_t)r;
		if (by_lines)
			t_eq(have[n - 1], '\n');
	}
	t_str_eq(have, want);
	t_eq(read(fd, have, sizeof(have)), -1);
	t_eq(errno, EAGAIN);
}

static void scene_check(const struct scene *s, const struct tty_ends *ends,
			const struct image_tty *t)
{
	struct sys_termios now;
	int packets;
	t_ok(sys_tty_get_settings(ends->slave, &now));
	t_eq(memcmp(&now, &t->term, sizeof(now)), 0);
	t_eq(t_sys(fcntl(ends->master, F_GETFL)) & O_NONBLOCK, 0);
	t_sys(ioctl(ends->master, TIOCGPKT, &packets));
	t_eq(packets, s->packets);
	bool stopped = !(sys_tty_poll(ends->slave, POLLOUT) & POLLOUT);
	t_eq(stopped, s->by_key || s->by_call);
	set_packets(ends->master, 0);
	if (s->by_call)
		t_sys(ioctl(ends->slave, TCXONC, TCOON));
	if (s->by_key)
		t_eq(write(ends->master, "\x11", 1), 1);
	if (s->by_lines)	/* an end for the half */
		t_eq(write(ends->master, ".\n", 2), 2);
	char want[256];
	snprintf(want, sizeof(want), "%s%s", s->typed, s->by_lines ? ".\n" : "");
	t_reads(ends->slave, want, s->by_lines);
	t_sys(fcntl(ends->master, F_SETFL, O_RDWR | O_NONBLOCK));
	t_reads(ends->master, s->said, false);
}

static void scene_close(struct tty_ends *ends, struct image_tty *t)
{
	vec_deinit(&t->input);
	vec_deinit(&t->output);
	vec_deinit(&t->lines);
	close(ends->slave);
	close(ends->master);
}

TEST(a_look_leaves_a_terminal_as_it_was_whatever_fails, .timeout_s = 120)
{
	for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
		const struct scene *s = &scenes[i];
		bool fired = true;
		for (uint64_t n = 1; fired; n++) {
			struct tty_ends ends;
			struct image_tty t;
			scene_open(s, &ends, &t);
			sys_fault_arm(n, n % 2 ? EIO : EINTR);
			int r = tty_peek(&ends, &t);
			const char *call = sys_fault_fired();
			fired = call;
			sys_fault_arm(0, 0);
			t_note("%s, call %llu (%s): %d", s->name, (unsigned long long)n,
			       call ? call : "none", r);
			t_assert(fired || r == 0);
			scene_check(s, &ends, &t);
			scene_close(&ends, &t);
		}
	}
}
