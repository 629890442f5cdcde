/* cmd_rm.c - remove sandboxes and checkpoints, and (gc) what the dead left. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/start.h"
#include "wire/runtime.h"

enum { KEY_ALL = 0x1000 };

/* Have the keeper program clean the state directory: it knows its ids. */
static int clean_state(const struct cli_args *args)
{
	struct err e = ERR_INIT;
	char *argv[] = { "mulligan-keeper", args->json ? "--gc-json" : "--gc", NULL };
	int code = start_tool(argv, &e);
	if (code < 0)
		return cli_fail(args, &e);
	return code ? CLI_FAILED : CLI_OK;
}

/* 1: it was dead; what it left is for gc. */
static int remove_sandbox(int runtime_fd, const char *name, struct err *e)
{
	struct runtime_entry entry;
	int r = runtime_find(runtime_fd, name, &entry, e);
	if (r)
		return r;
	if (!entry.alive)
		return 1;
	struct client c;
	scoped_json json_t *result = NULL;
	r = client_open(&c, name, e);
	if (!r)
		r = client_call(&c, "shutdown", NULL, &result, e);
	client_deinit(&c);
	/* it ended or died meanwhile: gone is gone */
	if (r && (!runtime_find(runtime_fd, name, &entry, e) && !entry.alive))
		return 1;
	return r;
}

static int remove_checkpoint(const struct cli_args *args, const char *name, const char *checkpoint)
{
	scoped_json json_t *params = json_object();
	scoped_json json_t *result = NULL;
	json_object_set_new(params, "checkpoint", json_text_z(checkpoint));
	return cli_call(args, name, "delete_checkpoint", params, &result);
}

static int remove_all(const struct cli_args *args, int runtime_fd, bool *dead)
{
	struct vec entries;
	struct err e = ERR_INIT;
	int code = CLI_OK;
	if (runtime_list(runtime_fd, &entries, &e))
		return cli_fail(args, &e);
	vec_each(struct runtime_entry, entry, &entries) {
		int r = remove_sandbox(runtime_fd, entry->name, &e);
		if (r < 0 && r != -ENOENT)
			code = cli_fail(args, &e);
		*dead |= r == 1;
	}
	vec_deinit(&entries);
	return code;
}

static int option(int key, char *value, struct argp_state *state, void *ctx)
{
	if (key != KEY_ALL)
		return ARGP_ERR_UNKNOWN;
	*(bool *)ctx = true;
	return 0;
}

static int run_rm(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "all", KEY_ALL, NULL, 0, "Remove all sandboxes of this user", 0 },
		{ 0 },
	};
	bool all = false, dead = false;
	struct cli_args args = { .max = -1, .option = option, .ctx = &all };
	cli_parse(&args, options, "NAME...\nNAME@CKPT...\n--all",
		  "Remove sandboxes with all their checkpoints, or single checkpoints.", argc, argv);
	struct err e = ERR_INIT;
	if (all == (args.n > 0)) {
		fprintf(stderr, "mulligan: rm takes names, or --all\n");
		return CLI_USAGE;
	}
	scoped_fd int fd = runtime_open(&e);
	if (fd < 0)
		return cli_fail(&args, &e);
	int code = all ? remove_all(&args, fd, &dead) : CLI_OK;
	for (int i = 0; i < args.n; i++) {
		char *checkpoint = cli_split_checkpoint(args.arg[i]);
		int r = checkpoint ? 0 : remove_sandbox(fd, args.arg[i], &e);
		if (checkpoint && remove_checkpoint(&args, args.arg[i], checkpoint))
			code = CLI_FAILED;
		if (r < 0)
			code = cli_fail(&args, &e);
		dead |= r == 1;
	}
	if (dead && clean_state(&args))
		code = CLI_FAILED;
	return code;
}

static int run_gc(int argc, char **argv)
{
	struct cli_args args = { .max = 0 };
	cli_parse(&args, NULL, "",
		  "Remove what dead keepers left: directories, cgroups, layers that no checkpoint "
		  "has.",
		  argc, argv);
	return clean_state(&args);
}

const struct cli_command cmd_rm = { "rm", "NAME.. | NAME@CKPT | --all", "remove it, or a checkpoint",
				    run_rm };
const struct cli_command cmd_gc = { "gc", "", "remove what a crash left", run_gc };
