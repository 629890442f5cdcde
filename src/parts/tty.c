/*
 * tty.c - pseudo-terminals, looked at.
 *
 * A terminal is a pair: a master, which a program inside (tmux, script, ssh)
 * or the keeper has (`mulligan shell`), and a slave, /dev/pts/N. Descriptions
 * of both refer to one image_tty. What belongs to the pair is asked of the
 * master, by a copy of the guest's descriptor.
 *
 * A slave whose master was closed is hung up for good (tty_io.c,
 * hung_up_tty_fops); its number is taken as long as somebody has it open.
 *
 * Looking must not open the slave of a terminal that never had one: the master
 * would find it closed, which is not the same as not opened yet (pty.c,
 * TTY_OTHER_CLOSED). Such a one is refused.
 */
#include "parts/tty.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "parts/kind.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/inroot.h"
#include "sys/proc.h"

enum { NUMBER_MAX = 1024 };	/* that many are opened until one has its number */

static bool is_tty(const struct kind_look *at, const struct image_file *f)
{
	unsigned int major_number = major(at->fd->rdev), minor_number = minor(at->fd->rdev);
	if ((f->flags & O_PATH) || !S_ISCHR(f->mode))
		return false;
	return major_number == SYS_TTY_SLAVE_MAJOR ||
	       (major_number == SYS_TTY_CURRENT_MAJOR &&
		(minor_number == SYS_TTY_CURRENT_MINOR || minor_number == SYS_TTY_MASTER_MINOR));
}

static int find(const struct tree_image *im, unsigned int number)
{
	vec_each(struct image_tty, t, &im->ttys)
		if (t->number == number)
			return (int)(t - (struct image_tty *)im->ttys.data);
	return IMAGE_NONE;
}

/* Index of the terminal, which is new if need be. */
static int find_or_add(struct look *l, unsigned int number)
{
	int i = find(l->image, number);
	if (i != IMAGE_NONE)
		return i;
	struct look_tty *seen = vec_add(&l->ttys);
	struct image_tty *t = seen ? vec_add(&l->image->ttys) : NULL;
	if (!t)
		return -ENOMEM;
	*seen = (struct look_tty){ .master_fd = -1, .slave_fd = -1 };
	*t = (struct image_tty){ .number = number,
				 .by = IMAGE_NONE,
				 .input = VEC_INIT(char),
				 .lines = VEC_INIT(uint32_t),
				 .output = VEC_INIT(char) };
	return (int)l->image->ttys.n - 1;
}

static struct look_tty *seen_of(struct look *l, int tty)
{
	return vec_at(&l->ttys, (size_t)tty);
}

/* Which terminal is it? Its number or -errno; -EIO: hung up. */
static int number_of(const struct kind_look *at, const struct image_file *f, int fd)
{
	int value = 0;
	if (f->tty_end == TTY_SLAVE)
		return (int)minor(at->fd->rdev);
	int r = sys_tty_get(fd, f->tty_end == TTY_MASTER ? TIOCGPTN : TIOCGDEV, &value);
	if (r || f->tty_end == TTY_MASTER)
		return r ? r : value;
	dev_t dev = makedev((value >> 8) & 0xfff, (value & 0xff) | ((value >> 12) & 0xfff00));
	return major(dev) == SYS_TTY_SLAVE_MAJOR ? (int)minor(dev) : -ENODEV;
}

static void move_fd(int *to, int *from)
{
	cleanup_fd(to);
	*to = take_fd(from);
}

