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

static struct image_vma *add_vma(struct image_proc *p, uint64_t start, uint64_t end)
{
	struct image_vma *v = vec_add(&p->vmas);
	t_assert(v);
	*v = (struct image_vma){ .start = start, .end = end, .kind = VMA_ANON };
	return v;
}

/* A process that has this mapping and no other. */
static int try_place(struct tree_image *im, uint64_t key, uint64_t start, uint64_t end,
		     uint64_t *stage)
{
	struct image_proc p = { .key = key, .vmas = VEC_INIT(struct image_vma) };
	struct image_vma *v = add_vma(&p, start, end);
	int r = stagemap_place(im, &p);
	*stage = v->stage;
	vec_deinit(&p.vmas);
	return r;
}

static uint64_t place(struct tree_image *im, uint64_t key, uint64_t start, uint64_t end)
{
	uint64_t stage;
	t_ok(try_place(im, key, start, end, &stage));
	return stage;
}

TEST(one_distance_within_a_chunk)
{
	struct tree_image im;
	image_init(&im);
	uint64_t a = place(&im, 1, 0x7f0000001000, 0x7f0000002000);
	uint64_t b = place(&im, 1, 0x7f0000005000, 0x7f0000009000);
	t_eq(b - a, 0x4000);
	t_eq(a % 4096, 0);
	t_assert(a >= PUP_STAGE && b < PUP_STAGE_END);
	image_deinit(&im);
}

TEST(processes_do_not_share_chunks)
{
	struct tree_image im;
	image_init(&im);
	uint64_t a = place(&im, 1, 0x555500000000, 0x555500001000);
	uint64_t b = place(&im, 2, 0x555500000000, 0x555500001000);
	t_assert((a ^ b) >> STAGE_CHUNK_BITS);
	image_deinit(&im);
}

TEST(mapping_over_several_chunks_is_contiguous)
{
	struct tree_image im;
	image_init(&im);
	uint64_t start = 0x100000000, end = start + 5 * STAGE_CHUNK_BYTES;
	uint64_t a = place(&im, 1, start, end);
	uint64_t last = place(&im, 1, end - 4096, end);
	t_eq(last - a, end - 4096 - start);
	image_deinit(&im);
}

TEST(mapping_that_outgrows_its_neighbour_moves)
{
	struct tree_image im;
	image_init(&im);
	uint64_t start = STAGE_CHUNK_BYTES;
	uint64_t before = place(&im, 1, start, start + 4096);
	/* takes the chunk behind it */
	place(&im, 2, start, start + 4096);
	uint64_t a = place(&im, 1, start, start + 2 * STAGE_CHUNK_BYTES);
	t_assert(a != before);
	uint64_t b = place(&im, 1, start + STAGE_CHUNK_BYTES, start + STAGE_CHUNK_BYTES + 4096);
	t_eq(b - a, STAGE_CHUNK_BYTES);
	image_deinit(&im);
}

TEST(next_image_keeps_places_and_forgets_the_dead)
{
	struct tree_image first, next;
	image_init(&first);
	image_init(&next);
	add_proc(&first, 1);
	add_proc(&first, 2);
	uint64_t dead = place(&first, 1, 0x1000, 0x2000);
	uint64_t alive = place(&first, 2, 0x1000, 0x2000);
	add_proc(&next, 2);
	add_proc(&next, 3);
	t_ok(stagemap_inherit(&next, &first));
	t_eq(place(&next, 2, 0x1000, 0x2000), alive);
	/* the place of the dead one is free again */
	t_eq(place(&next, 3, 0x1000, 0x2000), dead);
	image_deinit(&first);
	image_deinit(&next);
}

TEST(address_space_that_is_used_up_is_an_error)
{
	struct tree_image im;
	uint64_t stage;
	image_init(&im);
	t_eq(try_place(&im, 1, 0, PUP_STAGE_END - PUP_STAGE + STAGE_CHUNK_BYTES, &stage), -ENOSPC);
	t_ok(try_place(&im, 1, 0, PUP_STAGE_END - PUP_STAGE, &stage));
	t_eq(try_place(&im, 2, 0, 4096, &stage), -ENOSPC);
	image_deinit(&im);
}

TEST(mappings_of_a_chunk_move_together_when_one_outgrows_it)
{
	struct tree_image im;
	struct image_proc p = { .key = 1, .vmas = VEC_INIT(struct image_vma) };
	image_init(&im);
	uint64_t start = STAGE_CHUNK_BYTES, next = start + STAGE_CHUNK_BYTES;
	place(&im, 1, start, start + 4096);
	place(&im, 2, start, start + 4096);
	add_vma(&p, start, start + 4096);
	add_vma(&p, next - 4096, next + 4096);
	add_vma(&p, next + STAGE_CHUNK_BYTES - 4096, next + STAGE_CHUNK_BYTES + 4096);
	add_vma(&p, next + 2 * STAGE_CHUNK_BYTES, next + 2 * STAGE_CHUNK_BYTES + 4096);
	t_ok(stagemap_place(&im, &p));
	const struct image_vma *v = vec_at(&p.vmas, 0);
	t_eq(v[1].stage - v[0].stage, v[1].start - v[0].start);
	t_eq(v[2].stage - v[0].stage, v[2].start - v[0].start);
	/* and stay where they are */
	uint64_t stage = v[0].stage;
	t_ok(stagemap_place(&im, &p));
	t_eq(v[0].stage, stage);
	t_eq(place(&im, 1, start, start + 4096), stage);
	vec_deinit(&p.vmas);
	image_deinit(&im);
}

TEST(ranges_with_a_chunk_between_them_do_not_adjoin)
{
	uint64_t at = PUP_STAGE, chunk = STAGE_CHUNK_BYTES;
	t_assert(stagemap_adjoin(at + 4096, at + 8192));
	t_assert(stagemap_adjoin(at + chunk, at + chunk));
	t_assert(stagemap_adjoin(at + 4096, at + 2 * chunk - 4096));
	t_assert(!stagemap_adjoin(at + chunk, at + 2 * chunk));
	t_assert(!stagemap_adjoin(at + 4096, at + 5 * chunk));
}
