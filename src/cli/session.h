/*
 * session.h - a command in a sandbox whose input and output are ours.
 *
 * One poll over standard input, signals and the keeper's socket until the
 * reply comes. Nothing is read from standard input that the keeper does not
 * take.
 */
#pragma once

#include "cli/cli.h"

struct session {
	struct client *client;
	json_t *params;		/* of exec, see methods.c */
	bool has_stdin;		/* forward standard input */
	bool tty;		/* our terminal: raw, and its size is told */
	bool capture;		/* keep the output for JSON instead of writing it */
	/* out */
	struct capture {
		struct buf head, tail;
		uint64_t total_bytes;
	} out[2];		/* standard output, standard error */
	json_t *result;		/* new reference */
};

/* 0 with s->result, or the error. */
must_check int session_run(struct session *s, struct err *e);

/* What was captured, with what is missing said in the middle; truncated. */
json_t *session_text(const struct capture *c, bool *truncated);

void session_deinit(struct session *s);

/*
 * Exit code for an exec's result; tells on standard error what is neither an
 * exit code nor a signal (a program that is not there).
 */
int session_exit_code(const struct cli_args *args, const struct session *s);
