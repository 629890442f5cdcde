#include "puppet/prog.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "puppet/fault.h"
#include "sys/fd.h"

static void lay_status(struct prog_arena *a)
{
	struct pup_status *status = (struct pup_status *)a->local;
	status->magic = PUP_MAGIC;
	status->fault_after = puppet_fault_lend();
	/* the first page is the status alone: it goes last, see run.c */
	a->used_bytes = PUP_PAGE;
}

static size_t whole_pages(size_t bytes)
{
	return (bytes + 2 * PUP_PAGE - 1) & ~(size_t)(PUP_PAGE - 1);
}

int prog_arena_init(struct prog_arena *a, uint64_t remote, size_t cap_bytes)
{
	*a = (struct prog_arena){ .memfd = -1, .remote = remote };
	size_t len = whole_pages(cap_bytes);
	scoped_fd int fd = sys_memfd("mulligan-arena", 0);
	int r = fd < 0 ? fd : sys_ftruncate(fd, len);
	void *local = NULL;
	if (r == 0)
		r = sys_mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0, &local);
	if (r)
		return r;
	a->local = local;
	a->cap_bytes = len;
	a->memfd = take_fd(&fd);
	lay_status(a);
	return 0;
}

int prog_arena_init_heap(struct prog_arena *a, uint64_t remote, size_t cap_bytes)
{
	*a = (struct prog_arena){ .memfd = -1, .remote = remote };
	size_t len = whole_pages(cap_bytes);
	a->local = calloc(1, len);
	if (!a->local)
		return -ENOMEM;
	a->cap_bytes = len;
	lay_status(a);
	return 0;
}

void prog_arena_deinit(struct prog_arena *a)
{
	if (a->local)
		puppet_fault_return(prog_status(a)->fault_after);
	if (a->memfd >= 0)
		munmap(a->local, a->cap_bytes);
	else
		free(a->local);
	cleanup_fd(&a->memfd);
	a->local = NULL;
	a->cap_bytes = a->used_bytes = 0;
}

uint64_t prog_remote(const struct prog_arena *a, const void *local)
{
	const uint8_t *at = local;
	assert(at >= a->local && at <= a->local + a->cap_bytes);
	return a->remote + (uint64_t)(at - a->local);
}

void *prog_space(struct prog_arena *a, size_t len, uint64_t *remote)
{
	size_t start = (a->used_bytes + 15) & ~(size_t)15;
	if (remote)
		*remote = 0;
	if (a->failed || len > a->cap_bytes || start > a->cap_bytes - len) {
		a->failed = true;
		return NULL;
	}
	a->used_bytes = start + len;
	if (remote)
		*remote = a->remote + start;
	return a->local + start;
}

uint64_t prog_data(struct prog_arena *a, const void *bytes, size_t len)
{
	uint64_t remote;
	void *at = prog_space(a, len, &remote);
	if (at && len)
		memcpy(at, bytes, len);
	return remote;
}

uint64_t prog_string(struct prog_arena *a, const char *s)
{
	return prog_data(a, s, strlen(s) + 1);
}

void prog_init(struct prog *p, struct prog_arena *arena)
{
	*p = (struct prog){ .ops = VEC_INIT(struct pup_op), .arena = arena };
}

void prog_deinit(struct prog *p)
{
	vec_deinit(&p->ops);
}

size_t prog_add(struct prog *p, unsigned int line, enum pup_opcode opcode,
		uint16_t nr, const uint64_t a[6])
{
	struct pup_op *op = vec_add(&p->ops);
	if (!op) {
		p->arena->failed = true;
		return 0;
	}
	op->op = (uint16_t)opcode;
	op->nr = nr;
	op->line = line;
	memcpy(op->a, a, sizeof(op->a));
	return p->ops.n - 1;
}

static struct pup_op *last(struct prog *p)
{
	return p->ops.n ? vec_at(&p->ops, p->ops.n - 1) : NULL;
}

void prog_out(struct prog *p, unsigned int slot)
{
	assert(slot < PUP_SLOTS);
	if (last(p))
		last(p)->out = slot + 1;
}

void prog_slots(struct prog *p, unsigned int mask)
{
	if (last(p))
		last(p)->slots = (uint16_t)mask;
}

void prog_mayfail(struct prog *p)
{
	if (last(p))
		last(p)->flags |= PUP_F_MAYFAIL;
}

void prog_exact(struct prog *p, uint64_t bytes)
{
	if (!last(p))
		return;
	last(p)->flags |= PUP_F_EXACT;
	last(p)->a[5] = bytes;
}

unsigned int prog_slot(struct prog *p)
{
	if (p->next_slot == PUP_SLOTS) {
		p->arena->failed = true;
		return 0;
	}
	return p->next_slot++;
}

uint64_t prog_seal(struct prog *p)
{
	uint64_t remote;
	size_t bytes = p->ops.n * sizeof(struct pup_op);
	p->sealed = prog_space(p->arena, bytes + sizeof(struct pup_op), &remote);
	if (!p->sealed)
		return 0;
	if (bytes)
		memcpy(p->sealed, p->ops.data, bytes);
	p->sealed[p->ops.n] = (struct pup_op){ .op = PUP_OP_END };
	return remote;
}

int64_t prog_result(const struct prog *p, size_t i)
{
	assert(p->sealed && i < p->ops.n);
	return p->sealed[i].ret;
}
