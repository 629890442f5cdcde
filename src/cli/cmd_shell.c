/* cmd_shell.c - an interactive terminal in the sandbox. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/exec_options.h"

/* What a login would start, whatever is there. */
static char *const shell_argv[] = {
	"/bin/sh", "-c", "if command -v bash >/dev/null; then exec bash; fi; exec sh", NULL,
};

static int option(int key, char *value, struct argp_state *state, void *ctx)
{
	return key == 'w' || key == 'e' || key == 'u' ? exec_option(key, value, state, ctx) :
							ARGP_ERR_UNKNOWN;
}

static int run(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "workdir", 'w', "DIR", 0, "Directory to start in", 0 },
		{ "env", 'e', "NAME=VALUE", 0, "Set a variable", 0 },
		{ "user", 'u', "USER", 0, "Whom to run as", 0 },
		{ 0 },
	};
	scoped_json json_t *params = json_object();
	struct exec_options o = { .params = params, .tty = true };
	struct cli_args args = { .min = 1, .max = 1, .option = option, .ctx = &o };
	cli_parse(&args, options, "NAME", "An interactive shell in a sandbox.", argc, argv);
	struct err e = ERR_INIT;
	if (!isatty(STDIN_FILENO)) {
		err_set(&e, ENOTTY, "standard input is not a terminal");
		err_remedy(&e, "use `mulligan exec -i %s -- sh`", args.arg[0]);
		return cli_fail(&args, &e), CLI_TOOL;
	}
	scoped_free char *term = NULL;
	if (asprintf(&term, "TERM=%s", getenv("TERM") ?: "xterm") > 0)
		cli_append(params, "env", term);
	struct client c;
	int code = client_open(&c, args.arg[0], &e) ? (cli_fail(&args, &e), CLI_TOOL) :
						      exec_command(&args, &c, &o, (char **)shell_argv);
	client_deinit(&c);
	return code;
}

const struct cli_command cmd_shell = { "shell", "NAME", "an interactive terminal in it", run };
