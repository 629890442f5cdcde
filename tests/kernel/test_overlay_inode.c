/*
 * st_ino of a file that is found in a lower layer and then copied up: it is
 * the lower file's as long as the overlay has the inode in memory, without a
 * privilege and whatever becomes of the contents.
 *
 *	layer 1		file, number R: its contents do not matter
 *	layer 2..n	the file was moved out before the overlay was built
 *	upper		open(O_RDWR | O_TRUNC) copies up no byte; number R
 */
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel/facts.h"
#include "kernel/stack.h"

enum { ROTATIONS = 40, BIG_MB = 64, RUNS = 20 };

static void enter(void)
{
	t_tmpdir();
	fact_enter_userns();
	t_sys(unshare(CLONE_NEWNS));
}

static ino_t number_at(int dir_fd, const char *name)
{
	struct stat st;
	t_sys(fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW));
	return st.st_ino;
}

/* A child that stays what we are now, and drops caches when told to. */
struct dropper {
	pid_t pid;
	int to_fd, from_fd;
};

static struct dropper dropper_start(void)
{
	int to[2], from[2];
	t_sys(pipe2(to, O_CLOEXEC));
	t_sys(pipe2(from, O_CLOEXEC));
	pid_t pid = t_fork();
	if (pid == 0) {
		char c;
		close(to[1]);
		while (read(to[0], &c, 1) == 1) {
			int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
			c = fd >= 0 && write(fd, "2", 1) == 1 ? 'y' : 'n';
			t_sys(write(from[1], &c, 1));
		}
		_exit(0);
	}
	close(to[0]);
	close(from[1]);
	return (struct dropper){pid, to[1], from[0]};
}

/* false: only root may. */
static bool drop(struct dropper *d)
{
	char c = 'd';
	t_eq(write(d->to_fd, &c, 1), 1);
	t_eq(read(d->from_fd, &c, 1), 1);
	return c == 'y';
}

static void dropper_end(struct dropper *d)
{
	close(d->to_fd);
	close(d->from_fd);
	t_join(d->pid);
}

static void put_file(int layer, const char *text)
{
	char path[600];
	stack_layer_make(layer);
	stack_write(stack_layer_path(path, sizeof(path), layer, "fs/file"), text);
}

static void number_stays_while_held(bool ordinary)
{
	struct dropper d = dropper_start();
	if (ordinary)
		enter();
	t_tmpdir();
	put_file(1, "old contents");
	stack_layer_make(2);
	int mnt = (int)t_sys(stack_overlay(2, 1, 1, NULL));
	ino_t number = number_at(mnt, "file");
	int fd = (int)t_sys(openat(mnt, "file", O_RDWR | O_TRUNC | O_CLOEXEC));
	int pin = (int)t_sys(openat(mnt, "file", O_PATH | O_CLOEXEC));
	t_eq(number_at(mnt, "file"), number);
	t_eq(write(fd, "new", 3), 3);
	close(fd);
	bool dropped = drop(&d);
	t_eq(number_at(mnt, "file"), number);
	t_sys(renameat(mnt, "file", mnt, "renamed"));
	t_eq(number_at(mnt, "renamed"), number);
	drop(&d);
	t_eq(number_at(mnt, "renamed"), number);
	close(pin);
	drop(&d);
	bool same = number_at(mnt, "renamed") == number;
	t_note("held by O_PATH: the number stays%s; let go: it %s",
	       dropped ? ", caches dropped" : " (caches not dropped: not root)",
	       same ? "stays" : "is the copy's");
	/* Only who may decode file handles finds the origin once more. */
	t_assert(!dropped || same == !ordinary);
	close(mnt);
	dropper_end(&d);
}

TEST(copied_up_file_keeps_its_number_while_held)
{
	if (geteuid() != 0)
		t_skip("needs root");
	number_stays_while_held(false);
}

TEST(copied_up_file_keeps_its_number_while_held_ordinary_user)
{
	number_stays_while_held(true);
}

/*
 * Two overlays at once over the same layers, and another name or another mode
 * in each: both show the number.
 */
