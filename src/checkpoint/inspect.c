/* inspect.c - the frozen tree, looked at from outside, becomes an image. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "checkpoint/take.h"
#include "parts/ids.h"
#include "parts/inotify.h"
#include "parts/mapfile.h"
#include "parts/mapheld.h"
#include "parts/memfs.h"
#include "parts/sems.h"
#include "parts/shm.h"
#include "parts/stagemap.h"
#include "parts/stops.h"
#include "parts/threads.h"
#include "parts/tty.h"
#include "sys/file.h"
#include "sys/inroot.h"

static int out_of_memory(struct err *e)
{
	return err_set(e, ENOMEM, "out of memory");
}

/* The overlays of the incarnation, as descriptors show them. */
static int add_mounts(struct take *t, struct err *e)
{
	const struct fs_tree *fs = t->in->fs;
	for (size_t i = 0; i < fs->mounts.n; i++) {
		const struct fs_mount *m = vec_at(&fs->mounts, i);
		struct part_mount *pm = vec_add(&t->look.mounts);
		if (!pm)
			return out_of_memory(e);
		struct stat st;
		int r = sys_fstat(m->mnt_fd, &st);
		if (r)
			return err_set(e, -r, "look at the files of %s: %s", m->target, strerror(-r));
		*pm = (struct part_mount){ m->mnt_id, (int)i, m->target, st.st_dev,
					   m->upper->fs_fd };
	}
	vec_each(struct part_outer, o, t->outers) {
		struct part_outer *mine = vec_add(&t->look.outers);
		if (!mine)
			return out_of_memory(e);
		*mine = *o;
	}
	return 0;
}

/* A process keeps the key it had; a new one gets one. */
static int track_proc(struct take *t, const struct frozen_proc *fp, struct image_proc *p)
{
	struct tracked *tr = tracker_find(&t->in->tracker, fp->pid, fp->stat.start_time);
	if (!tr)
		tr = tracker_add(&t->in->tracker, fp->pid, fp->stat.start_time, 0);
	if (!tr)
		return -ENOMEM;
	p->key = tr->key;
	return 0;
}

/*
 * A thread that was released a moment ago may still run the puppet: what its
 * process has mapped, and the thread's own registers, are not the guest's yet.
 */
static int has_left_gate(const struct frozen_proc *fp, struct err *e)
{
	vec_each(struct frozen_thread, ft, &fp->threads) {
		/* one that was restored as stopped stays there: threads.c */
		if (!threads_in_puppet(ft) || ft->stop == FREEZE_GROUP)
			continue;
		err_set(e, EAGAIN, "process %d (%s) has not left the gate yet", fp->ns_pid,
			fp->stat.comm);
		return err_about(e, fp->ns_pid, -1);
	}
	return 0;
}

static int look_process(struct take *t, int i, struct err *e)
{
	const struct frozen_proc *fp = frozen_proc(t->frozen, (size_t)i);
	struct image_proc *p = image_proc(&t->next->image, i);
	p->threads = VEC_INIT(struct image_thread);
	p->vmas = VEC_INIT(struct image_vma);
	p->fds = VEC_INIT(struct image_fd);
	for (int j = 0; j < IMAGE_LEVELS; j++)
		p->since[j] = VEC_INIT(struct image_run);
	p->own = VEC_INIT(struct image_run);
	p->pending = VEC_INIT(siginfo_t);
	p->cwd = p->root = p->maker = IMAGE_NONE;
	int r = procfs_status(t->look.procfs, fp->pid, 0, &t->look.status);
	if (r < 0)
		return err_set(e, -r, "read the status of process %d: %s", fp->ns_pid,
			       strerror(-r));
	r = part_ids.look(&t->look, i, e);
	if (r || fp->zombie)
		return r;
	r = has_left_gate(fp, e);
	if (r)
		return r;
	if (track_proc(t, fp, p))
		return out_of_memory(e);
	for (size_t k = 0; k < part_count; k++) {
		const struct part *part = part_table[k];
		if (!part->look || part == &part_ids)
			continue;
		r = part->look(&t->look, i, e);
		if (r)
			return r;
	}
	return 0;
}

