/*
 * template.h - processes that hold a checkpoint's memory.
 *
 * A struct template is one keeper's connection to such a process: a socket of
 * its own (two keepers on one socket would steal each other's replies) and a
 * pidfd. The process ends when the last connection is closed.
 *
 * The first template of a family is a fork of the keeper whose memory is
 * taken away; all others are forks of templates. See puppet/template.c for
 * the other side.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "puppet/prog.h"

struct template {
	int socket;		/* SOCK_SEQPACKET, ours alone; -1: none */
	pid_t pid;		/* in the keeper's PID namespace */
};

#define TEMPLATE_INIT ((struct template){ .socket = -1 })

/*
 * Make the first template of a family: an empty address space but for the
 * puppet and the vdso, every signal blocked, no descriptors.
 */
must_check int template_start(struct template *t, struct err *e);

/* Fork a template; the new one has the same memory. */
must_check int template_fork(const struct template *from, struct template *t,
			     struct err *e);

/*
 * Run a sealed program in the template's own memory. fds (at most
 * PUP_FDS_MAX - 1) are slots 0.. of the program and closed after it. On
 * failure the template's memory is unspecified: free it.
 */
must_check int template_run(const struct template *t, struct prog_arena *arena,
			    uint64_t program, const int *fds, size_t n_fds,
			    struct err *e);

/*
 * Clone PID 1 of a new incarnation. It shares the template's memory: the
 * next request waits until PID 1 has executed or died.
 * fds are slots 0.. of the program and inherited by PID 1. Returns a pidfd
 * through *pidfd and the pid in the keeper's namespace.
 */
must_check int template_spawn(const struct template *t,
			      struct prog_arena *arena, uint64_t program,
			      int gate_fd, uint64_t clone_flags, const int *fds,
			      size_t n_fds, int *pidfd, struct err *e);

/* One more connection to the same process, for another keeper. */
must_check int template_attach(const struct template *t, struct template *more,
			       struct err *e);

/* Has the process ended? Its memory is lost then. True of an unset one. */
bool template_is_lost(const struct template *t);

/* Hang up. Takes an unset one. */
void template_close(struct template *t);
