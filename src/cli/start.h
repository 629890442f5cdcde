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

/*
 * Ask the keeper program for what is kept of dead sandboxes: of one, in the
 * form of the method inspect; name NULL: {"sandboxes": [as the method info]}.
 * -ENOENT: nothing is kept of it.
 */
must_check int start_lost(const char *name, json_t **out, struct err *e);

/*
 * As cli_call(); where the keeper is dead, *dead has what start_lost() says of
 * the sandbox, *result is NULL, and 0 is returned.
 */
must_check int start_call(const struct cli_args *args, const char *name, const char *method,
			  json_t *params, json_t **result, json_t **dead);
