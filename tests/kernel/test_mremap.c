/* Moving staged memory into place: what one mremap call can and cannot do. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel/pagemap.h"

enum { SOME = 4 };

static char *reserve(size_t pages)
{
	char *p = mmap(NULL, pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	t_assert(p != MAP_FAILED);
	t_sys(munmap(p, pages * PAGE));
	return p;
}

static char *map_at(char *at, size_t pages, int prot, char fill)
{
	char *p = mmap(at, pages * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	t_assert(p == at);
	memset(p, fill, pages * PAGE);
	t_sys(mprotect(p, pages * PAGE, prot));
	return p;
}

static void *move(void *from, size_t pages, void *to)
{
	return mremap(from, pages * PAGE, pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
}

/* [rw][gap][r-][rw]: four pages each. */
static char *map_mixed(void)
{
	char *p = reserve(4 * SOME);
	map_at(p, SOME, PROT_READ | PROT_WRITE, 'a');
	map_at(p + 2 * SOME * PAGE, SOME, PROT_READ, 'b');
	map_at(p + 3 * SOME * PAGE, SOME, PROT_READ | PROT_WRITE, 'c');
	return p;
}

/* Move the mixed range; skips on kernels that move one VMA a call. */
static void move_mixed(char *from, char *to)
{
	if (move(from, 4 * SOME, to) == MAP_FAILED && errno == EFAULT)
		t_skip("mremap moves one VMA a call here (needs Linux 6.17)");
}

TEST(one_call_moves_many_vmas_over_gaps)
{
	char *p = map_mixed(), *to = reserve(4 * SOME);
	move_mixed(p, to);
	t_eq(to[0], 'a');
	t_eq(to[2 * SOME * PAGE], 'b');
	t_eq(to[4 * SOME * PAGE - 1], 'c');
	t_eq(msync(p, PAGE, MS_ASYNC), -1);
	t_eq(errno, ENOMEM);
}

TEST(gap_leaves_the_destination_mapped)
{
	char *p = map_mixed(), *to = reserve(4 * SOME);
	map_at(to + SOME * PAGE, 1, PROT_READ, 'z');
	move_mixed(p, to);
	t_eq(to[SOME * PAGE], 'z');
}

TEST(range_must_start_on_a_vma)
{
	char *p = map_mixed(), *to = reserve(4 * SOME);
	move_mixed(p, to);
	t_assert(move(to + SOME * PAGE, 3 * SOME, p) == MAP_FAILED);
	t_eq(errno, EFAULT);
}

/* A resize is of one VMA: why a region of the program must stay one. */
TEST(growing_over_two_vmas_is_efault)
{
	char *p = reserve(4 * SOME);
	map_at(p, SOME, PROT_READ | PROT_WRITE, 'a');
	map_at(p + SOME * PAGE, SOME, PROT_READ, 'b');
	t_assert(mremap(p, 2 * SOME * PAGE, 3 * SOME * PAGE, MREMAP_MAYMOVE) == MAP_FAILED);
	t_eq(errno, EFAULT);
}

/* Forked VMAs never merge with new neighbours, so a tail is grown in place. */
TEST(forked_vma_does_not_merge_with_a_new_neighbour)
{
	char *p = reserve(2 * SOME);
	map_at(p, SOME, PROT_READ | PROT_WRITE, 'a');
	pid_t pid = t_fork();
	if (pid == 0) {
		map_at(p + SOME * PAGE, SOME, PROT_READ | PROT_WRITE, 'b');
		t_assert(mremap(p, 2 * SOME * PAGE, 3 * SOME * PAGE, MREMAP_MAYMOVE) == MAP_FAILED);
		t_eq(errno, EFAULT);
		t_sys(munmap(p + SOME * PAGE, SOME * PAGE));
		t_assert(mremap(p, SOME * PAGE, 2 * SOME * PAGE, 0) == p);
		_exit(0);
	}
	t_join(pid);
}

TEST(armed_vma_inside_leaves_the_move_half_done)
{
	int uffd = uffd_open();
	char *p = map_mixed(), *to = reserve(4 * SOME);
	char *probe = map_mixed();
	move_mixed(probe, reserve(4 * SOME));
	t_sys(uffd_register(uffd, p + 3 * SOME * PAGE, SOME * PAGE));
	t_assert(move(p, 4 * SOME, to) == MAP_FAILED);
	t_note("move over an armed VMA: %s", strerror(errno));
	t_eq(to[0], 'a');
	t_eq(p[3 * SOME * PAGE], 'c');
	close(uffd);
}

/* The address range of all mappings whose name starts with [v. */
static bool find_vdso(char **start, char **end)
{
	char line[512];
	bool found = false;
	FILE *f = fopen("/proc/self/maps", "re");
	t_assert(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned long from, to;
		if (!strstr(line, "[vvar") && !strstr(line, "[vdso]"))
			continue;
		t_eq(sscanf(line, "%lx-%lx", &from, &to), 2);
		if (!found)
			*start = (char *)from;
		*end = (char *)to;
		found = true;
	}
	fclose(f);
	return found;
}

TEST(vvar_and_vdso_move_in_one_call)
{
	char *start, *end, *moved, *moved_end;
	pid_t pid = t_fork();
	if (pid == 0) {
		if (!find_vdso(&start, &end))
			t_skip("no vdso here");
		size_t pages = (size_t)(end - start) / PAGE;
		char *to = reserve(pages);
		/* from here on the process has no working vdso calls */
		if (move(start, pages, to) == MAP_FAILED && errno == EFAULT)
			t_skip("mremap moves one VMA a call here (needs Linux 6.17)");
		t_assert(find_vdso(&moved, &moved_end));
		t_assert(moved == to && moved_end == to + (end - start));
		t_eq(to[(char *)getauxval(AT_SYSINFO_EHDR) - start + 1], 'E');
		_exit(0);
	}
	t_join(pid);
}

TEST(old_size_zero_duplicates_a_shared_mapping)
{
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	t_assert(p != MAP_FAILED);
	char *q = mremap(p, 0, PAGE, MREMAP_MAYMOVE);
	t_assert(q != MAP_FAILED && q != p);
	p[0] = 'x';
	t_eq(q[0], 'x');
	q[1] = 'y';
	t_eq(p[1], 'y');
}

TEST(registering_vvar_or_vdso_is_refused)
{
	char *start, *end;
	int uffd = uffd_open();
	if (!find_vdso(&start, &end))
		t_skip("no vdso here");
	t_eq(uffd_register(uffd, start, PAGE), -1);
	t_eq(errno, EINVAL);
	t_eq(uffd_register(uffd, end - PAGE, PAGE), -1);
	t_eq(errno, EINVAL);
	close(uffd);
}
