/* Dirty tracking: what PAGEMAP_SCAN and userfaultfd do, and where they bite. */
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel/pagemap.h"

enum { N_RUNS = 64, BIG_PAGES = 16384, SOME = 16 };

static char *map_pages(size_t n)
{
	char *p = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	t_assert(p != MAP_FAILED);
	t_sys(madvise(p, n * PAGE, MADV_NOHUGEPAGE));
	for (size_t i = 0; i < n; i++)
		p[i * PAGE] = 1;
	return p;
}

static char *map_armed(int uffd, size_t n)
{
	char *p = map_pages(n);
	t_sys(uffd_register(uffd, p, n * PAGE));
	t_sys(uffd_protect(uffd, p, n * PAGE));
	return p;
}

/* Pages in the runs, and that each run says what is expected of it. */
static size_t count_pages(const struct page_run *runs, long n)
{
	size_t pages = 0;
	for (long i = 0; i < n; i++)
		pages += (runs[i].end - runs[i].start) / PAGE;
	return pages;
}

TEST(written_pages_are_found_and_armed_again_in_one_pass)
{
	struct page_run runs[N_RUNS];
	int uffd = uffd_open(), fd = pagemap_open_self();
	char *p = map_armed(uffd, SOME);
	t_eq(pagemap_written(fd, p, SOME * PAGE, runs, N_RUNS, 0), 0);
	p[3 * PAGE] = 2;
	p[9 * PAGE] = 2;
	t_eq(pagemap_written(fd, p, SOME * PAGE, runs, N_RUNS, SCAN_WP_MATCHING), 2);
	t_eq(runs[0].start, (uintptr_t)p + 3 * PAGE);
	t_eq(runs[1].start, (uintptr_t)p + 9 * PAGE);
	t_eq(count_pages(runs, 2), 2);
	t_eq(pagemap_written(fd, p, SOME * PAGE, runs, N_RUNS, 0), 0);
	p[3 * PAGE] = 3;
	t_eq(pagemap_written(fd, p, SOME * PAGE, runs, N_RUNS, 0), 1);
	close(fd);
	close(uffd);
}

/* Only masks of PAGE_IS_WRITTEN and nothing else take the fast path. */
TEST(fast_path_needs_the_written_mask_alone)
{
	struct page_run runs[N_RUNS];
	int uffd = uffd_open(), fd = pagemap_open_self();
	char *p = map_armed(uffd, BIG_PAGES);
	double fast = 1e9, general = 1e9;
	for (int i = 0; i < 5; i++) {
		double start = fact_now_us();
		t_eq(pagemap_written(fd, p, (size_t)BIG_PAGES * PAGE, runs, N_RUNS, 0), 0);
		double us = fact_now_us() - start;
		fast = us < fast ? us : fast;
		struct scan s = {.start = (uintptr_t)p,
				 .end = (uintptr_t)p + (size_t)BIG_PAGES * PAGE,
				 .vec = (uintptr_t)runs,
				 .vec_len = N_RUNS,
				 .category_mask = PAGE_WRITTEN,
				 .return_mask = PAGE_WRITTEN | PAGE_PRESENT | PAGE_FILE};
		start = fact_now_us();
		t_eq(pagemap_scan(fd, &s), 0);
		us = fact_now_us() - start;
		general = us < general ? us : general;
	}
	t_note("scan of %d clean pages: fast %.1f ns a page, general %.1f", BIG_PAGES,
	       fast * 1e3 / BIG_PAGES, general * 1e3 / BIG_PAGES);
	if (fast * 2 > general)
		t_fail("the fast path is not faster: %.0f and %.0f us", fast, general);
	close(fd);
	close(uffd);
}

/*
 * Over a range of mixed VMAs CHECK_WPASYNC says EPERM at the first that is
 * not registered, after it armed the earlier ones again: their written pages
 * are lost. So: one scan a VMA.
 */
TEST(eperm_at_an_unregistered_vma_loses_the_earlier_results)
{
	struct page_run runs[N_RUNS];
	int uffd = uffd_open(), fd = pagemap_open_self();
	char *p = map_pages(2 * SOME);
	t_sys(mprotect(p + SOME * PAGE, SOME * PAGE, PROT_READ));
	t_sys(uffd_register(uffd, p, SOME * PAGE));
	t_sys(uffd_protect(uffd, p, SOME * PAGE));
	p[PAGE] = 2;
	p[2 * PAGE] = 2;
	uint64_t flags = SCAN_WP_MATCHING | SCAN_CHECK_WPASYNC;
	t_eq(pagemap_written(fd, p, 2 * SOME * PAGE, runs, N_RUNS, flags), -1);
	t_eq(errno, EPERM);
	t_eq(pagemap_written(fd, p, SOME * PAGE, runs, N_RUNS, flags), 0);
	/* on the VMA alone EPERM is the cheapest sign of a new one */
	t_eq(pagemap_written(fd, p + SOME * PAGE, SOME * PAGE, runs, N_RUNS, flags), -1);
	t_eq(errno, EPERM);
	close(fd);
	close(uffd);
}

