#include "parts/stagemap.h"

#include <errno.h>

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

int stagemap_place(struct tree_image *im, uint64_t key, uint64_t start, uint64_t end,
		   uint64_t *stage, bool *moved)
{
	uint64_t guest = start & ~(STAGE_CHUNK_BYTES - 1);
	uint64_t n = (end - guest + STAGE_CHUNK_BYTES - 1) >> STAGE_CHUNK_BITS;
	*moved = false;
	if (!in_place(im, key, guest, n)) {
		size_t before = im->chunks.n;
		forget(im, key, guest, n);
		*moved = im->chunks.n != before;
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
