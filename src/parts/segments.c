/*
 * segments.c - segments of System V shared memory. They are objects of shm.c
 * like others: their bytes lie beside the template, PID 1 fills them. What is
 * theirs alone:
 *
 * - They are found in the table of the IPC namespace, attached or not, and get
 *   back their ids by shm_next_id. A child of the keeper makes each as who made
 *   it: the kernel keeps the pid and the ids of that process.
 * - The kernel counts mappings (shm_nattch), and programs look at it: each
 *   comes back as one, and neighbours must not become one. A mapping that the
 *   sandbox has not made would be missing after a rollback: refused.
 * - shmdt(2) takes away all pieces of one attachment, which it knows by the
 *   open file behind them: what was one shmat is one shmat again, in which the
 *   pieces are cut out and moved to their places.
 * - One that was removed ends with its last attachment. PID 1 removes it as
 *   soon as it has attached it; the tree inherits that attachment, and each
 *   process gives it up when it has its own.
 */
#include "parts/segments.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "parts/ipc.h"
#include "sys/fd.h"
#include "sys/file.h"

static uint64_t whole_pages(uint64_t bytes)
{
	return (bytes + PUP_PAGE - 1) & ~(uint64_t)(PUP_PAGE - 1);
}

static int read_table(const struct look *l, struct vec *out)
{
	scoped_fd int table = ipc_table(l->pid1_pidfd, sys_shm_table);
	return table < 0 ? table : sys_shm_table_read(table, out);
}

static int add_segment(struct look *l, const struct sys_shm *shm)
{
	struct image_shm *s = vec_add(&l->image->shms);
	struct sys_shm *mine = s ? malloc(sizeof(*mine)) : NULL;
	if (!s)
		return -ENOMEM;
	*s = (struct image_shm){ .dev = l->shm_dev,
				 .ino = (uint64_t)shm->id,
				 .bytes = whole_pages(shm->bytes),
				 .content_fd = -1,
				 .file = IMAGE_NONE,
				 .readonly_file = IMAGE_NONE,
				 .segment = mine };
	if (!mine)
		return -ENOMEM;
	*mine = *shm;
	return 0;
}

/* Segments, memfds and anonymous shared memory are files of one mount. */
static int find_device(struct look *l)
{
	struct stat st;
	scoped_fd int fd = sys_memfd("mulligan-device", 0);
	int r = fd < 0 ? fd : sys_fstat(fd, &st);
	if (r == 0)
		l->shm_dev = st.st_dev;
	return r;
}

int segments_look(struct look *l, struct err *e)
{
	struct vec table = VEC_INIT(struct sys_shm);
	int r = find_device(l);
	if (r == 0)
		r = read_table(l, &table);
	vec_each(struct sys_shm, shm, &table) {
		if (r == 0 && shm->is_locked)
			r = -EOPNOTSUPP;
		if (r == 0)
			r = add_segment(l, shm);
	}
	vec_deinit(&table);
	if (r == -EOPNOTSUPP)
		return err_set(e, -r, "a System V segment that is locked in memory (SHM_LOCK) cannot "
				      "be saved");
	return r ? err_set(e, -r, "look at the System V segments: %s", strerror(-r)) : 0;
}

static const char head[] = "/SYSV";

bool segments_has(const struct look *l, const struct procfs_map *map, const char *name)
{
	return l->shm_dev && map->dev == l->shm_dev && !strncmp(name, head, sizeof(head) - 1);
}

int segments_look_mapping(struct look *l, const struct image_proc *p, const struct procfs_map *map,
			  const char *name, struct image_vma *v, struct err *e)
{
	vec_each(struct image_shm, s, &l->image->shms) {
		if (!s->segment || s->ino != map->ino)
			continue;
		/* the name tells the key, which a removed one has no more */
		s->segment->key = (int32_t)strtoul(name + sizeof(head) - 1, NULL, 16);
		s->mappings++;
		v->offset = map->offset;	/* of segment 0, too, whose inode is 0 */
		v->kind = VMA_SHM;
		v->object = (int)(s - (struct image_shm *)l->image->shms.data);
		return 0;
	}
	return look_refuse(e, p, -1, "an attachment of a System V segment that is gone (%s)", name);
}

int segments_look_end(const struct image_shm *s, struct err *e)
{
	const struct sys_shm *shm = s->segment;
	if (shm->attached == s->mappings)
		return 0;
	return err_set(e, ENOTSUP, "the System V segment %d is in huge pages, or something outside of "
				   "the sandbox has attached it", shm->id);
}

int segments_attach(struct look *l, struct image_shm *s,
		    int (*read)(struct look *l, struct image_shm *s, uint64_t at), struct err *e)
{
	int home = -1;
	void *at;
	int r = sys_ipc_enter(l->pid1_pidfd, &home);
	if (r)
		return err_set(e, -r, "enter the IPC namespace: %s", strerror(-r));
	r = sys_shm_attach(s->segment->id, &at);
	if (r == 0) {
		r = read(l, s, (uint64_t)(uintptr_t)at);
		sys_shm_detach(at);
	}
	sys_ipc_leave(&home);
	return r ? err_set(e, -r, "read the System V segment %d: %s", s->segment->id, strerror(-r)) :
		   0;
}

