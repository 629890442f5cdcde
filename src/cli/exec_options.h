/* exec_options.h - the options that exec and run have for the command itself. */
#pragma once

#include "cli/session.h"

struct exec_options {
	json_t *params;
	bool interactive;
	bool background;
	bool tty;
};

extern const struct argp_option exec_options[];

/* 0 or ARGP_ERR_UNKNOWN. */
int exec_option(int key, char *value, struct argp_state *state, struct exec_options *o);

/* Run argv in the sandbox of c and print what is to be printed: the exit code. */
int exec_command(const struct cli_args *args, struct client *c, struct exec_options *o,
		 char **argv);
