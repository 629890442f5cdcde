/* cmd_rollback.c - rollback, and reset: the same to the first checkpoint. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/start.h"

enum { KEY_FILES = 0x1000 };

/* Its keeper is dead, and with it the processes; does the checkpoint exist? */
static int refuse_dead(const struct cli_args *args, const char *name, const char *checkpoint,
		       const json_t *dead)
{
	struct err e = ERR_INIT;
	size_t i, len = checkpoint ? strlen(checkpoint) : 0;
	json_t *node;
	const char *found = NULL;
	json_array_foreach(json_object_get(json_object_get(dead, "checkpoints"), "nodes"), i, node) {
		const char *id = json_get_string(node, "id", "");
		const char *tag = json_get_string(node, "tag", NULL);
		if (!checkpoint || !strncmp(id, checkpoint, len) || (tag && !strcmp(tag, checkpoint)))
			found = id;	/* without one: the newest */
	}
	if (found) {
		err_set(&e, ENODATA, "processes lost, files available: the keeper of the sandbox "
				     "'%s' is dead", name);
		err_remedy(&e, "`mulligan create --from %s@%s` makes a sandbox of the files", name,
			   checkpoint ? checkpoint : found);
	} else {
		err_set(&e, ENOENT, "'%s', whose keeper is dead, has no checkpoint '%.80s'", name,
			checkpoint ? checkpoint : "");
		err_remedy(&e, "`mulligan tree %s` lists them", name);
	}
	return cli_fail(args, &e);
}

static int finish(const struct cli_args *args, const char *method, const char *checkpoint,
		  bool files)
{
	scoped_json json_t *params = json_object();
	scoped_json json_t *result = NULL, *dead = NULL;
	if (checkpoint)
		cli_set(params, "checkpoint", checkpoint);
	if (files)
		json_object_set_new(params, "files", json_true());
	int code = start_call(args, args->arg[0], method, params, &result, &dead);
	if (dead)
		return refuse_dead(args, args->arg[0], checkpoint, dead);
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

static int option(int key, char *value, struct argp_state *state, void *ctx)
{
	if (key != KEY_FILES)
		return ARGP_ERR_UNKNOWN;
	*(bool *)ctx = true;
	return 0;
}

static int run_rollback(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "files", KEY_FILES, NULL, 0,
		  "Its files alone: nothing runs afterwards. Makes a checkpoint below it", 0 },
		{ 0 },
	};
	bool files = false;
	struct cli_args args = { .min = 1, .max = 2, .option = option, .ctx = &files };
	cli_parse(&args, options, "NAME [CKPT]",
		  "Go back to a checkpoint, files and processes.\v"
		  "CKPT is an id or a tag; default: the newest ancestor of now.",
		  argc, argv);
	char *split = cli_split_checkpoint(args.arg[0]);
	return finish(&args, "rollback", args.n > 1 ? args.arg[1] : split, files);
}

static int run_reset(int argc, char **argv)
{
	struct cli_args args = { .min = 1, .max = 1 };
	cli_parse(&args, NULL, "NAME", "Files and processes as created.", argc, argv);
	return finish(&args, "reset", NULL, false);
}

const struct cli_command cmd_rollback = { "rollback", "NAME [CKPT]", "go back to a checkpoint",
					  run_rollback };
const struct cli_command cmd_reset = { "reset", "NAME", "files and processes as created",
				       run_reset };
