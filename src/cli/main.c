/* main.c - the mulligan command: a table lookup. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const struct cli_command *const commands[] = {
	&cmd_doctor, &cmd_create, &cmd_run,  &cmd_exec, &cmd_shell, &cmd_checkpoint,
	&cmd_rollback, &cmd_reset, &cmd_fork, &cmd_tree, &cmd_diff,  &cmd_ps,
	&cmd_rm, &cmd_gc, &cmd_cp, &cmd_inspect,
};
enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void usage(FILE *to)
{
	fprintf(to, "Usage: mulligan COMMAND [OPTION...]\n"
		    "A sandbox that can be saved, rolled back and forked, files and processes "
		    "together.\n\n");
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(to, "  %-11s %-34s %s\n", commands[i]->name, commands[i]->args,
			commands[i]->help);
	fprintf(to, "\n`mulligan COMMAND --help` tells more.\n");
}

static const struct cli_command *find(const char *name)
{
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (!strcmp(commands[i]->name, name))
			return commands[i];
	return NULL;
}

int main(int argc, char **argv)
{
	/* a keeper or a reader that went away is an error to report */
	signal(SIGPIPE, SIG_IGN);
	if (argc < 2) {
		usage(stderr);
		return CLI_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help") || !strcmp(argv[1], "-h")) {
		usage(stdout);
		return CLI_OK;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("mulligan " MULLIGAN_VERSION "\n");
		return CLI_OK;
	}
	const struct cli_command *command = find(argv[1]);
	if (!command) {
		fprintf(stderr, "mulligan: no command '%s'\n  remedy: `mulligan help` lists them\n",
			argv[1]);
		return CLI_USAGE;
	}
	char name[64];
	snprintf(name, sizeof(name), "mulligan %s", command->name);
	argv[1] = name;
	return command->run(argc - 1, argv + 1);
}
