/*
 * program.c - a dump's plan as a program for the template: unmap what is
 * gone, grow, map what is new, make it writable, drop and copy pages, give
 * every mapping its protection.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "parts/mapfile.h"
#include "parts/memory.h"
#include "sys/fd.h"
#include "template/dump.h"
#include "template/plan.h"

enum {
	IOV_BATCH = 512,		/* of at most 1024, UIO_MAXIOV */
	ARENA_SLACK = 256 << 10,
	OPS_PER_VMA = 5,
	HUGE_MIN = 8 << 20,
	BIG = 1 << 30,			/* reservations: not accounted */
};

static struct image_vma *live_vma(const struct dump_proc *dp, const struct dump_vma *dv)
{
	return vec_at(&dp->live->vmas, dv->vma);
}

static const struct dump_proc *find_proc(const struct dump *d, uint64_t key)
{
	vec_each(struct dump_proc, dp, &d->procs)
		if (dp->key == key)
			return dp;
	return NULL;
}

static void emit_unmap(struct prog *p, const struct image_vma *o, uint64_t start, uint64_t end)
{
	if (start < end)
		prog_sys(p, SYS_munmap, o->stage + (start - o->start), end - start);
}

/* Take away the pieces of base mapping o that no live mapping keeps. */
static void unmap_rest(struct prog *p, const struct dump_proc *dp, const struct image_vma *o)
{
	uint64_t at = o->start;
	for (size_t i = 0; dp && i < dp->vmas.n; i++) {
		const struct dump_vma *dv = vec_at(&dp->vmas, i);
		if (dv->base != o || dv->kind == PLAN_BUILD)
			continue;
		const struct image_vma *v = live_vma(dp, dv);
		emit_unmap(p, o, at, v->start);
		at = v->end;
	}
	emit_unmap(p, o, at, o->end);
}

static void emit_unmaps(struct prog *p, const struct dump *d)
{
	vec_each(struct image_proc, base, &d->base->procs) {
		const struct dump_proc *dp = find_proc(d, base->key);
		if (base->state != PROC_LIVE)
			continue;
		vec_each(struct image_vma, o, &base->vmas)
			if (memory_is_staged(o))
				unmap_rest(p, dp, o);
	}
}

static void emit_map(struct prog *p, const struct tree_image *im, const struct image_vma *v, int prot)
{
	int flags = MAP_PRIVATE | MAP_FIXED;
	uint64_t fd = (uint64_t)-1;
	if (v->kind == VMA_ANON)
		flags |= MAP_ANONYMOUS | (v->end - v->start >= BIG ? MAP_NORESERVE : 0) |
			 (v->grows_down ? MAP_GROWSDOWN : 0);
	else
		fd = (uint64_t)((struct image_map_file *)vec_at(&im->map_files,
								(size_t)v->object))
			     ->template_fd;
	prog_sys(p, SYS_mmap, v->stage, v->end - v->start, (uint64_t)prot, (uint64_t)flags, fd,
		 v->kind == VMA_ANON ? 0 : v->offset);
}

static bool needs_room(const struct dump_vma *dv)
{
	return dv->end_pull > dv->first_pull;
}

/*
 * Big memory that is full goes into huge pages: filling it costs a fault each
 * 2 MB, and every later fork copies a five-hundredth of the page tables (1 GB:
 * 18 ms in small pages, 2 in huge ones). Sparse memory would be blown up. For
 * the whole mapping or not at all: it must stay one VMA.
 */
static bool wants_huge_pages(const struct dump_proc *dp, const struct dump_vma *dv)
{
	const struct image_vma *v = live_vma(dp, dv);
	uint64_t bytes = v->end - v->start, full = 0;
	if (dv->kind != PLAN_BUILD || v->kind != VMA_ANON || v->grows_down || bytes < HUGE_MIN)
		return false;
	for (size_t i = dv->first_pull; i < dv->end_pull; i++) {
		const struct sys_page_run *run = vec_at(&dp->pull, i);
		full += run->end - run->start;
	}
	return full >= bytes - bytes / 8;
}

