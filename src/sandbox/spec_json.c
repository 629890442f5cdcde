/*
 * spec_json.c - a spec as a JSON object, both directions.
 *
 * The members are a table. Reading is strict: a member that is unknown here
 * was written by a newer version and would be lost silently.
 */
#include "sandbox/spec.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum member_type {
	M_BOOL,
	M_STRING, /* char *: absent when NULL */
	M_UINT64,
	M_UINT32,
	M_PAIRS, /* vec of "KEY=value" */
	M_TMPFS,
	M_VOLUMES,
	M_NAME,
	M_BASE,
	M_NET,
};

struct member {
	const char *name;
	enum member_type type;
	size_t offset;
};

#define AT(field) offsetof(struct spec, field)
static const struct member members[] = {
	{"name", M_NAME, AT(name)},
	{"base", M_BASE, AT(base)},
	{"rootfs", M_STRING, AT(rootfs)},
	{"volumes", M_VOLUMES, AT(volumes)},
	{"tmpfs", M_TMPFS, AT(tmpfs)},
	{"env", M_PAIRS, AT(env)},
	{"labels", M_PAIRS, AT(labels)},
	{"workdir", M_STRING, AT(workdir)},
	{"user", M_STRING, AT(user)},
	{"hostname", M_STRING, AT(hostname)},
	{"net", M_NET, AT(net)},
	{"read_only", M_BOOL, AT(read_only)},
	{"userns", M_BOOL, AT(userns)},
	{"die_with_parent", M_BOOL, AT(die_with_parent)},
	{"memory_bytes", M_UINT64, AT(memory_bytes)},
	{"pids_max", M_UINT32, AT(pids_max)},
	{"cpus_milli", M_UINT32, AT(cpus_milli)},
	{"timeout_ns", M_UINT64, AT(timeout_ns)},
	{"idle_timeout_ns", M_UINT64, AT(idle_timeout_ns)},
};
#undef AT
enum { N_MEMBERS = sizeof(members) / sizeof(*members) };

static json_t *encode_strings(const struct vec *v)
{
	json_t *array = json_array();
	vec_each(char *, s, v)
		if (json_array_append_new(array, json_string(*s))) {
			json_decref(array);
			return NULL;
		}
	return array;
}

static json_t *encode_volumes(const struct vec *v)
{
	json_t *array = json_array();
	vec_each(struct volume, it, v)
		if (json_array_append_new(array,
					  json_pack("{s:s, s:s, s:s}", "src", it->src, "dst",
						    it->dst, "mode", spec_mode_name(it->mode)))) {
			json_decref(array);
			return NULL;
		}
	return array;
}

static json_t *encode_member(const struct spec *s, const struct member *m)
{
	const void *at = (const char *)s + m->offset;
	switch (m->type) {
	case M_BOOL:
		return json_boolean(*(const bool *)at);
	case M_STRING:
		return json_string(*(char *const *)at);
	case M_UINT64:
		return json_integer((json_int_t) * (const uint64_t *)at);
	case M_UINT32:
		return json_integer(*(const uint32_t *)at);
	case M_PAIRS:
	case M_TMPFS:
		return encode_strings(at);
	case M_VOLUMES:
		return encode_volumes(at);
	case M_NAME:
		return json_string(s->name);
	case M_BASE:
		return json_string(spec_base_name(s->base));
	case M_NET:
		return json_string(spec_net_name(s->net));
	}
	return NULL;
}

