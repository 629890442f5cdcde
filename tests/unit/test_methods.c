#include <stdio.h>
#include <string.h>

#include "harness/harness.h"
#include "wire/methods.h"

static int check(const char *method, const char *params, struct err *e)
{
	json_error_t bad;
	scoped_json json_t *j = json_loads(params, 0, &bad);
	const struct method *m = methods_find(method);
	t_assert(j && m);
	return method_check(m, j, e);
}

TEST(every_row_says_what_it_is)
{
	for (size_t i = 0; i < methods_count; i++) {
		const struct method *m = &methods_table[i];
		t_assert(m->name[0] && m->help[0] && m->params && m->result);
		t_assert(methods_find(m->name) == m);
		for (const struct method_value *v = m->params; v->name; v++)
			for (const struct method_value *w = m->params; w != v; w++)
				t_assert(strcmp(v->name, w->name));
	}
	t_assert(!methods_find("no such method"));
}

TEST(right_parameters_pass)
{
	struct err e = ERR_INIT;
	t_ok_e(check("exec", "{\"argv\":[\"ls\",\"-l\"],\"timeout_ms\":5,\"tty\":true}", &e), &e);
	t_ok_e(check("checkpoint", "{}", &e), &e);
	t_ok_e(check("create", "{\"memory\":\"512m\",\"env\":[\"A=b\"]}", &e), &e);
	t_ok_e(check("fork", "{\"n\":0}", &e), &e); /* bounds are the handler's */
}

TEST(wrong_parameters_are_named)
{
	static const struct {
		const char *method, *params, *named;
	} rows[] = {
		{ "exec", "{}", "argv" },
		{ "exec", "{\"argv\":\"ls\"}", "argv" },
		{ "exec", "{\"argv\":[1]}", "argv" },
		{ "exec", "{\"argv\":[\"ls\"],\"timeout_ms\":\"5\"}", "timeout_ms" },
		{ "exec", "{\"argv\":[\"ls\"],\"timeout_ms\":-1}", "timeout_ms" },
		{ "exec", "{\"argv\":[\"ls\"],\"timeout_ms\":1.5}", "timeout_ms" },
		{ "exec", "{\"argv\":[\"ls\"],\"tty\":1}", "tty" },
		{ "checkpoint", "{\"tagg\":\"x\"}", "tagg" },
		{ "checkpoint", "{\"tag\":null}", "tag" },
		{ "wait", "{}", "handle" },
		{ "create", "{\"volumes\":{\"a\":\"b\"}}", "volumes" },
		{ "create", "{\"env\":[\"A=b\",null]}", "env" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct err e = ERR_INIT;
		t_eq(check(rows[i].method, rows[i].params, &e), -EINVAL);
		t_assert(strstr(e.cause, rows[i].named));
		t_assert(strstr(e.cause, rows[i].method));
	}
}

TEST(the_description_has_every_method_and_parameter)
{
	scoped_json json_t *all = methods_describe();
	t_eq(json_array_size(all), methods_count);
	for (size_t i = 0; i < methods_count; i++) {
		const json_t *m = json_array_get(all, i);
		size_t n = 0;
		while (methods_table[i].params[n].name)
			n++;
		t_str_eq(json_get_string(m, "name", ""), methods_table[i].name);
		t_eq(json_array_size(json_object_get(m, "params")), n);
	}
}
