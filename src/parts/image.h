/*
 * image.h - what a checkpoint knows of its processes, besides their pages.
 *
 * Passive data: parts fill it while the tree is frozen (look, heard) and write
 * restoring programs from it (load). Things refer to each other by index into
 * the image's vectors; NONE says "none". Pids are those inside the sandbox.
 * The pages themselves are in the checkpoint's template, each process's at
 * its staging addresses: see stagemap.h.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/user.h>
#include <time.h>

#include "base/vec.h"
#include "sys/sched.h"
#include "sys/sysvipc.h"
#include "sys/tty.h"

enum {
	IMAGE_FILES_MAX = 3328,	/* and processes: slots of PID 1's program */
	IMAGE_NONE = -1,
	IMAGE_SIGNALS = 64,
	IMAGE_COMM_BYTES = 16,
	IMAGE_AUXV_BYTES = 512,
	IMAGE_LIMITS = 16,	/* RLIM_NLIMITS of every kernel so far */
	IMAGE_GROUPS_MAX = 64,
	IMAGE_FRAME_BYTES = 12288,
	IMAGE_LEVELS = 16,	/* chains of up to 65,536 checkpoints */
};

enum image_vma_kind {
	VMA_ANON = 1,		/* private anonymous, stacks and heap too */
	VMA_FILE = 2,		/* private mapping of a file */
	VMA_FILE_SHARED = 3,	/* mapping of an image.file: shared, or is_private */
	VMA_SHM = 4,		/* shared anonymous memory, memfd */
	VMA_VDSO = 5,		/* vvar, vvar_vclock, vdso */
};

enum image_lock_kind {
	LOCK_NONE,
	LOCK_NOW,		/* mlock(2) */
	LOCK_ON_FAULT,		/* MLOCK_ONFAULT, MCL_ONFAULT */
};

struct image_vma {
	uint64_t start, end;
	uint64_t offset;	/* in the file or object, bytes */
	uint64_t stage;		/* start in the template; ANON and FILE only */
	enum image_vma_kind kind;
	int prot;		/* PROT_* */
	bool grows_down;
	bool is_private;	/* FILE_SHARED: mapheld.h */
	bool is_readonly;	/* SHM, made of such a file: cannot be made writable */
	bool tracked;		/* dirty tracking armed at this checkpoint */
	bool has_anon;		/* written pages are in the template */
	enum image_lock_kind lock;
	uint32_t born;		/* depth of the checkpoint that mapped it afresh
				 * in its template */
	int object;		/* FILE: image.map_files; FILE_SHARED: image.files;
				 * SHM: image.shms */
};

/* A file that templates hold open, for mappings and as executables. */
struct image_map_file {
	uint64_t dev, ino;	/* as /proc/pid/maps shows them */
	bool is_device;		/* /dev/zero: its mappings move alone */
	int template_fd;	/* number in every template of the branch */
	uint64_t bytes;		/* behind the end an access is SIGBUS */
	int content_fd;		/* a copy: the sealed memfd; -1: the file itself */
	uint64_t of_dev, of_ino;	/* a copy: what it was made of */
	bool is_gone;		/* no template has it from here on */
	bool is_copied_up;	/* from the layer that the overlay was over */
	bool is_outdated;	/* new mappings are of the one copied up */
	/* while looking */
	bool is_compared, is_mapped;
	bool is_looked_up, has_two;	/* mapview.h */
	char *path;		/* inside the sandbox */
};

struct image_thread {
	pid_t tid;
	char comm[IMAGE_COMM_BYTES];
	uint64_t clear_tid;	/* address, set_tid_address(2) */
	uint64_t robust_list, robust_len;
	uint64_t rseq_ptr;
	uint32_t rseq_len, rseq_sig;
	uint64_t mask;		/* blocked signals */
	uint64_t fs_base, gs_base;
	stack_t altstack;
	bool at_gate;			/* restored stopped: it has not run since, and
					 * what it is stands in the last checkpoint */
	struct user_regs_struct regs;
	uint8_t *xstate;	/* as PTRACE_GETREGSET gives it */
	uint32_t xstate_bytes;
	struct vec pending;	/* siginfo_t, to this thread */
	int timer_slack;
	struct sys_sched_attr sched;
	int32_t pdeath_signal;
	bool no_tsc;		/* PR_SET_TSC */
	int nice;
	int ioprio;		/* ioprio_set(2) */
	uint8_t *cpus;		/* sched_setaffinity(2); NULL: as the keeper */
	uint32_t cpus_bytes;
};

struct image_sigaction {
	uint64_t handler, flags, restorer, mask; /* the kernel's layout */
};

struct image_cred {
	uint32_t uid[3], gid[3];	/* real, effective, saved */
	uint32_t n_groups;
	uint32_t groups[IMAGE_GROUPS_MAX];
	uint64_t inheritable, permitted, effective, bounding, ambient;
	uint32_t securebits;
	bool no_new_privs;
	uint32_t filters;		/* seccomp filters, ours included */
};