/* Number of entries in a directory of the sandbox; 0 where there is none. */
static int count_entries(int root_fd, const char *path)
{
	scoped_fd int fd = sys_inroot_open(root_fd, path, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return 0;
	scoped_dir DIR *dir = NULL;
	struct dirent *d;
	int n = 0, r = sys_opendir_take(&fd, &dir);
	while (r == 0 && (r = sys_readdir(dir, &d)) > 0) {
		r = 0;
		n++;
	}
	return r ? r : n;
}

/* What lies in memory file systems is in no layer. */
static int look_memory_files(struct take *t, struct err *e)
{
	int n = count_entries(t->in->root_fd, "/dev/mqueue");
	if (n < 0)
		return err_set(e, -n, "read /dev/mqueue: %s", strerror(-n));
	if (n > 0) {
		err_set(e, ENOTSUP, "cannot save the %d POSIX message queues yet", n);
		err_path(e, "/dev/mqueue");
		return err_remedy(e, "remove them");
	}
	struct tree_image *im = &t->next->image;
	int r = memfs_save(im, t->in->root_fd, "/dev/shm", &t->look.memory_names, e);
	vec_each(char *, path, &t->en->spec.tmpfs)
		if (r == 0)
			r = memfs_save(im, t->in->root_fd, *path, &t->look.memory_names, e);
	return r;
}

/* A restore passes the files on above the highest number that is in use. */
static int check_numbers(const struct tree_image *im, struct err *e)
{
	enum { OWN = 128 };
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit))
		return err_set(e, errno, "RLIMIT_NOFILE: %s", strerror(errno));
	rlim_t needed = (rlim_t)files_max_fd(im) + 2 * im->files.n + im->map_files.n + OWN;
	if (needed <= limit.rlim_cur)
		return 0;
	err_set(e, E2BIG, "descriptor %d leaves no room below the limit of %llu", files_max_fd(im),
		(unsigned long long)limit.rlim_cur);
	return err_remedy(e, "close it, or raise the limit of open files before `mulligan create`");
}

int take_look(struct take *t, struct err *e)
{
	struct tree_image *im = &t->next->image;
	t->look.frozen = t->frozen;
	t->look.procfs = freezer_procfs(t->en->freezer);
	t->look.image = im;
	t->look.parent = &t->base->image;
	t->look.own_filters = t->en->puppet.own_filters;
	t->look.next_template_fd = t->en->next_template_fd;
	t->look.root_fd = t->in->root_fd;
	t->look.pid1_pidfd = t->in->pid1_pidfd;
	t->look.diag_fd = t->in->diag_fd;
	t->look.empties = &t->in->empties;
	t->look.shares_net = t->en->spec.net != NET_NONE;
	int r = take_look_sysv(t, e);
	if (r == 0)
		r = files_look_begin(&t->look, e);
	if (r == 0)
		r = inotify_look_begin(&t->look, e);
	if (r == 0)
		r = tty_look_begin(&t->look, e);
	if (r == 0 && t->hooks && t->hooks->stopped)
		r = t->hooks->stopped(t->hooks->ctx, e);
	if (r == 0)
		r = add_mounts(t, e);
	if (r == 0)
		r = look_memory_files(t, e);
	if (r)
		return r;
	if (mapfile_inherit(im, &t->base->image))
		return out_of_memory(e);
	if (vec_reserve(&im->procs, t->frozen->procs.n))
		return out_of_memory(e);
	for (size_t i = 0; i < t->frozen->procs.n; i++)
		vec_add(&im->procs);
	for (size_t i = 0; i < t->frozen->procs.n; i++) {
		r = look_process(t, (int)i, e);
		if (r)
			return r;
	}
	mapfile_look_end(&t->look);
	stops_look_end(im);
	r = files_look_end(&t->look, e);
	if (r == 0)
		r = sems_look_end(&t->look, e);
	if (r == 0)
		r = mapheld_find(&t->look, e);
	if (r == 0)
		r = tty_look_end(&t->look, e);
	if (r == 0)
		r = shm_find_files(&t->look, e);
	if (r)
		return r;
	if (im->files.n + im->procs.n > IMAGE_FILES_MAX)
		return err_set(e, E2BIG, "there are more than %d open file descriptions",
			       IMAGE_FILES_MAX);
	r = check_numbers(im, e);
	if (r == 0)
		r = shm_read_all(&t->look, e);
	if (r)
		return r;
	if (stagemap_inherit(im, &t->base->image))
		return out_of_memory(e);
	return ids_add_ghosts(im, e);
}

static bool is_wanted(const struct image_file *f)
{
	return f->kind == FILE_PATH && f->mount != IMAGE_NONE && S_ISREG(f->mode) &&
	       !(f->flags & O_PATH);
}

/* Path inside its mount, without the leading slash. */
static const char *inside(const struct fs_mount *m, const char *path)
{
	size_t n = strcmp(m->target, "/") ? strlen(m->target) : 0;
	path += n;
	return *path == '/' ? path + 1 : path;
}

int take_carry_list(struct take *t, bool *writers, struct err *e)
{
	*writers = false;
	const struct tree_image *im = &t->next->image;
	for (size_t i = 0; i < im->files.n; i++) {
		const struct image_file *f = image_file(im, (int)i);
		if (!is_wanted(f))
			continue;
		*writers |= f->carry;
		const struct fs_mount *m = vec_at(&t->in->fs->mounts, (size_t)f->mount);
		struct carry_want *want = vec_add(&t->carry);
		if (!want)
			return out_of_memory(e);
		*want = (struct carry_want){ .mount = (size_t)f->mount,
					     .path = inside(m, f->path),
					     .tag = (int)i };
	}
	return 0;
}
