/* start.h - start a keeper, and the options that say what its sandbox is to be. */
#pragma once

#include "cli/cli.h"

/* For argp: create and run share them. ctx of the parser: struct start_options. */
extern const struct argp_option start_options[];

struct start_options {
	json_t *params;		/* of the method `create` */
	bool die_with_parent;
};

/* 0 or ARGP_ERR_UNKNOWN, as cli_args.option. */
int start_option(int key, char *value, struct argp_state *state, struct start_options *o);

/*
 * Start a keeper and have it create the sandbox. owner: pid that it is not to
 * outlive, 0: none. On success c is connected to it and *result has its
 * answer.
 */
must_check int start_keeper(json_t *params, pid_t owner, struct client *c, json_t **result,
			    struct err *e);

/* Run the keeper program with these arguments to its end: its exit code. */
must_check int start_tool(char *const argv[], struct err *e);