json_t *spec_encode(const struct spec *s)
{
	json_t *object = json_object();
	for (size_t i = 0; i < N_MEMBERS; i++) {
		const struct member *m = &members[i];
		const char *const *string = (const void *)((const char *)s + m->offset);
		if (m->type == M_STRING && !*string)
			continue;
		if (json_object_set_new(object, m->name, encode_member(s, m))) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

static int wrong_type(const char *name, const char *want, struct err *e)
{
	return err_set(e, EINVAL, "'%s' must be %s", name, want);
}

static int decode_string(char **at, const char *name, const json_t *v, struct err *e)
{
	const char *text = json_string_value(v);
	if (!text)
		return wrong_type(name, "a string", e);
	if (strlen(text) != json_string_length(v))
		return wrong_type(name, "a string without NUL bytes", e);
	*at = strdup(text);
	return *at ? 0 : err_set(e, ENOMEM, "out of memory");
}

static int decode_number(uint64_t max, uint64_t *at, const char *name, const json_t *v,
			 struct err *e)
{
	json_int_t n = json_integer_value(v);
	if (!json_is_integer(v) || n < 0 || (uint64_t)n > max)
		return wrong_type(name, "a whole number in range", e);
	*at = (uint64_t)n;
	return 0;
}

static int decode_uint32(uint32_t *at, const char *name, const json_t *v, struct err *e)
{
	uint64_t n = 0;
	int r = decode_number(UINT32_MAX, &n, name, v, e);
	if (!r)
		*at = (uint32_t)n;
	return r;
}

static int decode_strings(struct spec *s, int (*add)(struct spec *, const char *, struct err *),
			  const char *name, const json_t *array, struct err *e)
{
	if (!json_is_array(array))
		return wrong_type(name, "an array", e);
	size_t i;
	json_t *v;
	json_array_foreach(array, i, v) {
		if (!json_is_string(v))
			return wrong_type(name, "an array of strings", e);
		int r = add(s, json_string_value(v), e);
		if (r)
			return r;
	}
	return 0;
}

/*
 * Volumes are rebuilt through their text form, so that both ways in check the
 * same; a colon in a path has no text form and is refused.
 */
static int decode_volume(struct spec *s, json_t *v, struct err *e)
{
	const char *src, *dst, *mode;
	if (json_unpack(v, "{s:s, s:s, s:s !}", "src", &src, "dst", &dst, "mode", &mode))
		return wrong_type("volumes", "an array of {src, dst, mode}", e);
	if (strchr(src, ':') || strchr(dst, ':'))
		return err_set(e, EINVAL, "volume '%s': a path with ':' cannot be a volume", src);
	size_t len = strlen(src) + strlen(dst) + strlen(mode) + 3;
	scoped_free char *text = malloc(len);
	if (!text)
		return err_set(e, ENOMEM, "out of memory");
	snprintf(text, len, "%s:%s:%s", src, dst, mode);
	return spec_add_volume(s, text, e);
}

static int decode_volumes(struct spec *s, const json_t *array, struct err *e)
{
	if (!json_is_array(array))
		return wrong_type("volumes", "an array", e);
	size_t i;
	json_t *v;
	json_array_foreach(array, i, v) {
		int r = decode_volume(s, v, e);
		if (r)
			return r;
	}
	return 0;
}

static int decode_base(struct spec *s, const json_t *v, struct err *e)
{
	const char *text = json_string_value(v);
	if (text && !strcmp(text, "host"))
		s->base = BASE_HOST;
	else if (text && !strcmp(text, "rootfs"))
		s->base = BASE_ROOTFS;
	else
		return wrong_type("base", "\"host\" or \"rootfs\"", e);
	return 0;
}

static int decode_net(struct spec *s, const json_t *v, struct err *e)
{
	const char *text = json_string_value(v);
	if (text && !strcmp(text, "none"))
		s->net = NET_NONE;
	else if (text && !strcmp(text, "host"))
		s->net = NET_HOST;
	else
		return wrong_type("net", "\"none\" or \"host\"", e);
	return 0;
}

static int decode_name(struct spec *s, const json_t *v, struct err *e)
{
	const char *text = json_string_value(v);
	if (!text)
		return wrong_type("name", "a string", e);
	return text[0] ? spec_set_name(s, text, e) : 0;
}

static int decode_member(struct spec *s, const struct member *m, const json_t *v, struct err *e)
{
	void *at = (char *)s + m->offset;
	switch (m->type) {
	case M_BOOL:
		if (!json_is_boolean(v))
			return wrong_type(m->name, "true or false", e);
		*(bool *)at = json_is_true(v);
		return 0;
	case M_STRING:
		return decode_string(at, m->name, v, e);
	case M_UINT64:
		return decode_number(INT64_MAX, at, m->name, v, e);
	case M_UINT32:
		return decode_uint32(at, m->name, v, e);
	case M_PAIRS:
		return decode_strings(
			s, m->offset == offsetof(struct spec, env) ? spec_add_env : spec_add_label,
			m->name, v, e);
	case M_TMPFS:
		return decode_strings(s, spec_add_tmpfs, m->name, v, e);
	case M_VOLUMES:
		return decode_volumes(s, v, e);
	case M_NAME:
		return decode_name(s, v, e);
	case M_BASE:
		return decode_base(s, v, e);
	case M_NET:
		return decode_net(s, v, e);
	}
	return 0;
}

static const struct member *find_member(const char *name)
{
	for (size_t i = 0; i < N_MEMBERS; i++)
		if (!strcmp(members[i].name, name))
			return &members[i];
	return NULL;
}

int spec_decode(struct spec *out, const json_t *object, struct err *e)
{
	if (!json_is_object(object))
		return err_set(e, EINVAL, "a sandbox's specification must be an object");
	struct spec s;
	spec_init(&s);
	const char *name;
	json_t *v;
	int r = 0;
	json_object_foreach((json_t *)object, name, v) {
		const struct member *m = find_member(name);
		if (!m)
			r = err_set(e, EINVAL,
				    "unknown member '%.60s' in a sandbox's specification", name);
		else
			r = decode_member(&s, m, v, e);
		if (r)
			break;
	}
	if (r) {
		spec_deinit(&s);
		return r;
	}
	*out = s;
	return 0;
}
