/*
 * tty_open.c - pseudo-terminals made again, by the keeper, in the devpts of
 * the new root.
 *
 * devpts hands out the lowest number that is free (fs/devpts/inode.c): the
 * terminals are made in ascending order, and others fill the gaps until all
 * are there. The keeper holds a slave of each meanwhile. Once all descriptions
 * are open the terminals get their queues and settings, and what nobody had is
 * closed: a slave, so that the master finds it closed; a master, so that the
 * slaves are hung up.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "parts/kind.h"
#include "parts/tty.h"
#include "sys/fd.h"
#include "sys/file.h"

static struct tty_ends *ends_of(struct files_open *o, int tty)
{
	return vec_at(&o->ttys, (size_t)tty);
}

/* The terminal with the lowest number >= from: its index, or IMAGE_NONE. */
static int next_tty(const struct tree_image *im, unsigned int from)
{
	int best = IMAGE_NONE;
	for (int i = 0; i < (int)im->ttys.n; i++)
		if (image_tty(im, i)->number >= from &&
		    (best == IMAGE_NONE || image_tty(im, i)->number < image_tty(im, best)->number))
			best = i;
	return best;
}

/* Masters until one has the number; the others stay open in fillers. */
static int open_number(struct files_open *o, unsigned int number, struct vec *fillers)
{
	for (;;) {
		scoped_fd int fd = sys_tty_master(o->root_fd, O_RDWR);
		int got = 0;
		int r = fd < 0 ? fd : sys_tty_get(fd, TIOCGPTN, &got);
		if (r < 0)
			return r;
		if ((unsigned int)got == number)
			return take_fd(&fd);
		int *filler = (unsigned int)got < number ? vec_add(fillers) : NULL;
		if (!filler)
			return (unsigned int)got < number ? -ENOMEM : -EEXIST;
		*filler = take_fd(&fd);
	}
}

static int open_pair(struct files_open *o, int tty, struct vec *fillers)
{
	const struct image_tty *t = image_tty(o->image, tty);
	struct tty_ends *ends = ends_of(o, tty);
	int r = ends->master = open_number(o, t->number, fillers);
	if (r >= 0)
		r = sys_tty_set(ends->master, TIOCSPTLCK, 0);
	if (r == 0)
		r = ends->slave = sys_tty_peer(ends->master, O_RDWR | O_NONBLOCK);
	if (r >= 0)
		r = sys_fchownat(ends->slave, "", t->uid, t->gid, AT_EMPTY_PATH);
	return r < 0 ? r : sys_fchmod(ends->slave, t->mode);
}

int tty_open_all(struct files_open *o, struct err *e)
{
	struct vec fillers = VEC_INIT(int);
	int r = vec_reserve(&o->ttys, o->image->ttys.n);
	while (r == 0 && o->ttys.n < o->image->ttys.n)
		*(struct tty_ends *)vec_add(&o->ttys) = (struct tty_ends){ -1, -1 };
	for (int i = next_tty(o->image, 0); r == 0 && i != IMAGE_NONE;) {
		unsigned int number = image_tty(o->image, i)->number;
		r = open_pair(o, i, &fillers);
		if (r)
			err_set(e, -r, "make the terminal /dev/pts/%u again: %s", number,
				strerror(-r));
		i = next_tty(o->image, number + 1);
	}
	vec_each(int, fd, &fillers)
		cleanup_fd(fd);
	vec_deinit(&fillers);
	return r;
}

/* What open(2) left in them, but for what is only about opening. */
static int set_flags(int fd, const struct image_file *f)
{
	return sys_fcntl(fd, F_SETFL, f->flags & (O_NONBLOCK | O_APPEND | O_NOATIME | O_DIRECT));
}

int tty_open_file(struct files_open *o, int file)
{
	const struct image_file *f = image_file(o->image, file);
	const struct tty_ends *ends = ends_of(o, f->tty);
	int flags = (f->flags & (O_ACCMODE | O_NONBLOCK)) | (f->says_cloexec ? O_CLOEXEC : 0);
	scoped_fd int fd =
		f->tty_end == TTY_MASTER ? sys_dup(ends->master) :
		f->tty_end == TTY_SLAVE	 ? sys_tty_peer(ends->master, flags) :
					   sys_tty_open_current(o->root_fd, ends->slave, flags);
	int r = fd < 0 ? fd : set_flags(fd, f);
	if (r < 0)
		return r;
	*kind_fd(o, file) = take_fd(&fd);
	return 0;
}

static int give_pair(const struct image_tty *t, const struct tty_ends *ends)
{
	int flags = sys_fcntl(ends->master, F_GETFL, 0);
	int r = flags < 0 ? flags : sys_fcntl(ends->master, F_SETFL, flags | O_NONBLOCK);
	if (r == 0)
		r = tty_give(ends, t);
	if (r == 0)
		r = sys_tty_set_winsize(ends->master, &t->size);
	if (r == 0 && t->packets)
		r = sys_tty_set(ends->master, TIOCPKT, 1);
	if (r == 0 && t->exclusive)
		r = sys_tty_set_exclusive(ends->slave, true);
	if (r == 0 && t->locked)
		r = sys_tty_set(ends->master, TIOCSPTLCK, 1);
	return r ? r : sys_fcntl(ends->master, F_SETFL, flags);
}

static int add_outer(struct files_open *o, const struct image_tty *t, struct tty_ends *ends)
{
	enum { STREAM_OF_TERMINAL = 1 };	/* stdout: see exec/command.h */
	struct files_outer *outer = vec_add(&o->outers);
	if (!outer)
		return -ENOMEM;
	*outer = (struct files_outer){ t->command, STREAM_OF_TERMINAL, take_fd(&ends->master) };
	return sys_fcntl(outer->fd, F_SETFL, O_NONBLOCK);
}

int tty_open_end(struct files_open *o, struct err *e)
{
	for (int i = 0; i < (int)o->image->ttys.n; i++) {
		const struct image_tty *t = image_tty(o->image, i);
		struct tty_ends *ends = ends_of(o, i);
		int r = t->is_dead ? 0 : give_pair(t, ends);
		if (r == 0 && t->command)
			r = add_outer(o, t, ends);
		if (r)
			return err_set(e, -r, "fill the terminal /dev/pts/%u again: %s", t->number,
				       strerror(-r));
		cleanup_fd(&ends->slave);
		cleanup_fd(&ends->master);
	}
	return 0;
}

void tty_open_deinit(struct files_open *o)
{
	vec_each(struct tty_ends, ends, &o->ttys) {
		cleanup_fd(&ends->slave);
		cleanup_fd(&ends->master);
	}
	vec_deinit(&o->ttys);
}