/* Layout of struct prctl_mm_map after auxv: see prctl(2), PR_SET_MM_MAP. */
struct image_mm {
	uint64_t start_code, end_code, start_data, end_data, start_brk, brk;
	uint64_t start_stack, arg_start, arg_end, env_start, env_end;
	uint8_t auxv[IMAGE_AUXV_BYTES];
	uint32_t auxv_bytes;
	int exe;			/* image.map_files */
	uint64_t vdso_start, vdso_end;	/* all vvar and vdso maps */
};

enum image_proc_state {
	PROC_LIVE = 1,
	PROC_ZOMBIE = 2,	/* exit_status is what wait returns */
	PROC_GHOST = 3,		/* gone, but gave its id to a session or group
				 * that others are still in */
};

/* A timer of timer_create(2). */
struct image_timer {
	int id, clock, signo;
	int notify;		/* SIGEV_*, as the kernel has it */
	uint64_t value;		/* sigev_value */
	pid_t tid;		/* SIGEV_THREAD_ID */
	struct itimerspec left;
};

struct image_fd {
	int fd;
	int file;		/* image.files */
	bool cloexec;
};

struct image_proc {
	pid_t pid, pgid, sid;
	int parent;		/* image.procs, IMAGE_NONE: PID 1 */
	int maker;		/* ghost that forks it and ends; IMAGE_NONE: the
				 * usual one (restore/tree.c) */
	uint64_t key;		/* the same process in other checkpoints */
	enum image_proc_state state;
	int exit_status;	/* zombie: wait status */
	int stopped_by;		/* job-control stop signal, 0: runs */
	bool stopping;		/* .. is on its way and has not stopped all of it */
	bool stop_told;		/* .. has stopped it, and its parent has waited */
	uint32_t stop_level;	/* .. has stopped it: parts/stops.h */
	char comm[IMAGE_COMM_BYTES];

	struct image_mm mm;
	struct vec vmas;	/* struct image_vma, ascending */
	struct vec threads;	/* struct image_thread, leader first */
	struct vec fds;		/* struct image_fd, ascending */
	/*
	 * struct image_run, ascending: pages written or dropped since the
	 * ancestor whose depth is ours with the j lowest bits cleared; see
	 * template/ahead.h
	 */
	struct vec since[IMAGE_LEVELS];
	/*
	 * struct image_run, ascending: pages of private mappings of files that
	 * the template has of its own; see template/dropped.h
	 */
	struct vec own;
	struct image_sigaction action[IMAGE_SIGNALS + 1]; /* by signal number */
	struct vec pending;	/* siginfo_t, to the process */
	struct itimerval_pair {
		int64_t interval_us, value_us;
	} itimer[3];
	struct vec timers;	/* struct image_timer, ascending */
	struct rlimit limit[IMAGE_LIMITS];
	struct image_cred cred;
	int cwd, root;		/* image.files (O_PATH) or IMAGE_NONE: "/" */
	uint32_t umask;
	uint32_t personality;
	int dumpable;
	int oom_score_adj;
	bool subreaper;
	bool has_tty;		/* its session's controlling terminal is its own */
	uint32_t coredump_filter;
	enum image_lock_kind lock_future;	/* MCL_FUTURE */
	uint64_t xcomp_perm;	/* ARCH_GET_XCOMP_PERM; 0: not known there */
	uint32_t membarriers;	/* MEMBARRIER_CMD_REGISTER_* */
	uint32_t thp_disable;	/* as PR_GET_THP_DISABLE gives it */
};

/* Pages [start, start + bytes) of a process. */
struct image_run {
	uint64_t start, bytes;
};

enum image_file_kind {
	FILE_PATH = 1,		/* regular, directory or O_PATH on an overlay */
	FILE_UNLINKED = 2,	/* regular, no name left; contents in `content` */
	FILE_NODE = 3,		/* a device, /proc or /sys file: opened by path */
	FILE_PIPE = 4,		/* one end (or both) of a pipe */
	FILE_FIFO = 5,		/* a named pipe of an overlay */
	FILE_EVENTFD = 6,
	FILE_TTY = 7,		/* an end of a terminal */
	FILE_MEMFD = 8,		/* as UNLINKED; own: name and seals */
	FILE_SIGNALFD = 10,
	FILE_TIMERFD = 11,
	FILE_EPOLL = 12,
	FILE_PIDFD = 13,
	FILE_INOTIFY = 14,	/* own: struct inotify */
	FILE_SOCKET = 20,	/* own: struct image_sock */
};

struct image_lock {
	enum { LOCK_FLOCK = 1, LOCK_POSIX, LOCK_OFD } kind;
	bool exclusive;
	uint64_t start;
	int64_t len;		/* 0: to the end of the file */
	pid_t pid;		/* POSIX: owner */
};

