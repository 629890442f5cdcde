/* cmd_inspect.c - all that a keeper knows of its sandbox. */
#include <stdio.h>

#include "base/cleanup.h"
#include "cli/start.h"

static int run(int argc, char **argv)
{
	struct cli_args args = { .min = 1, .max = 1 };
	cli_parse(&args, NULL, "NAME", "All that is known of a sandbox, as JSON.", argc, argv);
	scoped_json json_t *result = NULL, *dead = NULL;
	int code = start_call(&args, args.arg[0], "inspect", NULL, &result, &dead);
	if (code)
		return code;
	if (dead)
		result = take_ptr(dead);
	if (args.json) {
		cli_print_json(result);
	} else {
		json_dumpf(result, stdout, JSON_INDENT(2));
		putchar('\n');
	}
	return CLI_OK;
}

const struct cli_command cmd_inspect = { "inspect", "NAME", "all that is known of it", run };