TEST(every_overlay_shows_the_number)
{
	enter();
	put_file(1, "one");
	stack_layer_make(2);
	stack_layer_make(3);
	int a = (int)t_sys(stack_overlay(2, 1, 1, NULL));
	int b = (int)t_sys(stack_overlay(3, 1, 1, NULL));
	ino_t number = number_at(a, "file");
	int a_fd = (int)t_sys(openat(a, "file", O_RDWR | O_TRUNC | O_CLOEXEC));
	int b_fd = (int)t_sys(openat(b, "file", O_RDWR | O_CLOEXEC));
	t_sys(fchmod(b_fd, 0400));
	t_eq(number_at(a, "file"), number);
	t_eq(number_at(b, "file"), number);
	/* One of them is unlinked: the other does not mind. */
	t_sys(unlinkat(b, "file", 0));
	t_eq(number_at(a, "file"), number);
	struct stat st;
	t_sys(fstat(b_fd, &st));
	t_eq(st.st_ino, number);
	close(a_fd);
	close(b_fd);
	close(a);
	close(b);
}

static void set_text(int fd, int n)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "layer %d", n);
	t_eq(pwrite(fd, text, (size_t)len, 0), len);
}

/* Layer n's file goes out of the way before the next overlay looks. */
static void put_aside(int n)
{
	char from[600], to[600];
	stack_layer_path(from, sizeof(from), n, "fs/file");
	stack_layer_path(to, sizeof(to), n, "aside");
	t_sys(rename(from, to));
}

TEST(number_survives_40_rotations, .timeout_s = 60)
{
	double us[ROTATIONS];
	char text[32];
	enter();
	put_file(1, "layer 1");
	stack_layer_make(2);
	int mnt = (int)t_sys(stack_overlay(2, 1, 1, NULL));
	ino_t number = number_at(mnt, "file");
	int fd = (int)t_sys(openat(mnt, "file", O_RDWR | O_CLOEXEC));
	for (int i = 0; i < ROTATIONS; i++) {
		int top = i + 3;
		set_text(fd, top - 1);
		stack_layer_make(top);
		int next = (int)t_sys(stack_overlay(top, top - 1, top - 1, NULL));
		put_aside(top - 1);
		double start = fact_now_us();
		int next_fd = (int)t_sys(openat(next, "file", O_RDWR | O_TRUNC | O_CLOEXEC));
		us[i] = fact_now_us() - start;
		set_text(next_fd, top);
		close(fd);
		close(mnt);
		fd = next_fd;
		mnt = next;
		t_eq(number_at(mnt, "file"), number);
		snprintf(text, sizeof(text), "layer %d", top);
		t_eq(pread(fd, text + 16, 15, 0), (ssize_t)strlen(text));
		t_mem_eq(text + 16, text, strlen(text));
	}
	double p50 = fact_quantile(us, ROTATIONS, 0.5);
	t_note("truncating open of a lower file: p50 %.0f us, p95 %.0f us", p50,
	       fact_quantile(us, ROTATIONS, 0.95));
	close(fd);
	close(mnt);
}

TEST(truncating_open_copies_no_data, .timeout_s = 60)
{
	char path[600];
	enter();
	put_file(1, "");
	int fd = (int)t_sys(open(stack_layer_path(path, sizeof(path), 1, "fs/file"),
				 O_WRONLY | O_CLOEXEC));
	static char mb[1 << 20];
	memset(mb, 'x', sizeof(mb));
	for (int i = 0; i < BIG_MB; i++)
		t_eq(write(fd, mb, sizeof(mb)), sizeof(mb));
	close(fd);
	stack_layer_make(2);
	int mnt = (int)t_sys(stack_overlay(2, 1, 1, NULL));
	double start = fact_now_us();
	fd = (int)t_sys(openat(mnt, "file", O_RDWR | O_TRUNC | O_CLOEXEC));
	double us = fact_now_us() - start;
	struct stat st;
	t_sys(fstat(fd, &st));
	t_eq(st.st_blocks, 0);
	t_eq(st.st_ino, number_at(AT_FDCWD, path));
	t_note("truncating open of %d MiB: %.0f us", BIG_MB, us);
	close(fd);
	close(mnt);
}

/* What does not work: with two names the number is the copy's. */
TEST(file_with_two_names_loses_its_number)
{
	char path[600], other[600];
	enter();
	put_file(1, "two names");
	stack_layer_path(path, sizeof(path), 1, "fs/file");
	t_sys(link(path, stack_layer_path(other, sizeof(other), 1, "fs/other")));
	stack_layer_make(2);
	int mnt = (int)t_sys(stack_overlay(2, 1, 1, NULL));
	int fd = (int)t_sys(openat(mnt, "file", O_RDWR | O_TRUNC | O_CLOEXEC));
	t_assert(number_at(mnt, "file") != number_at(AT_FDCWD, path));
	close(fd);
	close(mnt);
}
