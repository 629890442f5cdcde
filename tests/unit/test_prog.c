/* Programs: what the keeper writes is what the puppet finds. */
#include "puppet/prog.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "harness/harness.h"

static const uint64_t remote = 0x100040000000;

TEST(arena_addresses_match_on_both_sides)
{
	struct prog_arena a;
	t_ok(prog_arena_init(&a, remote, 10000));
	uint64_t at;
	char *here = prog_space(&a, 100, &at);
	t_eq(prog_remote(&a, here), at);
	t_eq(at % 16, 0);
	t_assert(at >= remote + PUP_PAGE);
	uint64_t text = prog_string(&a, "hello");
	t_str_eq((char *)a.local + (text - remote), "hello");
	t_eq(prog_status(&a)->magic, PUP_MAGIC);
	prog_arena_deinit(&a);
}

TEST(memfd_arena_is_shared)
{
	struct prog_arena a;
	t_ok(prog_arena_init(&a, remote, 4096));
	uint64_t at = prog_string(&a, "seen");
	char *other = mmap(NULL, a.cap_bytes, PROT_READ, MAP_SHARED, a.memfd, 0);
	t_assert(other != MAP_FAILED);
	t_str_eq(other + (at - remote), "seen");
	munmap(other, a.cap_bytes);
	prog_arena_deinit(&a);
}

TEST(full_arena_is_remembered_and_stays_whole)
{
	struct prog_arena a;
	t_ok(prog_arena_init_heap(&a, remote, 4096));
	t_assert(!prog_space(&a, 1 << 20, NULL));
	t_assert(a.failed);
	t_assert(!prog_space(&a, 16, NULL));
	prog_arena_deinit(&a);
}

TEST(sealed_program_ends_and_has_what_was_said_of_each_operation)
{
	struct prog_arena a;
	struct prog p;
	t_ok(prog_arena_init_heap(&a, remote, 8192));
	prog_init(&p, &a);
	unsigned int slot = prog_slot(&p);
	prog_sys(&p, SYS_openat, 1, 2, 3);
	prog_out(&p, slot);
	size_t second = prog_sys(&p, SYS_process_vm_readv, slot, 1);
	prog_slots(&p, 1);
	prog_mayfail(&p);
	prog_exact(&p, 77);
	uint64_t start = prog_seal(&p);
	const struct pup_op *op = (void *)(a.local + (start - remote));
	t_eq(op[0].op, PUP_OP_SYS);
	t_eq(op[0].nr, SYS_openat);
	t_eq(op[0].a[2], 3);
	t_eq(op[0].out, slot + 1);
	t_eq(op[1].slots, 1);
	t_eq(op[1].flags, PUP_F_MAYFAIL | PUP_F_EXACT);
	t_eq(op[1].a[5], 77);
	t_eq(op[2].op, PUP_OP_END);
	p.sealed[second].ret = -EPERM;
	t_eq(prog_result(&p, second), -EPERM);
	prog_deinit(&p);
	prog_arena_deinit(&a);
}
