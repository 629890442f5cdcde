/* Specs: what is typed, what is refused and why, and the JSON form. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "harness/harness.h"
#include "sandbox/spec.h"

static void refused(int r, const struct err *e, const char *word)
{
	t_assert(r < 0);
	t_eq(e->code, -r);
	t_assert(e->remedy[0]);
	if (!strstr(e->cause, word))
		t_fail("'%s' is not in '%s'", word, e->cause);
}

TEST(names_are_names_and_not_paths)
{
	struct err e = ERR_INIT;
	static const char *const good[] = {
		"a",     "A9", "box-1",
		"a_b.c", "0",  "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz01234567890",
	};
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		t_ok_e(spec_check_name(good[i], &e), &e);
	static const char *const bad[] = {
		"",
		".",
		"..",
		"-x",
		"_x",
		"a b",
		"a\n",
		"é",
		"a@b",
		"a:b",
		"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz012345678901",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		refused(spec_check_name(bad[i], &e), &e, "name");
	refused(spec_check_name("../x", &e), &e, "is a path");
	refused(spec_check_name("a/b", &e), &e, "is a path");
}

TEST(volumes_are_parsed)
{
	struct err e = ERR_INIT;
	struct spec s;
	spec_init(&s);
	t_ok_e(spec_add_volume(&s, "/a:/b", &e), &e);
	t_ok_e(spec_add_volume(&s, "/a//b/./c/:/w/x/:ro", &e), &e);
	t_ok_e(spec_add_volume(&s, "/:/host:cow", &e), &e);
	struct volume *v = s.volumes.data;
	t_eq(s.volumes.n, 3);
	t_eq(v[0].mode, VOLUME_RW);
	t_str_eq(v[1].src, "/a/b/c");
	t_str_eq(v[1].dst, "/w/x");
	t_eq(v[1].mode, VOLUME_RO);
	t_str_eq(v[2].src, "/");
	t_eq(v[2].mode, VOLUME_COW);
	spec_deinit(&s);
}

TEST(bad_volumes_are_refused_with_a_remedy)
{
	static const struct {
		const char *text, *word;
	} bad[] = {
		{"", "not a volume"},         {"/a", "not a volume"},  {":/b", "not a volume"},
		{"/a:", "not a volume"},      {"a:/b", "absolute"},    {"/a:b", "absolute"},
		{"/a:/b:xx", "mode"},         {"/a:/b:ro:rw", "mode"}, {"/a:/", "'/'"},
		{"/a:/proc/x", "/proc"},      {"/a:/dev", "/dev"},     {"/a:/sys", "/sys"},
		{"/a:/run", "/run/mulligan"}, {"/a:/b/../c", ".."},    {"/../a:/b", ".."},
	};
	struct err e = ERR_INIT;
	struct spec s;
	spec_init(&s);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		refused(spec_add_volume(&s, bad[i].text, &e), &e, bad[i].word);
	t_eq(s.volumes.n, 0);
	/* a name that only begins like ours is fine */
	t_ok_e(spec_add_volume(&s, "/a:/devel", &e), &e);
	spec_deinit(&s);
}

TEST(later_environment_replaces_earlier)
{
	struct err e = ERR_INIT;
	struct spec s;
	spec_init(&s);
	t_ok_e(spec_add_env(&s, "A=1", &e), &e);
	t_ok_e(spec_add_env(&s, "AB=2", &e), &e);
	t_ok_e(spec_add_env(&s, "A=x=y", &e), &e);
	t_ok_e(spec_add_env(&s, "EMPTY=", &e), &e);
	t_eq(s.env.n, 3);
	t_str_eq(*(char **)vec_at(&s.env, 0), "A=x=y");
	refused(spec_add_env(&s, "NOVALUE", &e), &e, "environment");
	refused(spec_add_env(&s, "=x", &e), &e, "environment");
	spec_deinit(&s);
}

static uint64_t bytes_of(const char *text)
{
	struct err e = ERR_INIT;
	uint64_t n = 0;
	t_ok_e(spec_parse_bytes(text, &n, &e), &e);
	return n;
}

