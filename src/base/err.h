/*
 * err.h - one error, on the caller's stack, told once.
 *
 * The function that knows the cause fills it with err_set(); a caller that
 * knows more puts its own words in front with err_wrap(). Nothing is
 * allocated, nothing is logged: a method of the keeper or the command line
 * reports it, once. Every function here takes e == NULL.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

enum {
	ERR_CAUSE_BYTES = 768,	/* two paths and a sentence */
	ERR_REMEDY_BYTES = 384,
	ERR_PATH_BYTES = 256,
};

struct err {
	int code;			/* errno value, 0: no error */
	pid_t pid;			/* guest process it is about, 0: none */
	int fd;				/* its descriptor, -1: none */
	bool broken;			/* the object can only be destroyed now */
	char cause[ERR_CAUSE_BYTES];
	char remedy[ERR_REMEDY_BYTES];	/* what the user can do, or "" */
	char path[ERR_PATH_BYTES];	/* file it is about, or "" */
};

#define ERR_INIT ((struct err){ .fd = -1 })

/* Set code and cause; forget everything else. Returns -code. */
int err_set(struct err *e, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Put "words: " in front of the cause. Returns -e->code (-EIO without e). */
int err_wrap(struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Say what the user can do about it. Returns -e->code. */
int err_remedy(struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Say which guest process and descriptor (-1: none). Returns -e->code. */
int err_about(struct err *e, pid_t pid, int fd);

/* Say which file. Returns -e->code. */
int err_path(struct err *e, const char *path);

/* Symbolic name of an errno value ("ENOENT"), never NULL. */
const char *err_name(int code);
