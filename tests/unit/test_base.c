/* Errors, buffers, arrays, ownership and stage tables. */
#include "harness/harness.h"

#include <fcntl.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/stage.h"
#include "base/vec.h"

TEST(err_set_returns_minus_code_and_forgets_the_rest)
{
	struct err e = ERR_INIT;
	t_eq(err_set(&e, ENOENT, "open layer '%s'", "a"), -ENOENT);
	t_eq(err_about(&e, 7, 3), -ENOENT);
	t_eq(err_set(&e, EIO, "read"), -EIO);
	t_eq(e.pid, 0);
	t_eq(e.fd, -1);
	t_str_eq(e.cause, "read");
	t_str_eq(e.remedy, "");
}

TEST(err_wrap_puts_words_in_front)
{
	struct err e = ERR_INIT;
	err_set(&e, EBUSY, "mount");
	t_eq(err_wrap(&e, "stage %d", 2), -EBUSY);
	t_str_eq(e.cause, "stage 2: mount");
}

TEST(err_truncates_long_words_without_overrun)
{
	struct err e = ERR_INIT;
	char words[2 * ERR_CAUSE_BYTES];
	memset(words, 'x', sizeof(words));
	words[sizeof(words) - 1] = 0;
	err_set(&e, EIO, "%s", words);
	t_eq(strlen(e.cause), ERR_CAUSE_BYTES - 1);
	err_wrap(&e, "%s", words);
	t_eq(strlen(e.cause), ERR_CAUSE_BYTES - 1);
	t_str_eq(e.remedy, "");
}

TEST(err_takes_null)
{
	t_eq(err_set(NULL, EPERM, "x"), -EPERM);
	t_assert(err_wrap(NULL, "x") < 0);
	t_assert(err_remedy(NULL, "x") < 0);
	t_str_eq(err_name(ENOENT), "ENOENT");
	t_assert(err_name(99999) != NULL);
}

TEST(buf_grows_and_stays_terminated)
{
	struct buf b = BUF_INIT;
	for (int i = 0; i < 1000; i++)
		buf_printf(&b, "%d,", i);
	t_assert(!b.failed);
	t_eq(strlen(b.data), b.len);
	t_assert(strncmp(b.data, "0,1,2,", 6) == 0);
	buf_consume(&b, 2);
	t_assert(strncmp(b.data, "1,2,", 4) == 0);
	buf_add(&b, "", 0);
	buf_deinit(&b);
	t_assert(!b.data);
}

TEST(buf_remembers_a_failed_allocation)
{
	struct buf b = BUF_INIT;
	buf_str(&b, "kept");
	t_assert(!buf_room(&b, (size_t)1 << 62));
	t_assert(b.failed);
	buf_str(&b, " not");
	t_eq(b.len, 4);
	buf_deinit(&b);
}

TEST(vec_keeps_order_when_it_grows_and_shrinks)
{
	struct vec v = VEC_INIT(int);
	for (int i = 0; i < 100; i++)
		*(int *)vec_add(&v) = i;
	*(int *)vec_insert(&v, 100) = 7;
	*(int *)vec_insert(&v, 0) = 8;
	t_eq(*(int *)vec_at(&v, 101), 7);
	*(int *)vec_insert(&v, 50) = 9;
	t_eq(*(int *)vec_at(&v, 49), 48);
	t_eq(*(int *)vec_at(&v, 50), 9);
	t_eq(*(int *)vec_at(&v, 51), 49);
	vec_remove(&v, 102);
	vec_remove(&v, 50);
	vec_remove(&v, 0);
	t_eq(v.n, 100);
	vec_remove(&v, 10);
	t_eq(v.n, 99);
	t_eq(*(int *)vec_at(&v, 9), 9);
	t_eq(*(int *)vec_at(&v, 10), 11);
	struct vec copy;
	t_ok(vec_copy(&copy, &v));
	vec_deinit(&v);
	long sum = 0;
	vec_each(int, i, &copy) sum += *i;
	t_eq(sum, 99 * 100 / 2 - 10);
	vec_deinit(&copy);
}

TEST(scoped_fd_closes_unless_taken)
{
	int kept, closed;
	{
		scoped_fd int a = open("/dev/null", O_RDONLY);
		scoped_fd int b = open("/dev/null", O_RDONLY);
		closed = a;
		kept = take_fd(&b);
	}
	t_eq(fcntl(closed, F_GETFD), -1);
	t_assert(fcntl(kept, F_GETFD) >= 0);
	close(kept);
}

/* A transaction that writes what it does into a text. */
struct script {
	char text[64];
	int fail_at; /* stage that fails, -1: none */
	int at;
};

static int step(struct script *s, const char *name, struct err *e)
{
	if (s->at++ == s->fail_at)
		return err_set(e, EIO, "no luck");
	strcat(s->text, name);
	return 0;
}

static int run_a(void *ctx, struct err *e)
{
	return step(ctx, "a", e);
}

static int run_b(void *ctx, struct err *e)
{
	return step(ctx, "b", e);
}

static int run_c(void *ctx, struct err *e)
{
	return step(ctx, "c", e);
}

static void undo_a(void *ctx)
{
	strcat(((struct script *)ctx)->text, "A");
}

static void undo_c(void *ctx)
{
	strcat(((struct script *)ctx)->text, "C");
}

static const struct stage plain[] = {
	{"first", run_a, undo_a, false},
	{"second", run_b, NULL, false},
	{"third", run_c, undo_c, false},
};

static const struct stage pointed[] = {
	{"first", run_a, undo_a, false},
	{"commit", run_b, NULL, true},
	{"third", run_c, undo_c, false},
};

TEST(stages_run_in_order_and_are_timed)
{
	struct script s = {.fail_at = -1};
	struct stage_times t;
	struct err e = ERR_INIT;
	t_ok_e(stage_run(plain, 3, &s, &t, &e), &e);
	t_str_eq(s.text, "abc");
	t_eq(t.n, 3);
	t_str_eq(t.stage[2].name, "third");
	t_assert(t.total_ns >= t.stage[0].ns + t.stage[1].ns + t.stage[2].ns);
}

TEST(failed_stage_undoes_the_finished_ones_backwards)
{
	static const char *const want[] = {"", "aA", "abA"};
	for (int i = 0; i < 3; i++) {
		struct script s = {.fail_at = i};
		struct err e = ERR_INIT;
		t_eq(stage_run(plain, 3, &s, NULL, &e), -EIO);
		t_str_eq(s.text, want[i]);
		t_assert(!e.broken);
		t_assert(strstr(e.cause, plain[i].name) == e.cause);
	}
}

TEST(failure_after_the_point_of_no_return_is_broken)
{
	struct script s = {.fail_at = 2};
	struct err e = ERR_INIT;
	t_eq(stage_run(pointed, 3, &s, NULL, &e), -EIO);
	t_str_eq(s.text, "ab");
	t_assert(e.broken);
}

TEST(failure_of_the_point_of_no_return_itself_is_undone)
{
	struct script s = {.fail_at = 1};
	struct err e = ERR_INIT;
	t_eq(stage_run(pointed, 3, &s, NULL, &e), -EIO);
	t_str_eq(s.text, "aA");
	t_assert(!e.broken);
}
