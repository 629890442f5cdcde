/* spec_text.c - the parts of a spec as users type them. */
#include "sandbox/spec.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

int spec_check_name(const char *text, struct err *e)
{
	size_t len = strlen(text);
	bool good = len > 0 && len < SPEC_NAME_BYTES && is_name_char(text[0]);
	for (size_t i = 0; good && i < len; i++)
		good = is_name_char(text[i]) || strchr("_.-", text[i]);
	if (good)
		return 0;
	if (strchr(text, '/'))
		err_set(e, EINVAL, "'%.100s' is a path, not a sandbox's name", text);
	else
		err_set(e, EINVAL, "'%.100s' cannot be a sandbox's name", text);
	return err_remedy(e, "a name has 1 to 63 letters, digits, '_', '.' or '-' and begins with "
			     "a letter or digit");
}

int spec_set_name(struct spec *s, const char *text, struct err *e)
{
	int r = spec_check_name(text, e);
	if (r)
		return r;
	snprintf(s->name, sizeof(s->name), "%s", text);
	return 0;
}

static int no_memory(struct err *e)
{
	return err_set(e, ENOMEM, "out of memory");
}

/*
 * An absolute path without ".", "..", doubled or trailing slashes; *out is
 * malloced. "/" becomes "/". ".." is refused: what it means depends on
 * symlinks that only the sandbox knows.
 */
static int normal_path(const char *path, char **out, struct err *e)
{
	if (path[0] != '/') {
		err_set(e, EINVAL, "'%s' is not an absolute path", path);
		return err_remedy(e, "begin it with '/'");
	}
	if (strlen(path) >= PATH_MAX)
		return err_set(e, ENAMETOOLONG, "the path '%.60s...' is too long", path);
	char *to = calloc(1, strlen(path) + 2);
	if (!to)
		return no_memory(e);
	size_t len = 0;
	for (const char *p = path; *p;) {
		p += strspn(p, "/");
		size_t n = strcspn(p, "/");
		if (n == 2 && !strncmp(p, "..", 2)) {
			free(to);
			err_set(e, EINVAL, "'%s' contains '..'", path);
			return err_remedy(e, "write the path out");
		}
		if (n && !(n == 1 && *p == '.')) {
			to[len++] = '/';
			memcpy(to + len, p, n);
			len += n;
		}
		p += n;
	}
	if (!len)
		to[0] = '/';
	*out = to;
	return 0;
}

/* Whether path is dir or lies below it. */
static bool lies_in(const char *path, const char *dir)
{
	size_t n = strlen(dir);
	return !strncmp(path, dir, n) && (!path[n] || path[n] == '/');
}

/* A place inside that something can be mounted at: *out is malloced. */
static int mount_place(const char *path, char **out, struct err *e)
{
	scoped_free char *place = NULL;
	int r = normal_path(path, &place, e);
	if (r)
		return r;
	if (!strcmp(place, "/")) {
		err_set(e, EINVAL, "nothing can be mounted over '/'");
		return err_remedy(e, "use --rootfs for another root");
	}
	static const char *const ours[] = {"/proc", "/sys", "/dev", "/run/mulligan"};
	for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++)
		if (lies_in(place, ours[i]) || lies_in(ours[i], place)) {
			err_set(e, EINVAL,
				"'%s' cannot be mounted over: the sandbox has its own %s", place,
				ours[i]);
			return err_remedy(e, "choose another place");
		}
	*out = take_ptr(place);
	return 0;
}

static int parse_mode(const char *text, enum volume_mode *mode)
{
	for (int m = VOLUME_RO; m <= VOLUME_COW; m++)
		if (!strcmp(text, spec_mode_name((enum volume_mode)m))) {
			*mode = (enum volume_mode)m;
			return 0;
		}
	return -EINVAL;
}

static int volume_syntax(const char *text, struct err *e)
{
	err_set(e, EINVAL, "'%s' is not a volume", text);
	return err_remedy(
		e, "write SRC:DST, SRC:DST:ro, SRC:DST:rw or SRC:DST:cow, with absolute paths");
}

int spec_add_volume(struct spec *s, const char *text, struct err *e)
{
	if (s->volumes.n == SPEC_VOLUMES_MAX)
		return err_set(e, E2BIG, "more than %d volumes", SPEC_VOLUMES_MAX);
	scoped_free char *copy = strdup(text);
	if (!copy)
		return no_memory(e);
	char *dst = strchr(copy, ':');
	if (!dst)
		return volume_syntax(text, e);
	*dst++ = '\0';
	enum volume_mode mode = VOLUME_RW;
	char *mode_text = strchr(dst, ':');
	if (mode_text)
		*mode_text++ = '\0';
	if (mode_text && parse_mode(mode_text, &mode)) {
		err_set(e, EINVAL, "'%s' is not a mode of a volume", mode_text);
		return err_remedy(e, "use ro, rw or cow");
	}
	if (!copy[0] || !dst[0])
		return volume_syntax(text, e);
	scoped_free char *from = NULL, *to = NULL;
	int r = normal_path(copy, &from, e);
	if (!r)
		r = mount_place(dst, &to, e);
	if (r)
		return err_wrap(e, "volume '%s'", text);
	struct volume *v = vec_add(&s->volumes);
	if (!v)
		return no_memory(e);
	*v = (struct volume){take_ptr(from), take_ptr(to), mode};
	return 0;
}

