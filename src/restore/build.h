/* build.h - an incarnation while it is being built; within restore/ only. */
#pragma once

#include "engine/incarnation.h"
#include "parts/files.h"
#include "parts/part.h"
#include "parts/pidfd.h"
#include "puppet/prog.h"
#include "restore/restore.h"
#include "sandbox/limits.h"

/* Rendezvous of PID 1 with the keeper: status.reached; go by the socket. */
enum {
	REACHED_MOUNTED = 1,	/* its root is complete: files can be opened */
};

/* Words of the status page that the tree counts in. */
enum {
	WORD_LEADERS = 0,	/* group leaders that lead */
	WORD_JOINED = 1,	/* processes that are in their group */
	WORD_TRACKED = 2,	/* processes whose uffd the keeper may take */
	WORD_ARMED = 3,		/* set by the keeper: tracking is on */
	WORD_PIDFDS = 4,	/* PID 1 has opened the pidfds */
	WORD_TAKEN = 5,		/* processes that have taken theirs */
};

/* What the keeper must know of a process's program once it runs. */
struct built_proc {
	struct prog prog;
	uint64_t address;	/* in the arena, once sealed */
	size_t uffd_op;		/* index of userfaultfd(2) in it */
	pid_t host_pid;		/* found after it was forked */
};

struct build {
	struct engine *en;
	struct checkpoint *from;
	const struct tree_image *image;
	const struct restore_options *options;
	struct incarnation *in;
	struct mounts_set mounts;
	struct prog_arena arena;
	struct prog pid1;
	uint64_t pid1_address;
	struct vec procs;		/* struct built_proc, as image.procs */
	struct files_open files;
	struct vec exes;		/* int: image.map_files that are executables */
	int init_theirs;		/* init's end of its socket */
	int doors[LIMITS_DOORS_MAX];	/* of the cgroup; limits_doors() of them */
	unsigned int fd_base;		/* first number for descriptors of ours */
	unsigned int file_slot;		/* image.files[0] */
	unsigned int born;		/* descriptors of PID 1 that are the sockets */
	unsigned int next_slot;		/* free for the programs of the tree */
	struct own_settings own;
	struct pidfd_words pidfds;
};

/* Write all programs (tree.c, pid1.c). The arena must exist. */
must_check int build_programs(struct build *b, struct err *e);

/* PID 1's part in it: what refers to processes, when all are there. */
void tree_write_pidfds(struct build *b, struct prog *p);

/* The program of process i, and of its children before it. */
void tree_write(struct build *b, int i);

/* Forks of the tree's top: PID 1's own children and those of dead leaders. */
void tree_write_children(struct build *b, struct prog *p, int parent);

/* The executables of the tree's processes: fills b->exes. */
must_check int exes_list(struct build *b);

/*
 * Open them in the new root, where it is the same file there, else as the
 * template has them; append to fds (int), in the order of b->exes.
 */
must_check int exes_open(struct build *b, struct vec *fds, struct err *e);

/* Host pids of the tree, tracking armed: between fork and park. */
must_check int build_track(struct build *b, struct err *e);

/*
 * Sleep until *word is at least n. Fails when the tree reports a failure,
 * PID 1 dies, or nothing happens for 10 s.
 */
must_check int build_await(struct build *b, const uint32_t *word, uint32_t n,
			   const char *what, struct err *e);