/* Before pages are copied: map, grow, make writable. */
static void emit_shape(struct prog *p, const struct dump *d, const struct dump_proc *dp)
{
	enum { RW = PROT_READ | PROT_WRITE };
	vec_each(struct dump_vma, dv, &dp->vmas) {
		const struct image_vma *v = live_vma(dp, dv);
		bool open = (v->prot & RW) != RW && needs_room(dv);
		if (dv->kind == PLAN_BUILD) {
			emit_map(p, d->image, v, open ? v->prot | RW : v->prot);
			if (wants_huge_pages(dp, dv)) {
				prog_sys(p, SYS_madvise, v->stage, v->end - v->start,
					 MADV_HUGEPAGE);
				prog_mayfail(p);	/* a kernel without them */
			}
		} else if (dv->kind == PLAN_GROW) {
			uint64_t old = dv->base->end - v->start;
			prog_sys(p, SYS_mremap, v->stage, old, v->end - v->start, 0);
		}
		if (dv->kind != PLAN_BUILD && needs_room(dv) &&
		    (open || (dv->base->prot & RW) != RW))
			prog_sys(p, SYS_mprotect, v->stage, v->end - v->start,
				 (uint64_t)(v->prot | RW));
	}
}

static void emit_protection(struct prog *p, const struct dump_proc *dp)
{
	enum { RW = PROT_READ | PROT_WRITE };
	vec_each(struct dump_vma, dv, &dp->vmas) {
		const struct image_vma *v = live_vma(dp, dv);
		bool opened = (v->prot & RW) != RW && needs_room(dv);
		if (opened || (dv->kind != PLAN_BUILD && dv->base->prot != v->prot))
			prog_sys(p, SYS_mprotect, v->stage, v->end - v->start, (uint64_t)v->prot);
	}
}

static uint64_t stage_of(const struct dump_proc *dp, uint64_t guest)
{
	vec_each(struct image_vma, v, &dp->live->vmas)
		if (memory_is_staged(v) && guest >= v->start && guest < v->end)
			return v->stage + (guest - v->start);
	return 0;
}

static void emit_drops(struct prog *p, const struct dump_proc *dp)
{
	vec_each(struct sys_page_run, run, &dp->drop)
		prog_sys(p, SYS_madvise, stage_of(dp, run->start), run->end - run->start,
			 MADV_DONTNEED);
}

/* One process_vm_readv(2) for up to IOV_BATCH runs of readable memory. */
struct batch {
	struct iovec *local, *remote;
	uint64_t local_at, remote_at;
	size_t n;
	uint64_t bytes;
};

static void batch_flush(struct prog *p, struct batch *b, pid_t pid)
{
	if (b->n) {
		prog_sys(p, SYS_process_vm_readv, (uint64_t)pid, b->local_at, b->n, b->remote_at,
			 b->n);
		prog_exact(p, b->bytes);
	}
	*b = (struct batch){ 0 };
}

static void batch_add(struct prog *p, struct batch *b, pid_t pid, uint64_t stage, uint64_t from,
		      uint64_t len)
{
	enum { MAX_BYTES = 1 << 30 };
	if (b->n == IOV_BATCH || b->bytes > MAX_BYTES)
		batch_flush(p, b, pid);
	if (!b->n) {
		b->local = prog_space(p->arena, IOV_BATCH * sizeof(*b->local), &b->local_at);
		b->remote = prog_space(p->arena, IOV_BATCH * sizeof(*b->remote), &b->remote_at);
	}
	if (!b->local || !b->remote)
		return;
	b->local[b->n] = (struct iovec){ (void *)stage, len };
	b->remote[b->n++] = (struct iovec){ (void *)from, len };
	b->bytes += len;
}

/*
 * Memory that its process may not read itself: only its tracer can, so the
 * keeper reads it, into the arena.
 */
static void pull_hidden(struct prog *p, const struct dump_proc *dp, uint64_t stage,
			const struct sys_page_run *run)
{
	size_t len = run->end - run->start;
	uint64_t at;
	void *bytes = prog_space(p->arena, len, &at);
	if (!bytes)
		return;
	if (sys_pread(dp->mem_fd, bytes, len, run->start) != (ssize_t)len)
		p->arena->failed = true;
	else
		prog_op(p, PUP_OP_COPY, stage, at, len);
}

