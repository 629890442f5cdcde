#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "exec/log.h"
#include "harness/harness.h"

enum { HEAD = 1000, TAIL = 3000, CHUNK = 64 << 10 };

/* The byte that belongs at a position. */
static char byte_at(uint64_t pos)
{
	return (char)(pos * 2654435761u >> 13);
}

static void add(struct log *l, uint64_t len)
{
	char bytes[4096];
	while (len) {
		size_t n = len < sizeof(bytes) ? len : sizeof(bytes);
		for (size_t i = 0; i < n; i++)
			bytes[i] = byte_at(l->total_bytes + i);
		log_add(l, bytes, n);
		len -= n;
	}
}

/* Read the whole with small reads; what is there must be right. */
static uint64_t verify(const struct log *l)
{
	uint64_t pos = 0, at, got = 0;
	char bytes[777];
	size_t n;
	while ((n = log_read(l, pos, bytes, sizeof(bytes), &at))) {
		t_assert(at >= pos);
		for (size_t i = 0; i < n; i++)
			if (bytes[i] != byte_at(at + i))
				t_fail("the byte at %llu is wrong", (unsigned long long)(at + i));
		got += n;
		pos = at + n;
	}
	t_eq(pos, l->total_bytes);
	t_eq(got, l->kept_bytes);
	return got;
}

TEST(short_log_is_whole)
{
	struct log l;
	char bytes[8];
	uint64_t at;
	log_init(&l, HEAD, TAIL, -1);
	t_eq(log_read(&l, 0, bytes, sizeof(bytes), &at), 0);
	add(&l, 10);
	add(&l, HEAD + TAIL - 10);
	t_eq(verify(&l), HEAD + TAIL);
	t_assert(!log_is_truncated(&l));
	t_eq(log_gap(&l), HEAD + TAIL);
	t_eq(log_read(&l, l.total_bytes + 5, bytes, sizeof(bytes), &at), 0);
	log_deinit(&l);
}

TEST(long_log_keeps_head_and_tail)
{
	struct log l;
	log_init(&l, HEAD, TAIL, -1);
	for (int i = 0; i < 1000; i++) {
		add(&l, 1 + (unsigned)i * 37 % 999);
		if (l.total_bytes > HEAD + TAIL) {
			char c;
			uint64_t at;
			t_eq(log_read(&l, HEAD - 1, &c, 1, &at), 1);
			t_eq(at, HEAD - 1);
			t_eq(log_read(&l, l.total_bytes - TAIL, &c, 1, &at), 1);
			t_eq(at, l.total_bytes - TAIL);
			t_assert(l.kept_bytes <= HEAD + TAIL + CHUNK);
		}
	}
	verify(&l);
	t_assert(log_is_truncated(&l));
	t_eq(log_gap(&l), HEAD);
	log_deinit(&l);
}

TEST(without_limits_only_the_count_is_kept)
{
	struct log l;
	log_init(&l, 0, 0, -1);
	add(&l, 300000);
	t_eq(l.total_bytes, 300000);
	t_assert(l.kept_bytes <= CHUNK);
	log_deinit(&l);
}

TEST(copies_do_not_see_each_others_later_bytes)
{
	struct log a, b, c;
	char bytes[64] = "";
	uint64_t at;
	log_init(&a, HEAD, TAIL, -1);
	log_add(&a, "common ", 7);
	t_ok(log_copy(&b, &a));
	log_add(&a, "first", 5);
	t_ok(log_copy(&c, &b));
	log_add(&b, "other", 5);
	log_add(&c, "third", 5);
	t_eq(log_read(&a, 0, bytes, sizeof(bytes), &at), 12);
	t_str_eq(bytes, "common first");
	t_eq(log_read(&b, 0, bytes, sizeof(bytes), &at), 12);
	t_str_eq(bytes, "common other");
	t_eq(log_read(&c, 0, bytes, sizeof(bytes), &at), 12);
	t_str_eq(bytes, "common third");
	log_deinit(&b);
	log_deinit(&a);
	t_eq(log_read(&c, 3, bytes, sizeof(bytes), &at), 9);
	log_deinit(&c);
}

TEST(a_copy_keeps_the_tail_of_its_own_time)
{
	struct log live, then;
	log_init(&live, HEAD, TAIL, -1);
	add(&live, 200000);
	t_ok(log_copy(&then, &live));
	add(&live, 900000);
	verify(&live);
	t_eq(then.total_bytes, 200000);
	verify(&then);
	log_deinit(&live);
	/* and goes on from there */
	add(&then, 5000);
	t_eq(then.total_bytes, 205000);
	verify(&then);
	log_deinit(&then);
}

TEST(random_copies_and_writes_stay_right)
{
	enum { LOGS = 8 };
	struct log l[LOGS];
	srandom(7);
	for (int i = 0; i < LOGS; i++)
		log_init(&l[i], HEAD, TAIL, -1);
	for (int round = 0; round < 4000; round++) {
		int i = (int)(random() % LOGS), j = (int)(random() % LOGS);
		if (random() % 4 == 0 && i != j) {
			log_deinit(&l[i]);
			t_ok(log_copy(&l[i], &l[j]));
		} else {
			add(&l[i], (uint64_t)(random() % 2000));
		}
		verify(&l[j]);
	}
	for (int i = 0; i < LOGS; i++)
		log_deinit(&l[i]);
}

TEST(spill_takes_the_whole_and_is_cut)
{
	struct log l;
	int fd = (int)t_sys(memfd_create("spill", MFD_CLOEXEC));
	int mine = (int)t_sys(dup(fd));
	log_init(&l, HEAD, TAIL, fd);
	add(&l, 500000);
	t_eq(l.spill_error, 0);
	t_eq(lseek(mine, 0, SEEK_END), 500000);
	char c;
	t_eq(pread(mine, &c, 1, 123456), 1);
	t_eq(c, byte_at(123456));
	l.total_bytes = 1000;
	log_cut_spill(&l);
	t_eq(lseek(mine, 0, SEEK_END), 1000);
	log_deinit(&l);
	close(mine);
}

TEST(spill_that_fails_is_told_and_the_log_goes_on)
{
	struct log l;
	log_init(&l, HEAD, TAIL, (int)t_sys(open("/dev/full", O_WRONLY | O_CLOEXEC)));
	add(&l, 100);
	t_eq(l.spill_error, ENOSPC);
	t_eq(verify(&l), 100);
	log_deinit(&l);
}
