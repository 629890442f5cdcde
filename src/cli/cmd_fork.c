/* cmd_fork.c - new sandboxes from a checkpoint or from now; print their names. */
#include <stdio.h>

#include "cli/cli.h"

static int option(int key, char *value, struct argp_state *state, void *ctx)
{
	if (key != 'n')
		return ARGP_ERR_UNKNOWN;
	return json_object_set_new(ctx, "n", json_integer(cli_number(state, "-n", value, 1)));
}

static int run(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "number", 'n', "N", 0, "How many (default 1)", 0 },
		{ 0 },
	};
	scoped_json json_t *params = json_object();
	struct cli_args args = { .min = 1, .max = -1, .option = option, .ctx = params };
	cli_parse(&args, options, "NAME[@CKPT] [NEWNAME...]",
		  "Make new sandboxes that go on from a checkpoint, or from now.\v"
		  "Prints their names. All of them are made, or none.",
		  argc, argv);
	char *checkpoint = cli_split_checkpoint(args.arg[0]);
	if (checkpoint)
		cli_set(params, "checkpoint", checkpoint);
	for (int i = 1; i < args.n; i++)
		cli_append(params, "names", args.arg[i]);
	if (args.n > 1 && !json_object_get(params, "n"))
		json_object_set_new(params, "n", json_integer(args.n - 1));
	scoped_json json_t *result = NULL;
	int code = cli_call(&args, args.arg[0], "fork", params, &result);
	if (code)
		return code;
	if (args.json) {
		cli_print_json(result);
		return CLI_OK;
	}
	size_t i;
	json_t *name;
	json_array_foreach(json_object_get(result, "names"), i, name)
		puts(json_string_value(name));
	if (args.timings)
		cli_print_timings(result);
	return CLI_OK;
}

const struct cli_command cmd_fork = { "fork", "NAME[@CKPT] [-n N]", "new sandboxes that go on from it",
				      run };