static void emit_pulls(struct prog *p, const struct dump_proc *dp)
{
	struct batch batch = { 0 };
	vec_each(struct dump_vma, dv, &dp->vmas) {
		const struct image_vma *v = live_vma(dp, dv);
		for (size_t i = dv->first_pull; i < dv->end_pull; i++) {
			const struct sys_page_run *run = vec_at(&dp->pull, i);
			uint64_t stage = v->stage + (run->start - v->start);
			if (v->prot & PROT_READ)
				batch_add(p, &batch, dp->pid, stage,
					  dp->is_template ? stage : run->start,
					  run->end - run->start);
			else
				pull_hidden(p, dp, stage, run);
		}
	}
	batch_flush(p, &batch, dp->pid);
}

static size_t hidden_bytes(const struct dump_proc *dp)
{
	size_t n = 0;
	vec_each(struct dump_vma, dv, &dp->vmas)
		for (size_t i = dv->first_pull; i < dv->end_pull; i++) {
			const struct sys_page_run *run = vec_at(&dp->pull, i);
			if (!(live_vma(dp, dv)->prot & PROT_READ))
				n += run->end - run->start + 16;
		}
	return n;
}

static size_t arena_bytes(const struct dump *d)
{
	size_t n = ARENA_SLACK;
	vec_each(struct dump_proc, dp, &d->procs) {
		size_t batches = dp->pull.n / IOV_BATCH + 2;
		n += batches * 2 * IOV_BATCH * sizeof(struct iovec) + hidden_bytes(dp);
		n += (dp->vmas.n * OPS_PER_VMA + dp->drop.n + dp->pull.n + 8) *
		     sizeof(struct pup_op);
	}
	vec_each(struct image_proc, base, &d->base->procs)
		n += base->vmas.n * 2 * sizeof(struct pup_op);
	return n + d->base->map_files.n * sizeof(struct pup_op);
}

/* New files take the numbers they have in all templates. */
static size_t emit_files(struct prog *p, const struct vec *opened, int *fds)
{
	size_t n = 0;
	vec_each(struct look_opened, o, opened) {
		prog_sys(p, SYS_dup3, n, (uint64_t)o->number, O_CLOEXEC);
		prog_slots(p, 1);
		fds[n++] = o->fd;
	}
	return n;
}

/* Copies that nobody maps any more. */
static void emit_closes(struct prog *p, const struct dump *d)
{
	for (size_t i = 0; i < d->base->map_files.n && i < d->image->map_files.n; i++) {
		const struct image_map_file *was = vec_at(&d->base->map_files, i);
		const struct image_map_file *is = vec_at(&d->image->map_files, i);
		if (is->is_gone && !was->is_gone && !mapfile_has_number(d->image, was->template_fd))
			prog_sys(p, SYS_close, (uint64_t)was->template_fd);
	}
}

/* Files first, in batches: one request carries PUP_FDS_MAX - 1 descriptors. */
static int pass_files(const struct template *t, const struct vec *opened, struct err *e)
{
	enum { BATCH = PUP_FDS_MAX - 1 };
	for (size_t at = 0; at < opened->n; at += BATCH) {
		struct vec part = *opened;
		part.data = vec_at(opened, at);
		part.n = opened->n - at < BATCH ? opened->n - at : BATCH;
		struct prog_arena arena;
		int fds[BATCH];
		int r = prog_arena_init(&arena, PUP_ARENA, ARENA_SLACK);
		if (r)
			return err_set(e, -r, "arena: %s", strerror(-r));
		struct prog p;
		prog_init(&p, &arena);
		size_t n = emit_files(&p, &part, fds);
		r = template_run(t, &arena, prog_seal(&p), fds, n, e);
		prog_deinit(&p);
		prog_arena_deinit(&arena);
		if (r)
			return r;
	}
	return 0;
}

int dump_run(struct dump *d, const struct template *t, const struct vec *opened, struct err *e)
{
	int r = pass_files(t, opened, e);
	if (r)
		return r;
	struct prog_arena arena;
	r = prog_arena_init(&arena, PUP_ARENA, arena_bytes(d));
	if (r)
		return err_set(e, -r, "arena: %s", strerror(-r));
	struct prog p;
	prog_init(&p, &arena);
	emit_closes(&p, d);
	emit_unmaps(&p, d);
	vec_each(struct dump_proc, dp, &d->procs) {
		emit_shape(&p, d, dp);
		emit_drops(&p, dp);
		emit_pulls(&p, dp);
		emit_protection(&p, dp);
	}
	uint64_t program = prog_seal(&p);
	r = template_run(t, &arena, program, NULL, 0, e);
	prog_deinit(&p);
	prog_arena_deinit(&arena);
	return r;
}
