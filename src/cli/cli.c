#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "wire/errjson.h"

enum { KEY_JSON = 0x10000, KEY_TIMINGS };

static const struct argp_option common_options[] = {
	{ "json", KEY_JSON, NULL, 0, "Print JSON, one object a line; errors too", 100 },
	{ "timings", KEY_TIMINGS, NULL, 0, "Print how long each stage took", 100 },
	{ 0 },
};

static error_t common_parse(int key, char *value, struct argp_state *state)
{
	struct cli_args *args = state->input;
	switch (key) {
	case KEY_JSON:
		args->json = true;
		return 0;
	case KEY_TIMINGS:
		args->timings = true;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static error_t command_parse(int key, char *value, struct argp_state *state)
{
	struct cli_args *args = state->input;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = args;
		return 0;
	case ARGP_KEY_ARG:
		if (args->max >= 0 && args->n >= args->max && !args->command_line)
			argp_error(state, "too many arguments: '%s'", value);
		args->arg[args->n++] = value;
		if (args->command_line && args->n > args->max)
			while (state->next < state->argc)
				args->arg[args->n++] = state->argv[state->next++];
		return 0;
	case ARGP_KEY_END:
		if (args->n < args->min)
			argp_error(state, "an argument is missing");
		return 0;
	}
	return args->option ? args->option(key, value, state, args->ctx) : ARGP_ERR_UNKNOWN;
}

void cli_parse(struct cli_args *args, const struct argp_option *options, const char *args_doc,
	       const char *doc, int argc, char **argv)
{
	static const struct argp common = { .options = common_options, .parser = common_parse };
	struct argp_child children[] = { { .argp = &common }, { 0 } };
	struct argp argp = {
		.options = options,
		.parser = command_parse,
		.args_doc = args_doc,
		.doc = doc,
		.children = children,
	};
	args->arg = calloc((size_t)argc + 1, sizeof(char *));
	if (!args->arg)
		exit(CLI_TOOL);
	argp_err_exit_status = CLI_USAGE;
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, args))
		exit(CLI_USAGE);
}

int cli_fail(const struct cli_args *args, const struct err *e)
{
	struct buf out = BUF_INIT;
	if (args->json) {
		scoped_json json_t *j = json_pack("{s:o}", "error", err_to_json(e));
		json_write(&out, j);
		buf_str(&out, "\n");
	} else {
		buf_printf(&out, "mulligan: %s\n", e->cause);
		if (e->remedy[0])
			buf_printf(&out, "  remedy: %s\n", e->remedy);
	}
	fflush(stdout);
	if (!out.failed)
		fwrite(out.data, 1, out.len, stderr);
	buf_deinit(&out);
	return CLI_FAILED;
}

void cli_print_json(const json_t *j)
{
	struct buf out = BUF_INIT;
	json_write(&out, j);
	buf_str(&out, "\n");
	if (!out.failed)
		fwrite(out.data, 1, out.len, stdout);
	buf_deinit(&out);
}

void cli_print_text(const char *s)
{
	for (const unsigned char *p = (const unsigned char *)s; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			printf("\\x%02x", *p);
		else
			putchar(*p);
}

void cli_print_timings(const json_t *result)
{
	json_t *stages = json_object_get(result, "stages");
	fprintf(stderr, "total %.3f ms", json_number_value(json_object_get(result, "total_ms")));
	const char *name;
	json_t *ms;
	const char *separator = ":";
	json_object_foreach(stages, name, ms) {
		fprintf(stderr, "%s %s %.3f", separator, name, json_number_value(ms));
		separator = ",";
	}
	fputc('\n', stderr);
}

int cli_call(const struct cli_args *args, const char *name, const char *method, json_t *params,
	     json_t **result)
{
	struct client c;
	struct err e = ERR_INIT;
	int r = client_open(&c, name, &e);
	if (!r)
		r = client_call(&c, method, params, result, &e);
	client_deinit(&c);
	return r ? cli_fail(args, &e) : 0;
}

char *cli_split_checkpoint(char *name)
{
	char *at = strchr(name, '@');
	if (!at)
		return NULL;
	*at = '\0';
	return at + 1;
}

long cli_number(struct argp_state *state, const char *what, const char *text, long min)
{
	char *end;
	errno = 0;
	long n = strtol(text, &end, 10);
	if (end == text || *end || errno || n < min)
		argp_error(state, "%s: '%s' is not a whole number from %ld on", what, text, min);
	return n;
}

long cli_duration_ms(struct argp_state *state, const char *what, const char *text)
{
	static const struct {
		const char *unit;
		double ms;
	} units[] = { { "", 1e3 }, { "ms", 1 }, { "s", 1e3 }, { "m", 6e4 }, { "h", 3.6e6 } };
	char *end;
	double n = strtod(text, &end);
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (end != text && !strcmp(end, units[i].unit) && n * units[i].ms >= 1 &&
		    n * units[i].ms < 1e15)
			return (long)(n * units[i].ms);
	argp_error(state, "%s: '%s' is not a duration such as 90, 1.5s, 250ms, 10m", what, text);
	return 0;
}

/* Bytes that are not UTF-8 would become others on the way: usage error. */
static json_t *text_or_exit(const char *value)
{
	if (json_is_text(value, strlen(value)))
		return json_text_z(value);
	fprintf(stderr, "mulligan: an argument is not UTF-8\n"
			"  remedy: pass such bytes through a file or standard input\n");
	exit(CLI_USAGE);
}

int cli_set(json_t *params, const char *key, const char *value)
{
	return json_object_set_new(params, key, text_or_exit(value));
}

void cli_append(json_t *params, const char *key, const char *value)
{
	json_t *array = json_object_get(params, key);
	if (!array) {
		json_object_set_new(params, key, json_array());
		array = json_object_get(params, key);
	}
	json_array_append_new(array, text_or_exit(value));
}