struct making {
	const struct sys_shm *shm;
	int32_t key;
};

/* An id that was taken is not the one that was asked for. */
static int run_make(void *ctx)
{
	const struct making *m = ctx;
	int id = sys_shm_make(m->key, m->shm->bytes, m->shm->mode);
	if (id < 0)
		return id;
	return id == m->shm->id ? 0 : -EEXIST;
}

/* A removed one's key may belong to another by now; only its name tells it then. */
static int32_t key_of(const struct tree_image *im, const struct image_shm *s)
{
	int32_t key = s->segment->key;
	if (s->segment->is_removed)
		vec_each(struct image_shm, other, &im->shms)
			if (other->segment && other != s && other->segment->key == key &&
			    (!other->segment->is_removed || other < s))
				return IPC_PRIVATE;
	return key;
}

static int make_one(const struct files_open *o, const struct image_shm *s)
{
	const struct sys_shm *shm = s->segment;
	struct making m = { shm, key_of(o->image, s) };
	int r = sys_ipc_want_id("shm", shm->id);
	if (r == 0)
		r = ipc_act(o->pid1_pidfd, shm->creator, shm->cuid, shm->cgid, run_make, &m);
	if (r == 0 && (shm->uid != shm->cuid || shm->gid != shm->cgid))
		r = sys_shm_set_owner(shm);
	return r;
}

int segments_make(const struct files_open *o, struct err *e)
{
	int home = -1, r = 0;
	vec_each(struct image_shm, s, &o->image->shms) {
		if (!s->segment)
			continue;
		if (home < 0)
			r = sys_ipc_enter(o->pid1_pidfd, &home);
		if (r == 0)
			r = make_one(o, s);
		if (r) {
			err_set(e, -r, "make the System V segment %d again: %s", s->segment->id,
				strerror(-r));
			break;
		}
	}
	sys_ipc_leave(&home);
	return r;
}

void segments_emit_attach(struct prog *p, const struct image_shm *s, uint64_t at)
{
	/* a build that failed may have left something there */
	prog_sys(p, SYS_shmat, (uint64_t)s->segment->id, at, SHM_REMAP);
}

void segments_emit_filled(struct prog *p, const struct image_shm *s)
{
	if (s->segment->is_removed)
		prog_sys(p, SYS_shmctl, (uint64_t)s->segment->id, IPC_RMID, 0);
}

static bool is_piece(const struct tree_image *im, const struct image_vma *v)
{
	return v->kind == VMA_SHM &&
	       ((const struct image_shm *)vec_at(&im->shms, (size_t)v->object))->segment;
}

/* Pieces of what one shmat(2) attached. */
static bool are_one(const struct image_vma *a, const struct image_vma *b)
{
	return b->kind == VMA_SHM && a->object == b->object && a->is_readonly == b->is_readonly &&
	       a->start - a->offset == b->start - b->offset;
}

static bool is_first(const struct image_proc *p, const struct image_vma *v)
{
	for (const struct image_vma *before = p->vmas.data; before < v; before++)
		if (are_one(v, before))
			return false;
	return true;
}

/*
 * Neighbours differ in their protection while they are moved, so that they
 * stay apart; afterwards the kernel joins no mappings of a segment.
 */
static void load_attachment(struct prog *p, const struct image_proc *proc,
			    const struct image_vma *of, const struct image_shm *s, uint64_t scratch)
{
	const struct image_vma *end = (const struct image_vma *)proc->vmas.data + proc->vmas.n;
	int odd = 0;
	prog_sys(p, SYS_shmat, (uint64_t)s->segment->id, scratch, of->is_readonly ? SHM_RDONLY : 0);
	for (const struct image_vma *v = of; v < end; v++)
		if (are_one(of, v))
			prog_sys(p, SYS_mprotect, scratch + v->offset, v->end - v->start,
				 odd++ % 2 ? PROT_NONE : PROT_READ);
	for (const struct image_vma *v = of; v < end; v++)
		if (are_one(of, v))
			prog_sys(p, SYS_mremap, scratch + v->offset, v->end - v->start,
				 v->end - v->start, MREMAP_MAYMOVE | MREMAP_FIXED, v->start);
	prog_sys(p, SYS_munmap, scratch, s->bytes);
	for (const struct image_vma *v = of; v < end; v++)
		if (are_one(of, v))
			prog_sys(p, SYS_mprotect, v->start, v->end - v->start, (uint64_t)v->prot);
}

void segments_load(struct load *l, const struct image_proc *p, uint64_t scratch)
{
	vec_each(struct image_vma, v, &p->vmas)
		if (is_piece(l->image, v) && is_first(p, v))
			load_attachment(l->prog, p, v, vec_at(&l->image->shms, (size_t)v->object),
					scratch);
}