/* The page is gone and reads as zeros: whoever keeps a copy must drop it. */
TEST(dontneed_page_is_written_and_absent)
{
	struct page_run runs[N_RUNS];
	int uffd = uffd_open(), fd = pagemap_open_self();
	char *p = map_armed(uffd, SOME);
	t_sys(madvise(p + 5 * PAGE, PAGE, MADV_DONTNEED));
	t_eq(pagemap_written(fd, p, SOME * PAGE, runs, N_RUNS, 0), 1);
	t_eq(runs[0].start, (uintptr_t)p + 5 * PAGE);
	struct scan s = {.start = runs[0].start,
			 .end = runs[0].end,
			 .vec = (uintptr_t)runs,
			 .vec_len = N_RUNS,
			 .category_anyof_mask = PAGE_WRITTEN,
			 .return_mask = PAGE_WRITTEN | PAGE_PRESENT};
	long n = pagemap_scan(fd, &s);
	t_assert(n == 0 || (n == 1 && !(runs[0].categories & PAGE_PRESENT)));
	t_note("the general form reports %ld run(s) for it", n);
	t_eq(p[5 * PAGE], 0);
	close(fd);
	close(uffd);
}

/* In a mapping of a file the mark stays, and says that nothing happened. */
TEST(dontneed_page_of_a_private_file_mapping_is_not_written)
{
	struct page_run runs[N_RUNS];
	FILE *file = tmpfile();
	t_assert(file);
	t_sys(ftruncate(fileno(file), SOME * PAGE));
	char *p = mmap(NULL, SOME * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fileno(file), 0);
	t_assert(p != MAP_FAILED);
	for (size_t i = 0; i < SOME; i++)
		p[i * PAGE] = 1;
	int uffd = uffd_open(), fd = pagemap_open_self();
	t_sys(uffd_register(uffd, p, SOME * PAGE));
	t_sys(uffd_protect(uffd, p, SOME * PAGE));
	t_sys(madvise(p + 5 * PAGE, PAGE, MADV_DONTNEED));
	t_eq(pagemap_written(fd, p, SOME * PAGE, runs, N_RUNS, 0), 0);
	t_eq(p[5 * PAGE], 0);
	t_eq(pagemap_written(fd, p, SOME * PAGE, runs, N_RUNS, 0), 0);
	close(fd);
	close(uffd);
	fclose(file);
}

TEST(registration_is_lost_by_fork)
{
	int uffd = uffd_open(), fd = pagemap_open_self();
	char *p = map_armed(uffd, SOME);
	pid_t pid = t_fork();
	if (pid == 0) {
		struct page_run runs[N_RUNS];
		int own = pagemap_open_self();
		t_eq(pagemap_written(own, p, SOME * PAGE, runs, N_RUNS, SCAN_CHECK_WPASYNC), -1);
		t_eq(errno, EPERM);
		_exit(0);
	}
	t_join(pid);
	struct page_run runs[N_RUNS];
	t_eq(pagemap_written(fd, p, SOME * PAGE, runs, N_RUNS, SCAN_CHECK_WPASYNC), 0);
	close(fd);
	close(uffd);
}

TEST(registration_is_lost_by_moving_and_kept_by_growing)
{
	struct page_run runs[N_RUNS];
	int uffd = uffd_open(), fd = pagemap_open_self();
	char *place = mmap(NULL, 4 * SOME * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	t_assert(place != MAP_FAILED);
	char *p = map_armed(uffd, SOME);
	t_assert(mremap(p, SOME * PAGE, SOME * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place) ==
		 place);
	t_eq(pagemap_written(fd, place, SOME * PAGE, runs, N_RUNS, SCAN_CHECK_WPASYNC), -1);
	t_eq(errno, EPERM);

	t_sys(munmap(place + SOME * PAGE, 3 * SOME * PAGE));
	t_sys(uffd_register(uffd, place, SOME * PAGE));
	t_sys(uffd_protect(uffd, place, SOME * PAGE));
	t_assert(mremap(place, SOME * PAGE, 2 * SOME * PAGE, 0) == place);
	t_assert(pagemap_written(fd, place, SOME * PAGE, runs, N_RUNS, SCAN_CHECK_WPASYNC) >= 0);
	close(fd);
	close(uffd);
}

TEST(last_close_of_the_userfaultfd_unregisters)
{
	struct page_run runs[N_RUNS];
	int uffd = uffd_open(), fd = pagemap_open_self();
	char *p = map_armed(uffd, SOME);
	close(uffd);
	t_eq(pagemap_written(fd, p, SOME * PAGE, runs, N_RUNS, SCAN_CHECK_WPASYNC), -1);
	t_eq(errno, EPERM);
	close(fd);
}
