/*
 * shm.c - shared memory without a name: anonymous, mappings of memfds and
 * deleted files, and System V segments (segments.c). Where the tree has such a file open, the mapping is made of
 * that description; where nobody has, it is anonymous afterwards, or, where
 * some mapping cannot be made writable, of a memfd.
 *
 * Fork cannot give an incarnation its own copy, so the bytes are kept beside
 * the template, in a sparse memfd, and copied into a fresh object each time:
 * the cost is the populated size. PID 1 maps every object once at PUP_SHM;
 * the tree inherits that, and each process duplicates the piece it had:
 * mremap(2) with an old size of 0.
 *
 * Holes are found through map_files (real root); other users read every page,
 * which populates the live object.
 */
#include "parts/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "parts/segments.h"
#include "parts/unlinked.h"
#include "sys/fd.h"
#include "sys/proc.h"

enum {
	BLOCK = 1 << 20,
	SHM_MAX = 128,			/* each is a descriptor in one message */
	RUNS_MAX = 20000,
	HOLE_BYTES = 64 << 10,		/* shorter ones are read as zeros */
};

#define SHM_ROOM (PUP_SHM_END - PUP_SHM)
#define BLIND_BYTES (4ull << 30)	/* most that is read page by page */

static struct image_shm *shm_at(const struct tree_image *im, int i)
{
	return vec_at(&im->shms, (size_t)i);
}

static int refuse_many(struct err *e)
{
	return err_set(e, E2BIG, "there are more than %d shared memory objects", SHM_MAX);
}

static int find_or_add(struct look *l, const struct procfs_map *map)
{
	vec_each(struct image_shm, s, &l->image->shms)
		if (s->dev == map->dev && s->ino == map->ino && !s->segment)
			return (int)(s - (struct image_shm *)l->image->shms.data);
	struct image_shm *s = vec_add(&l->image->shms);
	if (!s)
		return -ENOMEM;
	*s = (struct image_shm){ .dev = map->dev,
				 .ino = map->ino,
				 .content_fd = -1,
				 .file = IMAGE_NONE,
				 .readonly_file = IMAGE_NONE };
	return (int)l->image->shms.n - 1;
}

int shm_look(struct look *l, const struct procfs_map *map, bool maybe_named,
	     struct image_vma *v, struct err *e)
{
	int i = find_or_add(l, map);
	if (i < 0)
		return err_set(e, ENOMEM, "out of memory");
	/* more than files can take over at the end: do not look for all */
	if (i >= SHM_MAX + IMAGE_FILES_MAX)
		return refuse_many(e);
	struct image_shm *s = shm_at(l->image, i);
	uint64_t end = map->offset + (map->end - map->start);
	if (end > s->bytes)
		s->bytes = end;
	s->maybe_named |= maybe_named;
	s->has_readonly |= v->is_readonly;
	s->has_writable |= !v->is_readonly;
	v->object = i;
	return 0;
}

/* The kernel's own link shows the holes. */
static int read_by_link(const struct look *l, const struct frozen_proc *fp, const struct image_vma *v,
			int to)
{
	char name[80];
	snprintf(name, sizeof(name), "map_files/%lx-%lx", (unsigned long)v->start,
		 (unsigned long)v->end);
	scoped_fd int from = procfs_openat(l->procfs, fp->pid, 0, name, O_RDONLY | O_CLOEXEC);
	return from < 0 ? from : unlinked_copy(from, to);
}

static bool is_zero(const uint8_t *page)
{
	static const uint8_t zero[PUP_PAGE];
	return !memcmp(page, zero, PUP_PAGE);
}

static int read_by_page(const struct frozen_proc *fp, const struct image_vma *v, int to)
{
	scoped_free uint8_t *block = malloc(BLOCK);
	if (!block)
		return -ENOMEM;
	for (uint64_t at = v->start; at < v->end; at += BLOCK) {
		size_t len = v->end - at < BLOCK ? v->end - at : BLOCK;
		int r = sys_vm_read(fp->pid, at, block, len);
		if (r)
			return r;
		for (size_t o = 0; o < len; o += PUP_PAGE) {
			if (is_zero(block + o))
				continue;
			ssize_t n = sys_pwrite(to, block + o, PUP_PAGE,
					       v->offset + (at - v->start) + o);
			if (n != PUP_PAGE)
				return n < 0 ? (int)n : -EIO;
		}
	}
	return 0;
}

