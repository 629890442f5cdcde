#include "sandbox/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "sandbox/carry_internal.h"
#include "sandbox/overlay.h"
#include "store/tree.h"
#include "sys/file.h"

void keep_files_deinit(struct vec *files)
{
	vec_each(struct keep_file, f, files)
	{
		cleanup_fd(&f->pin_fd);
		free(f->path);
	}
	vec_deinit(files);
}

static struct keep_file *find_kept(const struct vec *files, const char *path)
{
	vec_each(struct keep_file, f, files) if (!strcmp(f->path, path)) return f;
	return NULL;
}

static int add_kept(struct carry *c, const char *path, uint64_t ino, bool aside)
{
	struct keep_file *f = vec_add(&c->kept);
	if (!f)
		return -ENOMEM;
	*f = (struct keep_file){.path = strdup(path), .ino = ino, .pin_fd = -1, .aside = aside};
	if (f->path)
		return 0;
	c->kept.n--;
	return -ENOMEM;
}

/*
 * May what lies below this layer be seen at path, as far as the directories
 * above path say? 1: yes.
 */
static int lets_through(int layer_fd, const char *path, const char *prefix)
{
	scoped_free char *part = strdup(path);
	if (!part)
		return -ENOMEM;
	for (char *slash = strchr(part, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		scoped_fd int fd = sys_open_beneath(layer_fd, part, O_RDONLY | O_DIRECTORY, 0);
		*slash = '/';
		if (fd == -ENOENT)
			return 1;
		/* a whiteout, or a file */
		if (fd == -ENOTDIR || fd == -ELOOP)
			return 0;
		int r = fd < 0 ? fd : overlay_dir_replaces(fd, prefix);
		if (r)
			return r < 0 ? r : 0;
	}
	return 1;
}

/* 1: there is something at path. */
static int look(int layer_fd, const char *path, struct stat *st)
{
	scoped_fd int fd = sys_open_beneath(layer_fd, path, O_PATH, 0);
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return 0;
	int r = fd < 0 ? fd : sys_fstat(fd, st);
	return r ? r : 1;
}

/* 1: this layer has the file with that number there; 0: nothing; 2: something else. */
static int look_for(int layer_fd, const char *path, uint64_t ino, const char *prefix)
{
	struct stat st;
	int r = look(layer_fd, path, &st);
	if (r == 1)
		return S_ISREG(st.st_mode) && st.st_nlink == 1 && st.st_ino == ino ? 1 : 2;
	if (r == 0)
		r = lets_through(layer_fd, path, prefix);
	return r < 0 ? r : r == 1 ? 0 : 2;
}

/*
 * 1: with the upper's file gone, the next overlay finds its number below. An
 * overlay over these layers that found it finds it again: only the upper is
 * new then. The layer that has it is marked, so that it stays.
 */
static int is_below(const struct carry *c, const struct fs_mount *m, const char *path, uint64_t ino)
{
	int r = lets_through(c->from_fd, path, c->prefix);
	if (r != 1)
		return r;
	const struct keep_file *known = find_kept(&m->kept, path);
	if (known && known->aside && known->ino == ino && m->kept_layers == m->layers.n)
		return 1;
	r = 0;
	vec_each(struct layer *, l, &m->layers)
	{
		if (r == 0)
			r = look_for((*l)->fs_fd, path, ino, c->prefix);
		if (r == 1)
			(*l)->has_numbers = true;
		if (r)
			return r == 1 ? 1 : r < 0 ? r : 0;
	}
	if (m->skin_fd >= 0)
		r = look_for(m->skin_fd, path, ino, c->prefix);
	if (r == 0)
		r = look_for(m->base_fd, path, ino, c->prefix);
	return r == 2 ? 0 : r;
}

/* A directory of the aside tree, like the one in the frozen layer. */
static int make_aside_dir(struct carry *c, const char *path)
{
	bool top = !strcmp(path, ".");
	int r = carry_do_step(c, top ? STEP_ASIDE_ROOT : STEP_ASIDE_DIR, path, NULL);
	if (r == -EEXIST)
		return 0; /* made for another file of this cut */
	if (r < 0)
		return r;
	scoped_fd int from = sys_open_beneath(c->from_fd, path, O_RDONLY | O_DIRECTORY, 0);
	if (from < 0)
		return from;
	scoped_fd int to = sys_open_beneath(c->aside_fd, path, O_RDONLY | O_DIRECTORY, 0);
	return to < 0 ? to : carry_attributes(to, from, c->prefix);
}

static int put_aside(struct carry *c, const char *path)
{
	scoped_free char *part = strdup(path);
	if (!part)
		return -ENOMEM;
	int r = c->aside_fd < 0 ? make_aside_dir(c, ".") : 0;
	for (char *slash = strchr(part, '/'); r == 0 && slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		r = make_aside_dir(c, part);
		*slash = '/';
	}
	return r ? r : carry_do_step(c, STEP_ASIDE, path, NULL);
}

/* The number that the sandbox knows the file by. */
static int shown_number(const struct fs_mount *m, const char *path, uint64_t *ino)
{
	struct stat st;
	scoped_fd int fd = sys_open_beneath(m->mnt_fd, path, O_PATH, 0);
	int r = fd < 0 ? fd : sys_fstat(fd, &st);
	if (r == 0)
		*ino = st.st_ino;
	return r;
}

int keep_choose(struct carry *c, const struct fs_mount *m, const char *path, bool *moved,
		struct err *e)
{
	*moved = find_kept(&c->kept, path) != NULL;
	if (*moved)
		return 0;
	struct stat st;
	uint64_t ino;
	int r = look(c->from_fd, path, &st);
	if (r == 0 || (r == 1 && !S_ISREG(st.st_mode)))
		return 0;
	/* as they are: carry_file() says why */
	if (r == 1 && (st.st_nlink != 1 || carry_inode_done(c, st.st_ino)))
		return carry_file(c, path, e);
	r = r < 0 ? r : shown_number(m, path, &ino);
	if (r)
		return carry_refuse(r, path, e);
	bool aside = ino != st.st_ino;
	r = aside ? is_below(c, m, path, ino) : 1;
	if (r == 0)
		return carry_file(c, path, e);
	c->held = true;
	if (r == 1)
		r = carry_touch_parents(c, path);
	if (r == 0 && aside)
		r = put_aside(c, path);
	if (r == 0)
		r = add_kept(c, path, ino, aside);
	*moved = r == 0;
	return r ? carry_refuse(r, path, e) : 0;
}

static int choose_aside(void *ctx, const struct tree_entry *entry)
{
	struct carry *c = ctx;
	if (!S_ISREG(entry->st->st_mode))
		return 0;
	int r = carry_touch_parents(c, entry->path);
	return r ? r : add_kept(c, entry->path, 0, true);
}

int keep_choose_all(struct carry *c, struct err *e)
{
	int r = c->aside_fd = layer_aside(c->from, false);
	if (r == -ENOENT)
		return 0;
	if (r >= 0)
		r = tree_walk(c->aside_fd, choose_aside, c);
	return r < 0 ? carry_refuse(r, "the files beside the newest layer", e) : 0;
}

struct finder {
	const struct vec *layers;
	size_t from;		/* the newest that is below */
	const char *prefix;
};

/* What lies aside has the number of what is found first below, as in is_below(). */
static int mark_below(void *ctx, const struct tree_entry *entry)
{
	const struct finder *f = ctx;
	if (!S_ISREG(entry->st->st_mode))
		return 0;
	for (size_t i = f->from; i < f->layers->n; i++) {
		struct layer *l = *(struct layer **)vec_at(f->layers, i);
		struct stat st;
		int r = look(l->fs_fd, entry->path, &st);
		if (r == 1 && S_ISREG(st.st_mode))
			l->has_numbers = true;
		if (r)
			return r < 0 ? r : 0;
		r = lets_through(l->fs_fd, entry->path, f->prefix);
		if (r != 1)
			return r;
	}
	return 0;
}

int keep_find_numbers(const struct vec *layers, const char *prefix, struct err *e)
{
	for (size_t i = 0; i < layers->n; i++) {
		struct layer *l = *(struct layer **)vec_at(layers, i);
		if (l->is_looked_through)
			continue;
		struct finder f = {layers, i + 1, prefix};
		scoped_fd int aside = layer_aside(l, false);
		int r = aside == -ENOENT ? 0 : aside < 0 ? aside : tree_walk(aside, mark_below, &f);
		if (r < 0)
			return err_set(e, -r, "look through what lies aside of layer '%s': %s", l->id,
				       strerror(-r));
		l->is_looked_through = true;
	}
	return 0;
}

/* The bytes go to the upper's file itself: only there they can be reflinked. */
static int fill(struct carry *c, const char *path, int source_fd)
{
	scoped_fd int to = sys_open_beneath(c->to_fd, path, O_RDWR, 0);
	struct stat st;
	int r = to < 0 ? to : sys_fstat(source_fd, &st);
	if (r == 0)
		r = sys_copy_contents(to, source_fd);
	if (r < 0)
		return r;
	c->reflinked += r == 1;
	c->copied_bytes += r == 1 ? 0 : (uint64_t)st.st_size;
	c->files++;
	return 0;
}

/*
 * The truncating open copies the file up without its bytes. Attributes go
 * through the overlay, which keeps owner, mode and size in its own inode.
 */
static int raise_file(struct carry *c, int overlay_fd, struct keep_file *f, bool pin)
{
	scoped_fd int source = sys_open_beneath(f->aside ? c->aside_fd : c->from_fd, f->path,
						O_RDONLY | O_NONBLOCK, 0);
	int r = source < 0 ? source : carry_do_step(c, STEP_RAISE, f->path, NULL);
	if (r < 0)
		return r;
	scoped_fd int fd = sys_open_beneath(overlay_fd, f->path, O_RDWR | O_TRUNC, 0);
	r = fd < 0 ? fd : fill(c, f->path, source);
	if (r == 0)
		r = carry_attributes(fd, source, c->prefix);
	struct stat st;
	if (r == 0)
		r = sys_fstat(fd, &st);
	if (r)
		return r;
	f->ino = st.st_ino;
	f->pin_fd = pin ? sys_open_beneath(overlay_fd, f->path, O_PATH, 0) : -1;
	return f->pin_fd < -1 ? f->pin_fd : 0;
}

int keep_raise(struct carry *c, int overlay_fd, struct err *e)
{
	size_t n = 0;
	vec_each(struct keep_file, f, &c->kept)
	{
		int r = raise_file(c, overlay_fd, f, n++ < KEEP_PINS_MAX);
		if (r) {
			f->pin_fd = -1;
			return carry_refuse(r, f->path, e);
		}
	}
	return 0;
}