TEST(sizes_are_parsed)
{
	t_eq(bytes_of("4096"), 4096);
	t_eq(bytes_of("512m"), 512ll << 20);
	t_eq(bytes_of("1.5G"), 3ll << 29);
	t_eq(bytes_of("10kb"), 10240);
	t_eq(bytes_of("7B"), 7);
	t_eq(bytes_of("2t"), 2ll << 40);
	struct err e = ERR_INIT;
	uint64_t n = 5;
	static const char *const bad[] = {"",    "m",    "-1",        "1x",    "1mm", "1 m",
					  "1e9", "0x10", "99999999t", "1.2.3", "inf", "."};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		refused(spec_parse_bytes(bad[i], &n, &e), &e, "size");
	t_eq(n, 5);
}

static uint64_t ns_of(const char *text)
{
	struct err e = ERR_INIT;
	uint64_t n = 0;
	t_ok_e(spec_parse_duration(text, &n, &e), &e);
	return n;
}

TEST(durations_are_parsed)
{
	const uint64_t s = 1000000000;
	t_eq(ns_of("90"), 90 * s);
	t_eq(ns_of("250ms"), s / 4);
	t_eq(ns_of("1.5s"), s * 3 / 2);
	t_eq(ns_of("10m"), 600 * s);
	t_eq(ns_of("1h30m"), 5400 * s);
	t_eq(ns_of("2d"), 172800 * s);
	t_eq(ns_of("0"), 0);
	struct err e = ERR_INIT;
	uint64_t n;
	static const char *const bad[] = {"", "s", "-1", "1x", "1 s", "1h30", "1000000000000"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		refused(spec_parse_duration(bad[i], &n, &e), &e, "duration");
}

TEST(cpus_are_parsed)
{
	struct err e = ERR_INIT;
	uint32_t milli = 0;
	t_ok_e(spec_parse_cpus("0.5", &milli, &e), &e);
	t_eq(milli, 500);
	t_ok_e(spec_parse_cpus("2", &milli, &e), &e);
	t_eq(milli, 2000);
	refused(spec_parse_cpus("0", &milli, &e), &e, "CPUs");
	refused(spec_parse_cpus("x", &milli, &e), &e, "CPUs");
	refused(spec_parse_cpus("-1", &milli, &e), &e, "CPUs");
}

static void fill(struct spec *s)
{
	struct err e = ERR_INIT;
	spec_init(s);
	t_ok_e(spec_set_name(s, "box", &e), &e);
	s->base = BASE_ROOTFS;
	s->rootfs = strdup("/srv/root fs");
	s->workdir = strdup("/w");
	s->user = strdup("1000:1000");
	s->hostname = strdup("h");
	s->net = NET_HOST;
	s->read_only = s->userns = s->die_with_parent = true;
	s->memory_bytes = 1ull << 40;
	s->pids_max = UINT32_MAX;
	s->cpus_milli = 1500;
	s->timeout_ns = 1;
	s->idle_timeout_ns = 2;
	t_ok_e(spec_add_volume(s, "/a:/b:cow", &e), &e);
	t_ok_e(spec_add_volume(s, "/c:/d:ro", &e), &e);
	t_ok_e(spec_add_tmpfs(s, "/scratch", &e), &e);
	t_ok_e(spec_add_env(s, "A=\"quoted\"", &e), &e);
	t_ok_e(spec_add_label(s, "k=v", &e), &e);
}

TEST(json_form_keeps_everything)
{
	struct err e = ERR_INIT;
	struct spec s, copy, back;
	fill(&s);
	t_ok(spec_copy(&copy, &s));
	json_t *a = spec_encode(&copy);
	t_assert(a);
	t_ok_e(spec_decode(&back, a, &e), &e);
	json_t *b = spec_encode(&back);
	t_assert(json_equal(a, b));
	t_str_eq(back.rootfs, "/srv/root fs");
	t_eq(back.memory_bytes, 1ull << 40);
	t_eq(((struct volume *)back.volumes.data)[0].mode, VOLUME_COW);
	json_decref(a);
	json_decref(b);
	spec_deinit(&s);
	spec_deinit(&copy);
	spec_deinit(&back);
	/* an empty one, too */
	spec_init(&s);
	a = spec_encode(&s);
	t_ok_e(spec_decode(&back, a, &e), &e);
	json_decref(a);
	spec_deinit(&back);
	spec_deinit(&s);
}

TEST(foreign_json_is_refused_by_member)
{
	static const struct {
		const char *text, *word;
	} bad[] = {
		{"[]", "object"},
		{"{\"colour\":1}", "colour"},
		{"{\"name\":\"a/b\"}", "a/b"},
		{"{\"name\":1}", "name"},
		{"{\"net\":\"nat\"}", "net"},
		{"{\"base\":\"image\"}", "base"},
		{"{\"pids_max\":-1}", "pids_max"},
		{"{\"pids_max\":4294967296}", "pids_max"},
		{"{\"memory_bytes\":1.5}", "memory_bytes"},
		{"{\"read_only\":1}", "read_only"},
		{"{\"env\":\"A=1\"}", "env"},
		{"{\"env\":[\"A\"]}", "A"},
		{"{\"volumes\":[{\"src\":\"/a\"}]}", "volumes"},
		{"{\"volumes\":[{\"src\":\"/a:\",\"dst\":\"/b\",\"mode\":\"ro\"}]}", ":"},
		{"{\"volumes\":[{\"src\":\"/a\",\"dst\":\"/proc\",\"mode\":\"ro\"}]}", "/proc"},
		{"{\"user\":\"a\\u0000b\"}", "user"},
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct err e = ERR_INIT;
		struct spec s = {.pids_max = 77};
		json_t *j = json_loads(bad[i].text, JSON_ALLOW_NUL, NULL);
		t_assert(j);
		t_assert(spec_decode(&s, j, &e) < 0);
		if (!strstr(e.cause, bad[i].word))
			t_fail("'%s' is not in '%s'", bad[i].word, e.cause);
		t_eq(s.pids_max, 77);
		json_decref(j);
	}
}

static void path_in(char *out, size_t bytes, const char *name)
{
	snprintf(out, bytes, "%s/%s", t_tmpdir(), name);
}

TEST(check_knows_the_files_of_this_host)
{
	struct err e = ERR_INIT;
	char file[300], text[700];
	path_in(file, sizeof(file), "file");
	int fd = (int)t_sys(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	close(fd);
	struct spec s;
	spec_init(&s);
	t_ok_e(spec_check(&s, &e), &e);
	s.base = BASE_ROOTFS;
	refused(spec_check(&s, &e), &e, "rootfs");
	s.rootfs = strdup(file);
	refused(spec_check(&s, &e), &e, "not a directory");
	free(s.rootfs);
	s.rootfs = strdup("/no/such/root");
	refused(spec_check(&s, &e), &e, "/no/such/root");
	s.base = BASE_HOST;
	refused(spec_check(&s, &e), &e, "--host");
	free(s.rootfs);
	s.rootfs = NULL;
	snprintf(text, sizeof(text), "%s:/f:cow", file);
	t_ok_e(spec_add_volume(&s, text, &e), &e);
	refused(spec_check(&s, &e), &e, "copy-on-write");
	((struct volume *)vec_at(&s.volumes, 0))->mode = VOLUME_RO;
	t_ok_e(spec_check(&s, &e), &e);
	t_ok_e(spec_add_tmpfs(&s, "/f", &e), &e);
	refused(spec_check(&s, &e), &e, "two mounts");
	spec_deinit(&s);
}

TEST(check_looks_at_values)
{
	struct err e = ERR_INIT;
	struct spec s;
	spec_init(&s);
	s.memory_bytes = 1;
	refused(spec_check(&s, &e), &e, "memory");
	s.memory_bytes = 0;
	s.pids_max = 1;
	refused(spec_check(&s, &e), &e, "processes");
	s.pids_max = 0;
	s.cpus_milli = 1;
	refused(spec_check(&s, &e), &e, "CPU");
	s.cpus_milli = 0;
	s.workdir = strdup("relative");
	refused(spec_check(&s, &e), &e, "relative");
	free(s.workdir);
	s.workdir = NULL;
	static const char *const bad[] = {"", "-x", "a b", "x/y"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		s.hostname = strdup(bad[i]);
		refused(spec_check(&s, &e), &e, "hostname");
		free(s.hostname);
	}
	s.hostname = NULL;
	spec_deinit(&s);
}
