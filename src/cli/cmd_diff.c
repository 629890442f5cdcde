/* cmd_diff.c - what changed between two checkpoints, or until now. */
#include <stdio.h>

#include "cli/cli.h"

static int run(int argc, char **argv)
{
	struct cli_args args = { .min = 1, .max = 3 };
	cli_parse(&args, NULL, "NAME [A [B]]",
		  "Files and processes that changed.\v"
		  "A: added, M: modified, D: deleted, T: of another type. Without B until now; "
		  "without A from the newest ancestor of now.",
		  argc, argv);
	scoped_json json_t *params = json_object();
	if (args.n > 1)
		cli_set(params, "a", args.arg[1]);
	if (args.n > 2)
		cli_set(params, "b", args.arg[2]);
	scoped_json json_t *result = NULL;
	int code = cli_call(&args, args.arg[0], "diff", params, &result);
	if (code)
		return code;
	if (args.json) {
		cli_print_json(result);
		return CLI_OK;
	}
	size_t i;
	json_t *j;
	json_array_foreach(json_object_get(result, "files"), i, j) {
		printf("%s ", json_get_string(j, "change", "?"));
		cli_print_text(json_get_string(j, "path", ""));
		putchar('\n');
	}
	json_array_foreach(json_object_get(result, "processes"), i, j) {
		printf("%s process %lld ", json_get_string(j, "change", "?"),
		       (long long)json_get_int(j, "pid", 0));
		cli_print_text(json_get_string(j, "comm", ""));
		putchar('\n');
	}
	return CLI_OK;
}

const struct cli_command cmd_diff = { "diff", "NAME [A [B]]", "files and processes that changed",
				      run };
