/* cmd_run.c - create, exec, remove. */
#include <errno.h>
#include <string.h>

#include "cli/exec_options.h"
#include "cli/start.h"

struct run_options {
	struct start_options start;
	struct exec_options exec;
};

static int option(int key, char *value, struct argp_state *state, void *ctx)
{
	struct run_options *o = ctx;
	/* of the command: what is a sandbox's own is set there */
	if (key == 't' || key == 'i' || key == 'T')
		return exec_option(key, value, state, &o->exec);
	return start_option(key, value, state, &o->start);
}

static const struct argp_option own_options[] = {
	{ NULL, 't', "DURATION", 0, "Kill the command with all its descendants after this time", 0 },
	{ "interactive", 'i', NULL, 0, "Give it our standard input", 0 },
	{ "tty", 'T', NULL, 0, "Give it a terminal", 0 },
};

/* The options of create, and three of exec. */
static struct argp_option *all_options(void)
{
	size_t n = 0, own = sizeof(own_options) / sizeof(own_options[0]);
	while (start_options[n].name || start_options[n].key)
		n++;
	struct argp_option *all = calloc(n + own + 1, sizeof(*all));
	if (all) {
		memcpy(all, start_options, n * sizeof(*all));
		memcpy(all + n, own_options, sizeof(own_options));
	}
	return all;
}

static int run(int argc, char **argv)
{
	scoped_json json_t *create = json_object();
	scoped_json json_t *exec = json_object();
	struct run_options o = { { .params = create }, { .params = exec } };
	struct cli_args args = { .min = 1, .command_line = true, .option = option, .ctx = &o };
	scoped_free struct argp_option *options = all_options();
	if (!options)
		return CLI_TOOL;
	cli_parse(&args, options, "-- ARGV...",
		  "Make a sandbox, run a command in it, remove it.\v"
		  "The sandbox is gone when this program is, however it ends.",
		  argc, argv);
	struct client c;
	struct err e = ERR_INIT;
	scoped_json json_t *made = NULL, *removed = NULL;
	client_init(&c, -1, "");
	if (start_keeper(create, getpid(), &c, &made, &e)) {
		client_deinit(&c);
		cli_fail(&args, &e);
		return CLI_TOOL;
	}
	int code = exec_command(&args, &c, &o.exec, args.arg);
	int r = client_call(&c, "shutdown", NULL, &removed, &e);
	client_deinit(&c);
	/* removed by somebody else, or its keeper died: told already */
	if (r && r != -ECONNRESET)
		cli_fail(&args, &e);
	return code;
}

const struct cli_command cmd_run = { "run", "[OPTION..] -- ARGV",
				     "create, run a command, remove", run };