static int look_tty(const struct kind_look *at, struct image_file *f, struct err *e)
{
	unsigned int major_number = major(at->fd->rdev);
	f->tty_end = major_number == SYS_TTY_SLAVE_MAJOR ? TTY_SLAVE :
		     minor(at->fd->rdev) == SYS_TTY_MASTER_MINOR ? TTY_MASTER : TTY_CURRENT;
	scoped_fd int copy = sys_pidfd_getfd(at->fp->pidfd, at->fd->fd);
	if (copy < 0)
		return look_refuse(e, at->p, at->fd->fd, "copy its terminal: %s", strerror(-copy));
	int number = number_of(at, f, copy);
	if (number == -EIO)
		return kind_refuse(at, "/dev/tty of a terminal that was hung up", e);
	if (number < 0 || number >= NUMBER_MAX)
		return kind_refuse(at, "a terminal of this kind", e);
	if (f->tty_end == TTY_MASTER && (f->flags & O_ACCMODE) != O_RDWR)
		return kind_refuse(at, "a terminal's master not open for reading and writing", e);
	f->tty = find_or_add(at->l, (unsigned int)number);
	if (f->tty < 0)
		return err_set(e, ENOMEM, "out of memory");
	struct look_tty *seen = seen_of(at->l, f->tty);
	int discipline;
	int flags = sys_fcntl(copy, F_GETFL, 0);
	if (flags < 0)
		return look_refuse(e, at->p, at->fd->fd, "F_GETFL: %s", strerror(-flags));
	f->says_cloexec = flags & O_CLOEXEC;
	if (f->tty_end == TTY_MASTER)
		seen->master_fd = take_fd(&copy);
	else if (sys_tty_get(copy, TIOCGETD, &discipline) == -EIO)
		seen->has_dead = true;
	else
		move_fd(&seen->slave_fd, &copy);
	return 0;
}

const struct file_kind kind_tty = {
	.kind = FILE_TTY,
	.is = is_tty,
	.look = look_tty,
	.open = tty_open_file,
};

/* A number that the keeper sees, as the sandbox sees it. -ESRCH: nobody is in it. */
static int group_inside(struct look *l, pid_t pid, bool session, pid_t *inside)
{
	for (size_t i = 0; i < l->frozen->procs.n; i++) {
		const struct procfs_stat *st = &frozen_proc(l->frozen, i)->stat;
		if ((session ? st->session : st->pgrp) != pid)
			continue;
		*inside = session ? look_proc(l, (int)i)->sid : look_proc(l, (int)i)->pgid;
		return 0;
	}
	return -ESRCH;
}

static int refuse(const struct image_tty *t, struct err *e, const char *why)
{
	err_set(e, ENOTSUP, "cannot save the terminal /dev/pts/%u: %s", t->number, why);
	return -ENOTSUP;
}

static int failed(const struct image_tty *t, int r, struct err *e)
{
	return err_set(e, -r, "look at the terminal /dev/pts/%u: %s", t->number, strerror(-r));
}

/* Whose controlling terminal it is. */
static int look_session(struct look *l, struct image_tty *t, int master, struct err *e)
{
	pid_t sid = 0, pgrp = 0;
	int r = sys_tty_get(master, TIOCGSID, &sid);
	if (r == -ENOTTY)
		return 0;
	if (r == 0)
		r = sys_tty_get(master, TIOCGPGRP, &pgrp);
	if (r == 0)
		r = group_inside(l, sid, true, &t->sid);
	if (r)
		return failed(t, r, e);
	r = group_inside(l, pgrp, false, &t->pgrp);
	if (r == -ESRCH)
		return err_set(e, EAGAIN, "the foreground process group of the terminal /dev/pts/%u "
			       "has just ended", t->number);
	return r ? failed(t, r, e) : 0;
}

/* What the slave's file in /dev/pts says. */
static int look_node(struct look *l, struct image_tty *t)
{
	char path[32];
	struct stat st;
	snprintf(path, sizeof(path), "dev/pts/%u", t->number);
	scoped_fd int fd = sys_inroot_open(l->root_fd, path, O_PATH);
	int r = fd < 0 ? fd : sys_fstat(fd, &st);
	if (r)
		return r;
	t->uid = st.st_uid;
	t->gid = st.st_gid;
	t->mode = st.st_mode & 07777;
	return 0;
}

