/* cmd_create.c - create and print the name. */
#include <stdio.h>

#include "cli/start.h"

static int option(int key, char *value, struct argp_state *state, void *ctx)
{
	return start_option(key, value, state, ctx);
}

static int run(int argc, char **argv)
{
	scoped_json json_t *params = json_object();
	struct start_options o = { .params = params };
	struct cli_args args = { .max = 1, .option = option, .ctx = &o };
	cli_parse(&args, start_options, "[NAME]",
		  "Make a sandbox and print its name.\v"
		  "NAME has letters, digits, '.', '_' and '-'; without one a name is made up.",
		  argc, argv);
	if (args.n)
		cli_set(params, "name", args.arg[0]);
	struct client c;
	struct err e = ERR_INIT;
	scoped_json json_t *result = NULL;
	client_init(&c, -1, "");
	int r = start_keeper(params, o.die_with_parent ? getppid() : 0, &c, &result, &e);
	client_deinit(&c);
	if (r)
		return cli_fail(&args, &e);
	const char *notice = json_get_string(result, "notice", NULL);
	if (notice && !args.json)
		fprintf(stderr, "mulligan: %s\n", notice);
	if (args.json)
		cli_print_json(result);
	else
		puts(json_get_string(result, "name", ""));
	if (args.timings && !args.json)
		cli_print_timings(result);
	return CLI_OK;
}

const struct cli_command cmd_create = { "create", "[NAME] [OPTION..]", "make a sandbox", run };
