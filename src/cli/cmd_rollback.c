/* cmd_rollback.c - rollback, and reset: the same to the first checkpoint. */
#include <stdio.h>

#include "cli/cli.h"

static int finish(const struct cli_args *args, const char *method, const char *checkpoint)
{
	scoped_json json_t *params = json_object();
	scoped_json json_t *result = NULL;
	if (checkpoint)
		json_object_set_new(params, "checkpoint", json_text_z(checkpoint));
	int code = cli_call(args, args->arg[0], method, params, &result);
	if (code)
		return code;
	if (args->json)
		cli_print_json(result);
	else
		puts(json_get_string(result, "id", ""));
	if (args->timings && !args->json)
		cli_print_timings(result);
	return CLI_OK;
}

static int run_rollback(int argc, char **argv)
{
	struct cli_args args = { .min = 1, .max = 2 };
	cli_parse(&args, NULL, "NAME [CKPT]",
		  "Go back to a checkpoint, files and processes.\v"
		  "CKPT is an id or a tag; default: the newest ancestor of now.",
		  argc, argv);
	char *split = cli_split_checkpoint(args.arg[0]);
	return finish(&args, "rollback", args.n > 1 ? args.arg[1] : split);
}

static int run_reset(int argc, char **argv)
{
	struct cli_args args = { .min = 1, .max = 1 };
	cli_parse(&args, NULL, "NAME", "Files and processes as created.", argc, argv);
	return finish(&args, "reset", NULL);
}

const struct cli_command cmd_rollback = { "rollback", "NAME [CKPT]", "go back to a checkpoint",
					  run_rollback };
const struct cli_command cmd_reset = { "reset", "NAME", "files and processes as created",
				       run_reset };