/* An open file description: what dup and fork share. */
struct image_file {
	enum image_file_kind kind;
	int flags;		/* O_*, without O_CLOEXEC */
	uint64_t pos;
	uint32_t mode;		/* st_mode */
	int mount;		/* fs tree's mount; IMAGE_NONE: none of them */
	char *path;		/* from the sandbox's root */
	int pipe;		/* image.pipes: PIPE, FIFO */
	int tty;		/* image.ttys: TTY */
	enum {
		TTY_MASTER = 1,
		TTY_SLAVE = 2,
		TTY_CURRENT = 3,	/* the slave, opened as /dev/tty */
	} tty_end;		/* TTY */
	bool says_cloexec;	/* TTY: whatever its descriptors are (sys/tty.h) */
	uint64_t count;		/* EVENTFD; SIGNALFD: mask */
	bool semaphore;		/* EVENTFD */
	int content_fd;		/* UNLINKED: memfd with the bytes */
	int twin;		/* UNLINKED: description of the same file that
				 * has the bytes, IMAGE_NONE: this one has */
	uint64_t ino, dev;	/* at the time of the checkpoint */
	struct vec locks;	/* struct image_lock */
	bool carry;		/* open for writing, or mapped shared */
	void *own;		/* what only its kind knows of; NULL: nothing */
};

struct image_pipe {
	uint64_t ino, dev;
	uint32_t capacity;	/* bytes, F_GETPIPE_SZ */
	bool has_reader, has_writer;	/* among the saved descriptions */
	bool packets;
	struct vec data;	/* char: queued bytes */
	struct vec pieces;	/* uint32_t: lengths in which they are read: the
				 * packets of a pipe in packet mode */
	int command;		/* handle whose stream this is, IMAGE_NONE */
	int stream;		/* 0 stdin, 1 stdout, 2 stderr */
};

/* A pseudo-terminal. Settings are the slave's; those of a master are fixed. */
struct image_tty {
	unsigned int number;	/* N of /dev/pts/N */
	bool is_dead;		/* its master is gone: the slaves are hung up */
	uint32_t uid, gid, mode;	/* of /dev/pts/N */
	struct sys_termios term;
	struct winsize size;
	bool packets;		/* master: TIOCPKT */
	bool locked;		/* TIOCSPTLCK */
	bool exclusive;		/* slave: TIOCEXCL */
	bool stopped;		/* output, by ^S or tcflow */
	bool stopped_by_call;	/* ... by tcflow */
	pid_t sid, pgrp;	/* whose controlling terminal, its foreground; or 0 */
	int by;			/* image.files: a slave by which the session's
				 * leader takes it; IMAGE_NONE: no sid */
	/*
	 * What the slave would read: lines, each as one read has it, and then
	 * an unfinished one. Not in line mode: all is unfinished.
	 */
	struct vec input;	/* char */
	struct vec lines;	/* uint32_t: lengths */
	struct vec output;	/* char: what the master would read */
	uint64_t command;	/* handle that has the master; 0: none */
};

/* What lies in a memory file system: see memfs.h. */
struct image_memfs {
	char *path;		/* where it is mounted in the sandbox */
	int dir_fd;		/* a tmpfs of ours, not attached */
};

/* A shared-memory object: its bytes at the checkpoint. */
struct image_shm {
	uint64_t dev, ino;
	uint64_t bytes;		/* end of the farthest mapping */
	int content_fd;		/* memfd, sparse; -1: not read yet */
	int file;		/* image.files: description for the mappings,
				 * IMAGE_NONE: it is no file */
	int readonly_file;	/* ... for those that cannot be made writable */
	bool has_writable, has_readonly;	/* mappings of the two sorts */
	bool maybe_named;	/* while reading: it may have a name that is not known */
	bool every_mapping;	/* while reading: holes cannot be seen */
	struct sys_shm *segment;	/* of System V; NULL: it is none */
	uint64_t mappings;	/* while looking: those of a segment that were seen */
};

struct tree_image {
	struct vec procs;	/* struct image_proc, parents before children */
	struct vec files;	/* struct image_file */
	struct vec pipes;	/* struct image_pipe */
	struct vec ttys;	/* struct image_tty */
	struct vec shms;	/* struct image_shm */
	struct vec sem_sets;	/* struct sys_sem_set */
	struct vec msg_queues;	/* struct sys_msg_queue */
	struct vec memfs;	/* struct image_memfs */
	struct vec map_files;	/* struct image_map_file */
	struct vec chunks;	/* struct stage_chunk, see stagemap.h */
	pid_t last_pid;		/* newest pid handed out */
	size_t n_threads;
};

void image_init(struct tree_image *im);
void image_deinit(struct tree_image *im);

static inline struct image_proc *image_proc(const struct tree_image *im, int i)
{
	return vec_at(&im->procs, (size_t)i);
}

static inline struct image_file *image_file(const struct tree_image *im, int i)
{
	return vec_at(&im->files, (size_t)i);
}

static inline struct image_pipe *image_pipe(const struct tree_image *im, int i)
{
	return vec_at(&im->pipes, (size_t)i);
}

static inline struct image_tty *image_tty(const struct tree_image *im, int i)
{
	return vec_at(&im->ttys, (size_t)i);
}

/* Index of the process with this key, or IMAGE_NONE. */
int image_find_key(const struct tree_image *im, uint64_t key);

/* Index of the process with this pid inside the sandbox, or IMAGE_NONE. */
int image_find_pid(const struct tree_image *im, pid_t pid);

/* Bytes that a process's private mappings span, the tree's in all. */
uint64_t image_mapped_bytes(const struct tree_image *im);
