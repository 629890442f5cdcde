#include "wire/errjson.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { ERRNO_LAST = 133 };	/* EHWPOISON, the highest on Linux */

json_t *err_to_json(const struct err *e)
{
	json_t *j = json_object();
	json_object_set_new(j, "code", json_string(err_name(e->code)));
	json_object_set_new(j, "cause", json_text_z(e->cause));
	if (e->remedy[0])
		json_object_set_new(j, "remedy", json_text_z(e->remedy));
	if (e->pid)
		json_object_set_new(j, "pid", json_integer(e->pid));
	if (e->fd >= 0)
		json_object_set_new(j, "fd", json_integer(e->fd));
	if (e->path[0])
		json_object_set_new(j, "path", json_text_z(e->path));
	if (e->broken)
		json_object_set_new(j, "broken", json_true());
	return j;
}

static int err_code_by_name(const char *name)
{
	for (int code = 1; name && code <= ERRNO_LAST; code++)
		if (!strcmp(err_name(code), name))
			return code;
	return EIO;
}

int err_from_json(struct err *e, const json_t *j)
{
	int code = err_code_by_name(json_get_string(j, "code", NULL));
	err_set(e, code, "%s", json_get_string(j, "cause", "an error without a cause"));
	const char *remedy = json_get_string(j, "remedy", NULL);
	if (remedy)
		err_remedy(e, "%s", remedy);
	err_about(e, (pid_t)json_get_int(j, "pid", 0), (int)json_get_int(j, "fd", -1));
	const char *path = json_get_string(j, "path", NULL);
	if (path)
		err_path(e, path);
	if (e)
		e->broken = json_get_bool(j, "broken", false);
	return -code;
}
