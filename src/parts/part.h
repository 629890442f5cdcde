/*
 * part.h - a kind of process state: how it is saved and how it comes back.
 *
 * One file a kind, both directions in it; table.c is the list. A checkpoint
 * calls, for each live process of the frozen tree,
 *
 *	look	read /proc and ptrace into the image; refuse what cannot be
 *		saved. Nothing has been touched yet.
 *	ask	add questions to the program that will run in the process
 *	heard	take the answers into the image: hostile input
 *
 * and a rollback or fork calls
 *
 *	load	write, into the program of the process that is being made, what
 *		gives it this state. Table order is the order in the program.
 *	load_thread	the same for the program of each thread
 *
 * Any of them may be NULL.
 */
#pragma once

#include "base/err.h"
#include "parts/image.h"
#include "parts/own.h"
#include "puppet/prog.h"
#include "task/freeze.h"

/* An overlay mount of the sandbox; descriptors on others are nodes. */
struct part_mount {
	uint64_t mnt_id;
	int index;		/* in the fs tree */
	const char *target;	/* "/" or a volume's directory */
	dev_t dev;		/* as mappings of its files show it */
	int upper_fd;		/* what was written since the last cut; borrowed */
};

/* The keeper's end of a pipe or terminal: the command handle that it belongs to. */
struct part_outer {
	uint64_t dev, ino;
	int tty;		/* number of the terminal whose master it is, -1 */
	int fd;			/* borrowed */
	uint64_t command;
	int stream;		/* 0, 1, 2 */
};

/* An open file description that was seen, by one of its descriptors. */
struct look_seen {
	pid_t pid;		/* in the keeper's namespace */
	int fd;
	uint64_t dev, ino;
	int file;		/* image.files */
};

/* Ends of a terminal that were seen, as descriptors of ours; -1: none. */
struct look_tty {
	int master_fd;
	int slave_fd;		/* one that was not hung up */
	bool has_dead;		/* one that was */
};

/* A file opened for the templates: it becomes descriptor `number` there. */
struct look_opened {
	int fd;
	int number;
};

/* A live inotify, as a descriptor of ours. */
struct look_inotify {
	pid_t pid;
	int number;
	int fd;			/* -1: it has events of its own */
	int file;		/* image.files, by this descriptor of it; IMAGE_NONE */
};

struct look {
	struct frozen *frozen;
	struct procfs *procfs;
	struct tree_image *image;
	const struct tree_image *parent;	/* of the checkpoint before */
	struct vec mounts;		/* struct part_mount */
	struct vec outers;		/* struct part_outer */
	int own_filters;		/* seccomp filters a command starts with */
	struct vec ttys;		/* struct look_tty, one per image.ttys */
	int next_template_fd;		/* number for the next file, ever growing */
	struct vec opened;		/* struct look_opened: new map_files */
	struct vec fds;			/* struct procfs_fds, one a process */
	int root_fd;			/* of the sandbox, O_PATH */
	int pid1_pidfd;			/* borrowed */
	uint64_t shm_dev;		/* of mappings of System V segments; 0: there are none */
	struct vec memory_names;	/* struct memfs_name */
	/* scratch, reused from process to process */
	struct procfs_maps maps;
	struct vec seen;		/* struct look_seen, in order: files.c */
	struct vec held;		/* int: descriptors from queues */
	struct vec inotifys;		/* struct look_inotify */
	int inotify_fd;			/* one of ours, to compare with; -1: none yet */
	struct frozen_proc self;	/* the keeper, who holds these */
	bool shares_net;		/* the sandbox has the network of others */
	int diag_fd;			/* for sys_unix_diag(); borrowed */
	struct vec *empties;		/* of the incarnation: sock_queue.c; borrowed */
	struct procfs_status status;	/* of the process being looked at */
};

/* Space for answers in the arena; the process writes it, so it is hostile. */
struct answers {
	struct image_sigaction action[IMAGE_SIGNALS + 1];
	struct {
		int64_t interval_s, interval_us, value_s, value_us;
	} itimer[3];
	int32_t subreaper;
	uint8_t resident;		/* mincore(2) of asked.untouched */
	uint64_t xcomp_perm;
};

/* What questions were asked of one process, so that answers can be found. */
struct asked {
	const struct tree_image *image;
	struct prog *prog;
	size_t sock_first;		/* sockets.c: index of its first call */
	struct answers *answers;	/* in the arena, here */
	size_t files_first;		/* files.c: index of its first fcntl */
	struct itimerspec *timers;	/* posix_timers.c, in the arena, here */
	size_t misc_first;		/* misc.c: index of its first prctl */
	size_t locked_first;		/* locked.c: of its first question */
	uint64_t untouched;		/* a page that was just mapped there */
	size_t membarrier_first;	/* membarrier.c: of its first question */
};

struct pidfd_words;

struct load {
	const struct tree_image *image;
	struct prog *prog;		/* arena: of the incarnation */
	int proc;			/* index in the image */
	unsigned int file_slot;		/* slot of image.files[0] */
	unsigned int fd_base;		/* received descriptors lie from here on */
	const struct own_settings *own;	/* what PID 1 has of the keeper's */
	const struct pidfd_words *pidfds;
	bool keep_groups;		/* setgroups is denied here */
	bool track;			/* arm dirty tracking: two rendezvous */
};

struct part {
	const char *name;
	int (*look)(struct look *l, int proc, struct err *e);
	int (*ask)(struct image_proc *p, struct asked *a);
	int (*heard)(struct image_proc *p, const struct asked *a, struct err *e);
	void (*load)(struct load *l);
	void (*load_thread)(struct load *l, const struct image_thread *t);
};

extern const struct part part_ids, part_memory, part_threads, part_signals,
	part_timers, part_files, part_sockets, part_cwd, part_limits, part_misc,
	part_locked, part_membarrier, part_sched,
	part_cred, part_death;

extern const struct part *const part_table[];
extern const size_t part_count;

void look_init(struct look *l);
void look_deinit(struct look *l);

/* Close what was opened of the sandbox's: the templates have it, or nobody. */
void look_close(struct look *l);

static inline struct image_proc *look_proc(const struct look *l, int i)
{
	return image_proc(l->image, i);
}

/* Refuse: the sandbox cannot be saved because of this process. */
int look_refuse(struct err *e, const struct image_proc *p, int fd,
		const char *fmt, ...) __attribute__((format(printf, 4, 5)));
