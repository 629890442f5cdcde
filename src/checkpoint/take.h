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
	struct checkpoint *base;	/* reference: whose memory the new template
					 * begins with: the parent's, or none */
	struct checkpoint *next;	/* being made */
	struct frozen *frozen;
	uint64_t frozen_since_ns;
	struct look look;
	struct fs_cut cut;
	struct vec carry;		/* struct carry_want */
	bool was_cut;
	int old_root_fd;		/* after a cut: the root before; -1: none */
	struct vec visits;		/* open ones: see visit.c */
	bool moved;			/* processes may be on the new overlays */
	bool broken;			/* something could not be taken back */
	struct files_open reopened;	/* descriptions on the new overlays */
	struct vec reopen;		/* bool, one per image.files */
	struct dump dump;
	struct checkpoint_stats *stats;
};

/* Look at every process, from outside; refuse. (inspect.c) */
must_check int take_look(struct take *t, struct err *e);

/* Look at System V objects, which no process holds. (sysv.c) */
must_check int take_look_sysv(struct take *t, struct err *e);

/* Which files go on with their inodes, and which were written. */
must_check int take_carry_list(struct take *t, bool *writers, struct err *e);

/* After a cut: open what must move to the new overlays. (rehome.c) */
must_check int take_reopen(struct take *t, struct err *e);

/*
 * Run in every process: ask, receive what was reopened, start tracking. Every
 * process stays prepared until take_move(), which cannot be taken back and
 * ends the visits, or take_leave(), which takes all of it back. (visit.c)
 */
must_check int take_visit(struct take *t, struct err *e);
must_check int take_move(struct take *t, struct err *e);
void take_leave(struct take *t);

/* The re-homing of one process. */
struct rehome {
	bool root, cwd;			/* wanted */
	struct vec files;		/* int: image.files, in the order sent */
	unsigned int first_slot;	/* of the received descriptors */
	unsigned int first_free_fd;	/* no descriptor of its own from here on */
};

/* Whether anything of a process moves; fills r, r->files is empty yet. */
bool rehome_wanted(const struct take *t, int proc, struct rehome *r);

/* After all were asked: make every socket that moves listen that no process can; or refuse. */
must_check int rehome_check(struct take *t, struct err *e);

/* Send the files, and write the program that receives them. */
must_check int rehome_receive(struct take *t, int proc, struct rehome *r, struct prog *p,
			      unsigned int socket, int keeper_socket, struct err *e);

/* All have moved: no epoll watches an inotify whose place another took. */
void rehome_forget(struct take *t);

/* The inotifys whose place others took have no owner any more. */
void rehome_leave(struct take *t);

/* Write the program that puts them in place. */
void rehome_write(struct take *t, int proc, const struct rehome *r, struct prog *p);
