/* Staging chunks: neighbours stay neighbours, places stay from checkpoint to checkpoint. */
#include "parts/stagemap.h"

#include <errno.h>

#include "harness/harness.h"
#include "puppet/abi.h"

static struct image_proc *add_proc(struct tree_image *im, uint64_t key)
{
	struct image_proc *p = vec_add(&im->procs);
	t_assert(p);
	p->key = key;
	return p;
}

static uint64_t place(struct tree_image *im, uint64_t key, uint64_t start, uint64_t end, bool *moved)
{
	uint64_t stage = 0;
	t_ok(stagemap_place(im, key, start, end, &stage, moved));
	return stage;
}

TEST(one_distance_within_a_chunk)
{
	struct tree_image im;
	bool moved;
	image_init(&im);
	uint64_t a = place(&im, 1, 0x7f0000001000, 0x7f0000002000, &moved);
	t_assert(!moved);
	uint64_t b = place(&im, 1, 0x7f0000005000, 0x7f0000009000, &moved);
	t_assert(!moved);
	t_eq(b - a, 0x4000);
	t_eq(a % 4096, 0);
	t_assert(a >= PUP_STAGE && b < PUP_STAGE_END);
	image_deinit(&im);
}

TEST(processes_do_not_share_chunks)
{
	struct tree_image im;
	bool moved;
	image_init(&im);
	uint64_t a = place(&im, 1, 0x555500000000, 0x555500001000, &moved);
	uint64_t b = place(&im, 2, 0x555500000000, 0x555500001000, &moved);
	t_assert((a ^ b) >> STAGE_CHUNK_BITS);
	image_deinit(&im);
}

TEST(mapping_over_several_chunks_is_contiguous)
{
	struct tree_image im;
	bool moved;
	image_init(&im);
	uint64_t start = 0x100000000, end = start + 5 * STAGE_CHUNK_BYTES;
	uint64_t a = place(&im, 1, start, end, &moved);
	uint64_t last = place(&im, 1, end - 4096, end, &moved);
	t_assert(!moved);
	t_eq(last - a, end - 4096 - start);
	image_deinit(&im);
}

TEST(mapping_that_outgrows_its_neighbour_moves_and_says_so)
{
	struct tree_image im;
	bool moved;
	image_init(&im);
	uint64_t start = STAGE_CHUNK_BYTES;
	place(&im, 1, start, start + 4096, &moved);
	/* takes the chunk behind it */
	place(&im, 2, start, start + 4096, &moved);
	uint64_t a = place(&im, 1, start, start + 2 * STAGE_CHUNK_BYTES, &moved);
	t_assert(moved);
	uint64_t b = place(&im, 1, start + STAGE_CHUNK_BYTES, start + STAGE_CHUNK_BYTES + 4096, &moved);
	t_assert(!moved);
	t_eq(b - a, STAGE_CHUNK_BYTES);
	image_deinit(&im);
}

TEST(next_image_keeps_places_and_forgets_the_dead)
{
	struct tree_image first, next;
	bool moved;
	image_init(&first);
	image_init(&next);
	add_proc(&first, 1);
	add_proc(&first, 2);
	uint64_t dead = place(&first, 1, 0x1000, 0x2000, &moved);
	uint64_t alive = place(&first, 2, 0x1000, 0x2000, &moved);
	add_proc(&next, 2);
	add_proc(&next, 3);
	t_ok(stagemap_inherit(&next, &first));
	t_eq(place(&next, 2, 0x1000, 0x2000, &moved), alive);
	t_assert(!moved);
	/* the place of the dead one is free again */
	t_eq(place(&next, 3, 0x1000, 0x2000, &moved), dead);
	image_deinit(&first);
	image_deinit(&next);
}

TEST(address_space_that_is_used_up_is_an_error)
{
	struct tree_image im;
	bool moved;
	uint64_t stage;
	image_init(&im);
	t_eq(stagemap_place(&im, 1, 0, PUP_STAGE_END - PUP_STAGE + STAGE_CHUNK_BYTES, &stage,
			    &moved),
	     -ENOSPC);
	t_ok(stagemap_place(&im, 1, 0, PUP_STAGE_END - PUP_STAGE, &stage, &moved));
	t_eq(stagemap_place(&im, 2, 0, 4096, &stage, &moved), -ENOSPC);
	image_deinit(&im);
}
