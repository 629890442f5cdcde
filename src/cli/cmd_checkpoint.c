/* cmd_checkpoint.c - save files and processes; print the id. */
#include <stdio.h>

#include "cli/cli.h"

static int option(int key, char *value, struct argp_state *state, void *ctx)
{
	if (key != 't')
		return ARGP_ERR_UNKNOWN;
	return cli_set(ctx, "tag", value);
}

static int run(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "tag", 't', "TAG", 0, "A name for the checkpoint", 0 },
		{ 0 },
	};
	scoped_json json_t *params = json_object();
	struct cli_args args = { .min = 1, .max = 1, .option = option, .ctx = params };
	cli_parse(&args, options, "NAME", "Save files and processes and print the checkpoint's id.",
		  argc, argv);
	if (args.json)
		json_object_set_new(params, "sizes", json_true());
	scoped_json json_t *result = NULL;
	int code = cli_call(&args, args.arg[0], "checkpoint", params, &result);
	if (code)
		return code;
	if (args.json)
		cli_print_json(result);
	else
		puts(json_get_string(result, "id", ""));
	if (args.timings && !args.json)
		cli_print_timings(result);
	return CLI_OK;
}

const struct cli_command cmd_checkpoint = { "checkpoint", "NAME [-t TAG]",
					    "save files and processes, print the id", run };