static int look_settings(struct image_tty *t, const struct tty_ends *ends, struct err *e)
{
	int discipline, packets, locked, exclusive;
	int r = sys_tty_get_settings(ends->slave, &t->term);
	if (r == 0)
		r = sys_tty_get_winsize(ends->slave, &t->size);
	if (r == 0)
		r = sys_tty_get(ends->slave, TIOCGETD, &discipline);
	if (r == 0)
		r = sys_tty_get(ends->slave, TIOCGEXCL, &exclusive);
	if (r == 0)
		r = sys_tty_get(ends->master, TIOCGPKT, &packets);
	if (r == 0)
		r = sys_tty_get(ends->master, TIOCGPTLCK, &locked);
	if (r == 0)
		r = sys_tty_settings_locked(ends->slave);
	if (r < 0)
		return failed(t, r, e);
	if (r)
		return refuse(t, e, "some of its settings are locked");
	if (discipline)
		return refuse(t, e, "it has another line discipline than the usual one");
	t->packets = packets;
	t->locked = locked;
	t->exclusive = exclusive;
	return 0;
}

/*
 * A slave of ours. One that is open only for this moment is not noticed where
 * the slave was opened before.
 */
static int open_slave(struct look *l, int tty, struct err *e)
{
	const struct look_tty *seen = seen_of(l, tty);
	struct image_tty *t = image_tty(l->image, tty);
	int locked = 0, exclusive = 0;
	int r = sys_tty_poll(seen->master_fd, POLLIN);
	if (r >= 0 && seen->slave_fd < 0 && !(r & POLLHUP) && !t->sid) {
		refuse(t, e, "nobody has opened it yet");
		return err_remedy(e, "try again when the program that made it uses it");
	}
	if (r >= 0)
		r = sys_tty_get(seen->master_fd, TIOCGPTLCK, &locked);
	if (r == 0 && seen->slave_fd >= 0)
		r = sys_tty_get(seen->slave_fd, TIOCGEXCL, &exclusive);
	if (r == 0 && locked)
		r = sys_tty_set(seen->master_fd, TIOCSPTLCK, 0);
	if (r == 0 && exclusive)
		r = sys_tty_set_exclusive(seen->slave_fd, false);
	scoped_fd int fd = r < 0 ? r : sys_tty_peer(seen->master_fd, O_RDWR | O_NONBLOCK);
	int lock = locked ? tty_set(seen->master_fd, TIOCSPTLCK, 1) : 0;
	int exclude = exclusive ? tty_set_exclusive(seen->slave_fd, true) : 0;
	r = lock ? lock : exclude;
	if (fd == -EBUSY)
		return refuse(t, e, "it is exclusive");
	return fd < 0 || r ? failed(t, fd < 0 ? fd : r, e) : take_fd(&fd);
}

static int look_pair(struct look *l, int tty, struct err *e)
{
	struct image_tty *t = image_tty(l->image, tty);
	const struct look_tty *seen = seen_of(l, tty);
	struct tty_ends ends = { seen->master_fd, -1 };
	int r = look_session(l, t, ends.master, e);
	if (r)
		return r;
	scoped_fd int slave = open_slave(l, tty, e);
	if (slave < 0)
		return slave;
	ends.slave = slave;
	r = look_settings(t, &ends, e);
	if (r)
		return r;
	int ready = t->packets ? sys_tty_poll(ends.master, POLLPRI) : 0;
	if (ready < 0 || ready & POLLPRI)
		return ready < 0 ? failed(t, ready, e) :
				   refuse(t, e, "its master has not read what packet mode tells");
	r = look_node(l, t);
	if (r == 0)
		r = tty_peek(&ends, t);
	return r ? failed(t, r, e) : 0;
}

/* Hung up: only what its file says is left. */
static int look_dead(struct look *l, int tty, struct err *e)
{
	struct image_tty *t = image_tty(l->image, tty);
	if (seen_of(l, tty)->slave_fd >= 0)
		return refuse(t, e, "its master is open, but not in a process that can be saved");
	t->is_dead = true;
	vec_each(struct image_file, f, &l->image->files)
		if (f->kind == FILE_TTY && f->tty == tty)
			t->mode = f->mode & 07777;
	return 0;
}

