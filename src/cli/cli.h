/*
 * cli.h - what the commands of the command line share.
 *
 * A command is a row of the table in main.c, which looks it up and runs it. It parses
 * its own arguments with argp, speaks with a keeper through wire/, prints, and
 * returns the exit code. Errors are told once, by cli_fail().
 */
#pragma once

#include <argp.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "wire/client.h"
#include "wire/json.h"

enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,		/* nothing changed */
	CLI_USAGE = 2,
	CLI_TIMED_OUT = 124,
	CLI_TOOL = 125,		/* the tool itself failed, for exec and run */
	CLI_CANNOT_RUN = 126,	/* the program is there and cannot be run */
	CLI_NO_PROGRAM = 127,
	CLI_SIGNAL = 128,	/* plus its number */
};

struct cli_command {
	const char *name;
	const char *args;	/* for the list of commands */
	const char *help;	/* one line */
	int (*run)(int argc, char **argv);
};


#define CLI_COMMAND(name) extern const struct cli_command cmd_##name
CLI_COMMAND(checkpoint);
CLI_COMMAND(cp);
CLI_COMMAND(create);
CLI_COMMAND(diff);
CLI_COMMAND(doctor);
CLI_COMMAND(exec);
CLI_COMMAND(fork);
CLI_COMMAND(gc);
CLI_COMMAND(inspect);
CLI_COMMAND(ps);
CLI_COMMAND(reset);
CLI_COMMAND(rm);
CLI_COMMAND(rollback);
CLI_COMMAND(run);
CLI_COMMAND(shell);
CLI_COMMAND(tree);

/* Options of every command, and its plain arguments. */
struct cli_args {
	bool json;
	bool timings;
	int n;			/* arguments */
	char **arg;		/* borrowed from argv, NULL-terminated */
	int min, max;		/* how many are right; max -1: any number */
	/* own options: 0, ARGP_ERR_UNKNOWN; may call argp_error() */
	int (*option)(int key, char *value, struct argp_state *state, void *ctx);
	void *ctx;
	bool command_line;	/* arguments from the max-th on are a command:
				 * nothing in them is an option of ours */
};

/*
 * Parse; usage errors and --help end the process. options (may be NULL) are
 * the command's own; args_doc and doc as in struct argp.
 */
void cli_parse(struct cli_args *args, const struct argp_option *options, const char *args_doc,
	       const char *doc, int argc, char **argv);

/* Tell an error on standard error, as text or JSON. Returns CLI_FAILED. */
int cli_fail(const struct cli_args *args, const struct err *e);

/* Print an object as one line. */
void cli_print_json(const json_t *j);

/* Text of a guest, with control characters escaped. */
void cli_print_text(const char *s);

/* "  total 1.234 ms: freeze 0.100, ..." on standard error. */
void cli_print_timings(const json_t *result);

/*
 * Open `name`, call, close. *result is a new reference. 0, or the exit code
 * after the error was told: a positive number.
 */
must_check int cli_call(const struct cli_args *args, const char *name, const char *method,
			json_t *params, json_t **result);

/* Split "NAME@CKPT" in place: what follows the @, or NULL. */
char *cli_split_checkpoint(char *name);

/* A whole number from min on, or usage error. */
long cli_number(struct argp_state *state, const char *what, const char *text, long min);

/* "90", "1.5s", "250ms", "10m", "2h": milliseconds, or usage error. */
long cli_duration_ms(struct argp_state *state, const char *what, const char *text);

/* params[key] = value; what is not UTF-8 is a usage error. 0, -1: no memory. */
int cli_set(json_t *params, const char *key, const char *value);

/* Append a string to the array params[key], making it; as cli_set(). */
void cli_append(json_t *params, const char *key, const char *value);
