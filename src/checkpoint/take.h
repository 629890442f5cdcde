/* take.h - a checkpoint while it is being taken; within checkpoint/ only. */
#pragma once

#include "checkpoint/checkpoint.h"
#include "parts/files.h"
#include "task/freeze.h"
#include "task/remote.h"
#include "template/dump.h"

struct take {
	struct incarnation *in;
	struct engine *en;
	const struct vec *outers;
	const struct checkpoint_hooks *hooks;
	struct checkpoint *parent;
	struct checkpoint *next;	/* being made */
	struct frozen *frozen;
	uint64_t frozen_since_ns;
	struct look look;
	struct fs_cut cut;
	struct vec carry;		/* struct carry_want */
	bool was_cut;
	struct files_open reopened;	/* descriptions on the new overlays */
	struct vec reopen;		/* bool, one per image.files */
	struct dump dump;
	struct checkpoint_stats *stats;
};

/* Look at every process, from outside; refuse. (inspect.c) */
must_check int take_look(struct take *t, struct err *e);

/* Which files go on with their inodes, and which were written. */
must_check int take_carry_list(struct take *t, bool *writers, struct err *e);

/* After a cut: open what must move to the new overlays. (rehome.c) */
must_check int take_reopen(struct take *t, struct err *e);

/* Run in every process: ask, re-home, start tracking. (visit.c) */
must_check int take_visit(struct take *t, struct err *e);

/* Append to a process's program what re-homes it; returns whether anything. */
bool rehome_wanted(const struct take *t, int proc);
must_check int rehome_write(struct take *t, int proc, struct prog *p, unsigned int socket_slot,
			    int keeper_socket, struct err *e);
