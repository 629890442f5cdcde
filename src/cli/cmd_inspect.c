/* cmd_inspect.c - all that a keeper knows of its sandbox. */
#include <stdio.h>

#include "cli/cli.h"

static int run(int argc, char **argv)
{
	struct cli_args args = { .min = 1, .max = 1 };
	cli_parse(&args, NULL, "NAME", "All that is known of a sandbox, as JSON.", argc, argv);
	scoped_json json_t *result = NULL;
	int code = cli_call(&args, args.arg[0], "inspect", NULL, &result);
	if (code)
		return code;
	if (args.json) {
		cli_print_json(result);
	} else {
		json_dumpf(result, stdout, JSON_INDENT(2));
		putchar('\n');
	}
	return CLI_OK;
}

const struct cli_command cmd_inspect = { "inspect", "NAME", "all that is known of it", run };