static int add_string(struct vec *v, const char *text, struct err *e)
{
	scoped_free char *copy = strdup(text);
	char **to = copy ? vec_add(v) : NULL;
	if (!to)
		return no_memory(e);
	*to = take_ptr(copy);
	return 0;
}

int spec_add_tmpfs(struct spec *s, const char *path, struct err *e)
{
	if (s->tmpfs.n == SPEC_TMPFS_MAX)
		return err_set(e, E2BIG, "more than %d tmpfs", SPEC_TMPFS_MAX);
	scoped_free char *place = NULL;
	int r = mount_place(path, &place, e);
	if (r)
		return err_wrap(e, "tmpfs '%s'", path);
	return add_string(&s->tmpfs, place, e);
}

static int add_pair(struct vec *v, const char *text, const char *what, struct err *e)
{
	const char *eq = strchr(text, '=');
	if (!eq || eq == text) {
		err_set(e, EINVAL, "'%s' is not %s", text, what);
		return err_remedy(e, "write KEY=value");
	}
	size_t key_len = (size_t)(eq - text) + 1;
	vec_each(char *, it, v)
		if (!strncmp(*it, text, key_len)) {
			char *copy = strdup(text);
			if (!copy)
				return no_memory(e);
			free(*it);
			*it = copy;
			return 0;
		}
	return add_string(v, text, e);
}

int spec_add_env(struct spec *s, const char *text, struct err *e)
{
	return add_pair(&s->env, text, "an environment variable", e);
}

int spec_add_label(struct spec *s, const char *text, struct err *e)
{
	return add_pair(&s->labels, text, "a label", e);
}

/* A decimal number >= 0 in front of *text, which is moved behind it. */
static int decimal(const char **text, double *out)
{
	size_t n = strspn(*text, "0123456789.");
	char digits[32];
	if (!n || n >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, *text, n);
	digits[n] = '\0';
	char *end;
	*out = strtod(digits, &end);
	if (*end || end == digits)
		return -EINVAL;
	*text += n;
	return 0;
}

int spec_parse_bytes(const char *text, uint64_t *bytes, struct err *e)
{
	const char *p = text;
	double value;
	int r = decimal(&p, &value);
	static const char units[] = "kmgt";
	const char *unit = *p ? strchr(units, tolower((unsigned char)*p)) : NULL;
	if (unit) {
		value *= (double)(1ull << 10 * (unit - units + 1));
		p++;
	}
	if (*p && tolower((unsigned char)*p) == 'b')
		p++;
	if (r || *p || value >= (double)(1ull << 62)) {
		err_set(e, EINVAL, "'%s' is not a size", text);
		return err_remedy(e, "write a number of bytes, or one with k, m, g or t: 512m");
	}
	*bytes = (uint64_t)value;
	return 0;
}

struct duration_unit {
	const char *name;
	double seconds;
};

static const struct duration_unit *duration_unit(const char *p)
{
	/* longer names first: "ms" before "m" */
	static const struct duration_unit units[] = {
		{"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9}, {"s", 1},
		{"m", 60},    {"h", 3600},  {"d", 86400},
	};
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
		if (!strncmp(p, units[i].name, strlen(units[i].name)))
			return &units[i];
	return NULL;
}

int spec_parse_duration(const char *text, uint64_t *ns, struct err *e)
{
	const char *p = text;
	double total = 0, value;
	bool bare = false, good = *p;
	while (good && *p) {
		good = !bare && !decimal(&p, &value);
		if (!good)
			break;
		const struct duration_unit *u = duration_unit(p);
		bare = !u;
		good = u || !total; /* "1h30": of what? */
		total += value * (u ? u->seconds : 1);
		p += u ? strlen(u->name) : 0;
	}
	enum { YEARS_100 = 100 * 365 * 86400ll };
	if (!good || *p || total > (double)YEARS_100) {
		err_set(e, EINVAL, "'%s' is not a duration", text);
		return err_remedy(
			e, "write seconds, or a number with ms, s, m, h or d: 90, 1.5s, 1h30m");
	}
	*ns = (uint64_t)(total * 1e9 + 0.5);
	return 0;
}

int spec_parse_cpus(const char *text, uint32_t *milli, struct err *e)
{
	const char *p = text;
	double value;
	if (decimal(&p, &value) || *p || value > 100000 || value * 1000 < 1) {
		err_set(e, EINVAL, "'%s' is not a number of CPUs", text);
		return err_remedy(e, "write a number above 0: 0.5");
	}
	*milli = (uint32_t)(value * 1000 + 0.5);
	return 0;
}

const char *spec_mode_name(enum volume_mode mode)
{
	static const char *const names[] = {"ro", "rw", "cow"};
	return names[mode];
}

const char *spec_net_name(enum net_kind net)
{
	return net == NET_HOST ? "host" : "none";
}

const char *spec_base_name(enum base_kind base)
{
	return base == BASE_ROOTFS ? "rootfs" : "host";
}