static int new_content(struct image_shm *s)
{
	s->content_fd = sys_memfd("mulligan-shm", 0);
	return s->content_fd < 0 ? s->content_fd : sys_ftruncate(s->content_fd, s->bytes);
}

/* One more description of the file, for mappings alone. */
static int add_mapped(struct look *l, int twin, int access)
{
	struct image_file *f = vec_add(&l->image->files);
	if (!f)
		return -ENOMEM;
	const struct image_file *of = image_file(l->image, twin);
	*f = (struct image_file){ .kind = of->kind,
				  .flags = memfd_is_sealed(of) ? O_RDONLY : access,
				  .mode = of->mode,
				  .mount = IMAGE_NONE,
				  .pipe = IMAGE_NONE,
				  .content_fd = -1,
				  .twin = twin,
				  .path = strdup(of->path),
				  .dev = of->dev,
				  .ino = of->ino,
				  .locks = VEC_INIT(struct image_lock) };
	return f->path ? (int)l->image->files.n - 1 : -ENOMEM;
}

static bool is_file(const struct image_shm *s)
{
	return s->file != IMAGE_NONE || s->readonly_file != IMAGE_NONE;
}

/* What v maps now: a file, or an object in the list without those. */
static void place(const struct tree_image *im, struct image_vma *v)
{
	const struct image_shm *s = shm_at(im, v->object);
	int before = 0;
	if (is_file(s)) {
		v->kind = VMA_FILE_SHARED;
		v->object = v->is_readonly ? s->readonly_file : s->file;
		return;
	}
	for (int i = 0; i < v->object; i++)
		before += is_file(shm_at(im, i));
	v->object -= before;
}

/* All of them are mapped side by side while a tree is made. */
static int check_room(const struct tree_image *im, struct err *e)
{
	uint64_t bytes = 0, scratch = 0;
	for (int i = 0; i < (int)im->shms.n; i++) {
		const struct image_shm *s = shm_at(im, i);
		if (s->segment && s->bytes > scratch)
			scratch = s->bytes;
		if (s->bytes > SHM_ROOM || bytes + scratch + s->bytes + 2 * PUP_PAGE > SHM_ROOM)
			return err_set(e, E2BIG, "there is more than %llu GB of shared memory",
				       (unsigned long long)(SHM_ROOM >> 30));
		bytes += s->bytes + 2 * PUP_PAGE;
	}
	return im->shms.n > SHM_MAX ? refuse_many(e) : 0;
}

/* Behind the last byte of a segment its last page can be used, too. */
static int read_tail(pid_t pid, const struct image_shm *s, const struct image_vma *v)
{
	uint8_t page[PUP_PAGE];
	int r = sys_ftruncate(s->content_fd, s->bytes);
	if (r == 0)
		r = sys_vm_read(pid, v->end - PUP_PAGE, page, sizeof(page));
	if (r)
		return r;
	ssize_t n = sys_pwrite(s->content_fd, page, sizeof(page), s->bytes - PUP_PAGE);
	return n == PUP_PAGE ? 0 : n < 0 ? (int)n : -EIO;
}

static int read_mapping(const struct look *l, const struct frozen_proc *fp, struct image_shm *s,
			const struct image_vma *v)
{
	bool first = s->content_fd < 0;
	int r = first ? new_content(s) : 0;
	if (r == 0 && first)
		s->every_mapping = read_by_link(l, fp, v, s->content_fd) != 0;
	/* a file may be longer than all that is mapped of it */
	if (r == 0 && first)
		r = sys_ftruncate(s->content_fd, s->bytes);
	if (r == 0 && s->every_mapping && v->end - v->start > BLIND_BYTES)
		r = -EFBIG;
	if (r == 0 && s->every_mapping)
		r = read_by_page(fp, v, s->content_fd);
	else if (r == 0 && s->segment && s->segment->bytes % PUP_PAGE)
		r = read_tail(fp->pid, s, v);
	return r;
}