/* The description by which the leader takes it; nobody need have it open. */
static int add_by(struct look *l, int tty, struct err *e)
{
	struct image_tty *t = image_tty(l->image, tty);
	char path[32];
	snprintf(path, sizeof(path), "/dev/pts/%u", t->number);
	struct image_file *f = vec_add(&l->image->files);
	if (!f)
		return err_set(e, ENOMEM, "out of memory");
	*f = (struct image_file){ .kind = FILE_TTY,
				  .flags = O_RDWR,
				  .mode = S_IFCHR,
				  .mount = IMAGE_NONE,
				  .pipe = IMAGE_NONE,
				  .tty = tty,
				  .tty_end = TTY_SLAVE,
				  .content_fd = -1,
				  .twin = IMAGE_NONE,
				  .path = strdup(path),
				  .locks = VEC_INIT(struct image_lock) };
	t->by = (int)l->image->files.n - 1;
	return f->path ? 0 : err_set(e, ENOMEM, "out of memory");
}

static int number_of_nr(int tty_nr)
{
	unsigned int nr = (unsigned int)tty_nr;
	if (((nr >> 8) & 0xfff) != SYS_TTY_SLAVE_MAJOR)
		return -ENODEV;
	return (int)((nr & 0xff) | ((nr >> 12) & 0xfff00));
}

/* Controlling terminals, which need not be open anywhere. */
static int look_controlling(struct look *l, struct err *e)
{
	for (size_t i = 0; i < l->frozen->procs.n; i++) {
		const struct frozen_proc *fp = frozen_proc(l->frozen, i);
		struct image_proc *p = look_proc(l, (int)i);
		if (fp->zombie || !fp->stat.tty_nr)
			continue;
		int number = number_of_nr(fp->stat.tty_nr);
		if (number < 0 || number >= NUMBER_MAX)
			return look_refuse(e, p, -1, "its controlling terminal is of another kind");
		if (find_or_add(l, (unsigned int)number) < 0)
			return err_set(e, ENOMEM, "out of memory");
		p->has_tty = true;
	}
	return 0;
}

static int look_outers(struct look *l, struct err *e)
{
	vec_each(struct part_outer, o, &l->outers) {
		if (o->tty < 0)
			continue;
		int i = find_or_add(l, (unsigned int)o->tty);
		int fd = i < 0 ? i : sys_dup(o->fd);
		if (fd < 0)
			return err_set(e, -fd, "a command's terminal: %s", strerror(-fd));
		move_fd(&seen_of(l, i)->master_fd, &fd);
		image_tty(l->image, i)->command = o->command;
	}
	return 0;
}

int tty_look_begin(struct look *l, struct err *e)
{
	for (size_t i = 0; i < l->frozen->procs.n; i++) {
		const struct frozen_proc *fp = frozen_proc(l->frozen, i);
		int number = fp->pid == fp->stat.session ? number_of_nr(fp->stat.tty_nr) : -1;
		if (number < 0)
			continue;
		char path[32];
		snprintf(path, sizeof(path), "dev/pts/%d", number);
		scoped_fd int fd = sys_inroot_device(l->root_fd, path, SYS_TTY_SLAVE_MAJOR,
						     (unsigned int)number, O_RDWR);
		/* one that cannot be opened is refused later, with the reason */
		int r = fd < 0 ? 0 : sys_tty_poll(fd, POLLIN);
		if (r < 0)
			return err_set(e, -r, "poll %s: %s", path, strerror(-r));
	}
	return 0;
}

int tty_look_end(struct look *l, struct err *e)
{
	int r = look_outers(l, e);
	if (r == 0)
		r = look_controlling(l, e);
	for (int i = 0; r == 0 && i < (int)l->image->ttys.n; i++) {
		const struct look_tty *seen = seen_of(l, i);
		if (seen->master_fd < 0)
			r = look_dead(l, i, e);
		else if (seen->has_dead)
			r = refuse(image_tty(l->image, i), e, "some of its slaves were hung up");
		else
			r = look_pair(l, i, e);
		if (r == 0 && image_tty(l->image, i)->sid)
			r = add_by(l, i, e);
	}
	return r;
}

const struct image_tty *tty_of_session(const struct tree_image *im, const struct image_proc *p)
{
	vec_each(struct image_tty, t, &im->ttys)
		if (t->sid && t->sid == p->sid)
			return t;
	return NULL;
}

const struct image_tty *tty_of_leader(const struct tree_image *im, const struct image_proc *p)
{
	return p->pid == p->sid ? tty_of_session(im, p) : NULL;
}
