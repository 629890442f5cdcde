/* cmd_exec.c - run a command in a sandbox. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/exec_options.h"

const struct argp_option exec_options[] = {
	{ "workdir", 'w', "DIR", 0, "Directory to start in", 0 },
	{ "env", 'e', "NAME=VALUE", 0, "Set a variable", 0 },
	{ "user", 'u', "USER", 0, "Whom to run as: name, uid or uid:gid", 0 },
	{ "timeout", 't', "DURATION", 0, "Then kill it with all its descendants; exit code 124", 0 },
	{ "interactive", 'i', NULL, 0, "Give it our standard input", 0 },
	{ "tty", 'T', NULL, 0, "Give it a terminal", 0 },
	{ "detach", 'd', NULL, 0, "Leave it in the background and print its handle", 0 },
	{ 0 },
};

int exec_option(int key, char *value, struct argp_state *state, struct exec_options *o)
{
	switch (key) {
	case 'w':
		return cli_set(o->params, "cwd", value);
	case 'e':
		cli_append(o->params, "env", value);
		return 0;
	case 'u':
		return cli_set(o->params, "user", value);
	case 't':
		return json_object_set_new(o->params, "timeout_ms",
					   json_integer(cli_duration_ms(state, "-t", value)));
	case 'i':
		o->interactive = true;
		return 0;
	case 'T':
		o->tty = true;
		return 0;
	case 'd':
		o->background = true;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static void print_result(struct session *s)
{
	json_t *r = s->result;
	bool truncated = json_get_bool(r, "truncated", false);
	json_object_set_new(r, "stdout", session_text(&s->out[0], &truncated));
	json_object_set_new(r, "stderr", session_text(&s->out[1], &truncated));
	json_object_set_new(r, "truncated", json_boolean(truncated));
	json_object_set_new(r, "spill_path", json_null());
	if (!json_object_get(r, "exit_code"))
		json_object_set_new(r, "exit_code", json_null());
	if (!json_object_get(r, "signal"))
		json_object_set_new(r, "signal", json_null());
	cli_print_json(r);
}

static int exec_background(const struct cli_args *args, struct client *c, json_t *params)
{
	struct err e = ERR_INIT;
	struct session s = { .client = c };
	json_object_set_new(params, "background", json_true());
	int r = client_call(c, "exec", params, &s.result, &e);
	if (r)
		return cli_fail(args, &e), CLI_TOOL;
	int code = CLI_OK;
	if (json_object_get(s.result, "error"))
		code = session_exit_code(args, &s);
	else if (args->json)
		cli_print_json(s.result);
	else
		puts(json_get_string(s.result, "handle", ""));
	session_deinit(&s);
	return code;
}

int exec_command(const struct cli_args *args, struct client *c, struct exec_options *o, char **argv)
{
	for (; *argv; argv++)
		cli_append(o->params, "argv", *argv);
	if (o->background)
		return exec_background(args, c, o->params);
	if (o->tty)
		json_object_set_new(o->params, "tty", json_true());
	struct err e = ERR_INIT;
	struct session s = {
		.client = c,
		.params = o->params,
		.has_stdin = o->interactive || o->tty,
		.tty = o->tty && isatty(STDIN_FILENO),
		.capture = args->json,
	};
	int code;
	if (session_run(&s, &e)) {
		cli_fail(args, &e);
		code = CLI_TOOL;
	} else {
		code = session_exit_code(args, &s);
		if (args->json)
			print_result(&s);
		else if (json_get_bool(s.result, "truncated", false))
			fprintf(stderr, "mulligan: a part of the output was lost: "
					"it came faster than it was read\n");
	}
	session_deinit(&s);
	return code;
}

static int option(int key, char *value, struct argp_state *state, void *ctx)
{
	return exec_option(key, value, state, ctx);
}

static int run(int argc, char **argv)
{
	scoped_json json_t *params = json_object();
	struct exec_options o = { .params = params };
	struct cli_args args = {
		.min = 2, .max = 1, .command_line = true, .option = option, .ctx = &o,
	};
	cli_parse(&args, exec_options, "NAME -- ARGV...",
		  "Run a command in a sandbox.\v"
		  "Exits with the command's code; 128 + N if signal N ended it, 124 after a "
		  "timeout, 125 if mulligan failed, 126 or 127 if the program cannot be run or "
		  "is not there.",
		  argc, argv);
	struct client c;
	struct err e = ERR_INIT;
	int code = client_open(&c, args.arg[0], &e) ? (cli_fail(&args, &e), CLI_TOOL) :
						      exec_command(&args, &c, &o, args.arg + 1);
	client_deinit(&c);
	return code;
}

const struct cli_command cmd_exec = { "exec", "NAME [OPTION..] -- ARGV", "run a command in it",
				      run };
