#include "parts/stagemap.h"

#include <errno.h>

#include "parts/memory.h"
#include "puppet/abi.h"

enum { N_CHUNKS = (PUP_STAGE_END - PUP_STAGE) >> STAGE_CHUNK_BITS };

static struct stage_chunk *find(const struct tree_image *im, uint64_t key, uint64_t guest)
{
	vec_each(struct stage_chunk, c, &im->chunks)
		if (c->key == key && c->guest == guest)
			return c;
	return NULL;
}

static bool taken(const struct tree_image *im, uint64_t stage)
{
	vec_each(struct stage_chunk, c, &im->chunks)
		if (c->stage == stage)
			return true;
	return false;
}

/* First run of n free staging chunks, 0: there is none. */
static uint64_t free_run(const struct tree_image *im, uint64_t n)
{
	uint64_t run = 0;
	for (uint64_t i = 0; i < N_CHUNKS; i++) {
		uint64_t stage = PUP_STAGE + (i << STAGE_CHUNK_BITS);
		run = taken(im, stage) ? 0 : run + 1;
		if (run == n)
			return stage - ((n - 1) << STAGE_CHUNK_BITS);
	}
	return 0;
}

/* Do the n chunks from guest lie side by side, as far as they are placed? */
static bool in_place(const struct tree_image *im, uint64_t key, uint64_t guest, uint64_t n)
{
	const struct stage_chunk *first = find(im, key, guest);
	if (!first)
		return false;
	for (uint64_t i = 1; i < n; i++) {
		const struct stage_chunk *c =
			find(im, key, guest + (i << STAGE_CHUNK_BITS));
		if (!c || c->stage != first->stage + (i << STAGE_CHUNK_BITS))
			return false;
	}
	return true;
}

static void forget(struct tree_image *im, uint64_t key, uint64_t guest, uint64_t n)
{
	for (size_t i = im->chunks.n; i--;) {
		const struct stage_chunk *c = vec_at(&im->chunks, i);
		if (c->key == key && c->guest >= guest &&
		    c->guest < guest + (n << STAGE_CHUNK_BITS))
			vec_remove(&im->chunks, i);
	}
}

/* Staging address of [start, end), whose chunks lie side by side. */
static int place_run(struct tree_image *im, uint64_t key, uint64_t start, uint64_t end,
		     uint64_t *stage)
{
	uint64_t guest = start & ~(STAGE_CHUNK_BYTES - 1);
	uint64_t n = (end - guest + STAGE_CHUNK_BYTES - 1) >> STAGE_CHUNK_BITS;
	if (!in_place(im, key, guest, n)) {
		forget(im, key, guest, n);
		uint64_t at = free_run(im, n);
		if (!at)
			return -ENOSPC;
		for (uint64_t i = 0; i < n; i++) {
			struct stage_chunk *c = vec_add(&im->chunks);
			if (!c)
				return -ENOMEM;
			c->key = key;
			c->guest = guest + (i << STAGE_CHUNK_BITS);
			c->stage = at + (i << STAGE_CHUNK_BITS);
		}
	}
	*stage = find(im, key, guest)->stage + (start - guest);
	return 0;
}

/* Staged mappings from the one at `first` on that have chunks in common. */
static size_t run_of_chunks(const struct vec *vmas, size_t first, uint64_t *end)
{
	const struct image_vma *v = vec_at(vmas, first);
	size_t k = first + 1;
	*end = v->end;
	for (; k < vmas->n; k++) {
		v = vec_at(vmas, k);
		if (!memory_is_staged(v))
			continue;
		if (v->start >> STAGE_CHUNK_BITS > (*end - 1) >> STAGE_CHUNK_BITS)
			break;
		*end = v->end;
	}
	return k;
}

int stagemap_place(struct tree_image *im, struct image_proc *p)
{
	for (size_t k = 0; k < p->vmas.n;) {
		const struct image_vma *first = vec_at(&p->vmas, k);
		if (!memory_is_staged(first)) {
			k++;
			continue;
		}
		uint64_t end, stage;
		size_t after = run_of_chunks(&p->vmas, k, &end);
		int r = place_run(im, p->key, first->start, end, &stage);
		if (r)
			return r;
		for (uint64_t start = first->start; k < after; k++) {
			struct image_vma *v = vec_at(&p->vmas, k);
			if (memory_is_staged(v))
				v->stage = stage + (v->start - start);
		}
	}
	return 0;
}

bool stagemap_adjoin(uint64_t end, uint64_t start)
{
	return (start >> STAGE_CHUNK_BITS) - ((end - 1) >> STAGE_CHUNK_BITS) <= 1;
}

int stagemap_inherit(struct tree_image *im, const struct tree_image *parent)
{
	vec_each(struct stage_chunk, c, &parent->chunks) {
		if (image_find_key(im, c->key) == IMAGE_NONE)
			continue;
		struct stage_chunk *mine = vec_add(&im->chunks);
		if (!mine)
			return -ENOMEM;
		*mine = *c;
	}
	return 0;
}