/* Of a segment, one mapping has it all, or none will do. */
static bool is_useful(const struct image_shm *s, const struct image_vma *v)
{
	return !s->segment ||
	       (s->content_fd < 0 && v->end - v->start == s->bytes && (v->prot & PROT_READ));
}

/* object: the one to be read, IMAGE_NONE: all. */
static int read_objects(struct look *l, int object, struct err *e)
{
	int r = 0;
	for (int i = 0; i < (int)l->frozen->procs.n; i++)
		vec_each(struct image_vma, v, &look_proc(l, i)->vmas) {
			if (v->kind != VMA_SHM || (object != IMAGE_NONE && v->object != object) ||
			    !is_useful(shm_at(l->image, v->object), v))
				continue;
			r = read_mapping(l, frozen_proc(l->frozen, (size_t)i),
					 shm_at(l->image, v->object), v);
			if (r)
				return look_refuse(e, look_proc(l, i), -1, "its shared memory: %s",
						   strerror(-r));
		}
	return 0;
}

static int read_attached(struct look *l, struct image_shm *s, uint64_t at)
{
	const struct frozen_proc self = { .pid = getpid() };
	const struct image_vma v = { .start = at, .end = at + s->bytes };
	return read_mapping(l, &self, s, &v);
}

static int read_segments(struct look *l, struct err *e)
{
	int r = 0;
	vec_each(struct image_shm, s, &l->image->shms)
		if (r == 0 && s->segment && s->content_fd < 0)
			r = segments_attach(l, s, read_attached, e);
	return r;
}

/*
 * The object as a memfd that is only mapped: a mapping that cannot be made
 * writable is one by a descriptor that cannot write. Index in image.files.
 */
static int add_file(struct look *l, int object, struct err *e)
{
	int r = read_objects(l, object, e);
	if (r)
		return r;
	struct image_file *f = vec_add(&l->image->files);
	struct image_shm *s = shm_at(l->image, object);
	if (!f)
		return err_set(e, ENOMEM, "out of memory");
	*f = (struct image_file){ .flags = O_RDWR,
				  .mode = S_IFREG | 0777,
				  .mount = IMAGE_NONE,
				  .pipe = IMAGE_NONE,
				  .content_fd = take_fd(&s->content_fd),
				  .twin = IMAGE_NONE,
				  .path = strdup("shared memory"),
				  .dev = s->dev,
				  .ino = s->ino,
				  .locks = VEC_INIT(struct image_lock) };
	if (memfd_become(f, "shared") || !f->path)
		return err_set(e, ENOMEM, "out of memory");
	return (int)l->image->files.n - 1;
}

static int find_file(struct look *l, int object, struct err *e)
{
	struct image_shm *s = shm_at(l->image, object);
	if (s->segment)
		return segments_look_end(s, e);
	int file = unlinked_find(l->image, s->dev, s->ino, (int)l->image->files.n);
	if (file == IMAGE_NONE && s->maybe_named)
		return err_set(e, ENOTSUP, "cannot save a shared mapping of a removed file that may "
					   "have other names");
	if (file == IMAGE_NONE && !s->has_readonly)
		return 0;
	if (file == IMAGE_NONE)
		file = add_file(l, object, e);
	if (file < 0)
		return file;
	if (s->has_writable)
		s->file = add_mapped(l, file, O_RDWR);
	if (s->has_readonly)
		s->readonly_file = add_mapped(l, file, O_RDONLY);
	return s->file == -ENOMEM || s->readonly_file == -ENOMEM ?
		       err_set(e, ENOMEM, "out of memory") :
		       0;
}

