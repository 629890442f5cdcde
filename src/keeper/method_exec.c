/* method_exec.c - exec and attach: commands whose output a client follows. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/clock.h"
#include "keeper/dispatch.h"
#include "keeper/watch.h"

enum { TERMINAL_MAX = 4096 };	/* rows or columns */

/* NULL-terminated pointers to the strings of an array; borrowed. */
static int strings_param(const json_t *array, struct vec *out)
{
	size_t i;
	json_t *v;
	json_array_foreach((json_t *)array, i, v) {
		const char **s = vec_add(out);
		if (!s)
			return -ENOMEM;
		*s = json_string_value(v);
	}
	return vec_add(out) ? 0 : -ENOMEM;
}

static bool same_name(const char *a, const char *b)
{
	size_t len = strcspn(a, "=");
	return !strncmp(a, b, len + 1);
}

/* The sandbox's environment, then the request's, which wins. */
static int env_merge(const struct vec *base, const json_t *given, struct vec *out, struct err *e)
{
	size_t i;
	json_t *v;
	json_array_foreach((json_t *)given, i, v) {
		const char *text = json_string_value(v);
		const char *equals = strchr(text, '=');
		if (!equals || equals == text)
			return err_set(e, EINVAL, "'%.80s' is no NAME=value for the environment",
				       text);
	}
	vec_each(char *, b, base) {
		bool hidden = false;
		json_array_foreach((json_t *)given, i, v)
			hidden |= same_name(*b, json_string_value(v));
		const char **s = hidden ? NULL : vec_add(out);
		if (!hidden && !s)
			return err_set(e, ENOMEM, "no memory for the environment");
		if (s)
			*s = *b;
	}
	if (strings_param(given, out))
		return err_set(e, ENOMEM, "no memory for the environment");
	return 0;
}

static int terminal_size(const json_t *params, const char *key, uint16_t *out, struct err *e)
{
	int64_t n = json_get_int(params, key, 0);
	if (n > TERMINAL_MAX)
		return err_set(e, EINVAL, "'%s' of a terminal is at most %d", key, TERMINAL_MAX);
	*out = (uint16_t)n;
	return 0;
}

static int exec_start(struct request *rq, const struct vec *argv, const struct vec *env,
		      struct command **out, struct err *e)
{
	const json_t *p = rq->params;
	struct box *b = rq->box;
	struct command_spec spec = COMMAND_SPEC_INIT;
	int64_t timeout_ms = json_get_int(p, "timeout_ms", 0);
	if (timeout_ms > INT64_MAX / 1000000)
		return err_set(e, EINVAL, "'timeout_ms' is too large");
	spec.argv = argv->data;
	spec.env = env->data;
	spec.cwd = json_get_string(p, "cwd", b->spec.workdir);
	spec.user = json_get_string(p, "user", b->spec.user);
	spec.timeout_ns = (uint64_t)timeout_ms * 1000000;
	spec.stdin_mode = json_get_bool(p, "stdin", false) ? STDIN_PIPE : STDIN_NULL;
	spec.tty = json_get_bool(p, "tty", false);
	int r = terminal_size(p, "rows", &spec.rows, e);
	if (!r)
		r = terminal_size(p, "cols", &spec.cols, e);
	return r ? r : command_start(b->commands, &spec, out, e);
}

int method_exec(struct request *rq, json_t **result, struct err *e)
{
	struct box *b = rq->box;
	if (b->state != BOX_RUNNING) {
		err_set(e, ESRCH, "nothing runs in the sandbox '%s': its first process ended",
			b->place.name);
		return err_remedy(e, "`mulligan rollback %s` or `mulligan reset %s` revives it",
				  b->place.name, b->place.name);
	}
	struct vec argv = VEC_INIT(char *), env = VEC_INIT(char *);
	struct command *c;
	int r = strings_param(json_object_get(rq->params, "argv"), &argv);
	if (r)
		r = err_set(e, ENOMEM, "no memory for the arguments");
	if (!r)
		r = env_merge(&b->spec.env, json_object_get(rq->params, "env"), &env, e);
	if (!r)
		r = exec_start(rq, &argv, &env, &c, e);
	vec_deinit(&argv);
	vec_deinit(&env);
	if (r)
		return r;
	struct watcher *w = watch_new(rq, c);
	if (!w) {
		struct err ignored;
		r = command_kill(b->commands, c, &ignored);
		return err_set(e, ENOMEM, "no memory to follow the command");
	}
	w->until_started = json_get_bool(rq->params, "background", false);
	w->streams = !w->until_started;
	w->owns = !w->until_started;
	r = watch_start(w, e);
	if (!r)
		return HANDLER_LATER;
	/* refused: nobody would hear of it */
	struct err ignored;
	if (command_kill(b->commands, c, &ignored) < 0)
		command_forget(b->commands, c);
	return r;
}

int method_attach(struct request *rq, json_t **result, struct err *e)
{
	struct command *c;
	int r = command_param(rq, &c, e);
	if (r)
		return r;
	struct watcher *w = watch_new(rq, c);
	if (!w)
		return err_set(e, ENOMEM, "no memory to follow the command");
	w->streams = true;
	w->until_now = !json_get_bool(rq->params, "follow", true);
	r = watch_start(w, e);
	return r ? r : HANDLER_LATER;
}