int shm_find_files(struct look *l, struct err *e)
{
	for (int i = 0; i < (int)l->image->shms.n; i++) {
		int r = find_file(l, i, e);
		if (r)
			return r;
	}
	vec_each(struct image_proc, p, &l->image->procs)
		vec_each(struct image_vma, v, &p->vmas)
			if (v->kind == VMA_SHM)
				place(l->image, v);
	for (size_t i = l->image->shms.n; i-- > 0;)
		if (is_file(shm_at(l->image, (int)i)))
			vec_remove(&l->image->shms, i);
	return check_room(l->image, e);
}

int shm_read_all(struct look *l, struct err *e)
{
	int r = read_objects(l, IMAGE_NONE, e);
	if (r == 0)
		r = read_segments(l, e);
	if (r)
		return r;
	if (shm_count_runs(l->image) > RUNS_MAX)
		return err_set(e, E2BIG, "shared memory is in more than %d pieces", RUNS_MAX);
	return 0;
}

static uint64_t object_address(const struct tree_image *im, int object)
{
	uint64_t at = PUP_SHM;
	for (int i = 0; i < object; i++)
		at += (shm_at(im, i)->bytes + 2 * PUP_PAGE - 1) & ~(uint64_t)(PUP_PAGE - 1);
	return at;
}

/*
 * The next run of data from *at on, holes that are not worth a call included:
 * its start, *at becomes its end. -ENXIO: there is none.
 */
static int64_t next_run(const struct image_shm *s, off_t *at)
{
	int64_t start = sys_lseek(s->content_fd, *at, SEEK_DATA);
	int64_t data = start;
	while (data >= 0) {
		int64_t hole = sys_lseek(s->content_fd, data, SEEK_HOLE);
		if (hole < 0)
			return hole;
		*at = hole;
		data = sys_lseek(s->content_fd, hole, SEEK_DATA);
		if (data < 0 || data - hole >= HOLE_BYTES)
			break;
	}
	return start;
}

size_t shm_count_runs(const struct tree_image *im)
{
	size_t n = 0;
	for (int i = 0; i < (int)im->shms.n; i++)
		for (off_t at = 0; next_run(shm_at(im, i), &at) >= 0;)
			n++;
	return n;
}

static void emit_fill(struct prog *p, const struct image_shm *s, unsigned int slot, uint64_t base)
{
	for (off_t at = 0;;) {
		int64_t data = next_run(s, &at);
		if (data == -ENXIO)
			return;
		if (data < 0) {
			p->arena->failed = true;
			return;
		}
		prog_sys(p, SYS_pread64, slot, base + (uint64_t)data, (uint64_t)(at - data),
			 (uint64_t)data);
		prog_slots(p, 1);
		prog_exact(p, (uint64_t)(at - data));
	}
}

void shm_emit_objects(struct prog *p, const struct tree_image *im, unsigned int first_slot)
{
	for (int i = 0; i < (int)im->shms.n; i++) {
		const struct image_shm *s = shm_at(im, i);
		uint64_t at = object_address(im, i);
		if (s->segment)
			segments_emit_attach(p, s, at);
		else
			prog_sys(p, SYS_mmap, at, s->bytes, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE,
				 (uint64_t)-1, 0);
		emit_fill(p, s, first_slot + (unsigned int)i, at);
		if (s->segment)
			segments_emit_filled(p, s);
	}
}

static void load_mapping(struct load *l, const struct image_vma *v)
{
	uint64_t from = object_address(l->image, v->object) + v->offset;
	uint64_t bytes = v->end - v->start;
	prog_sys(l->prog, SYS_mremap, from, 0, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, v->start);
	prog_sys(l->prog, SYS_mprotect, v->start, bytes, (uint64_t)v->prot);
}

void shm_load(struct load *l, const struct image_proc *p)
{
	vec_each(struct image_vma, v, &p->vmas)
		if (v->kind == VMA_SHM && !shm_at(l->image, v->object)->segment)
			load_mapping(l, v);
	segments_load(l, p, object_address(l->image, (int)l->image->shms.n));
}
