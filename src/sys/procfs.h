/*
 * procfs.h - parsers of /proc/<pid>. The only place that knows its formats.
 *
 * A struct procfs is an open /proc plus a text buffer that every call reuses:
 * what a call leaves in `text` is valid until the next one. Functions return
 * 0 or a count, or -errno; -ESRCH and -ENOENT both mean that the task is gone
 * (mapped to -ESRCH). tid 0 asks about the process, else about that thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/vec.h"

struct procfs {
	int fd;			/* O_PATH of the proc mount */
	struct buf text;
};

#define PROCFS_INIT ((struct procfs){ .fd = -1 })

/* Open a proc mount (NULL: "/proc"). */
must_check int procfs_open(struct procfs *p, const char *path);
void procfs_close(struct procfs *p);

/*
 * Read a whole file of a task into p->text (NUL-terminated). Returns its
 * length.
 */
must_check int procfs_read(struct procfs *p, pid_t pid, pid_t tid,
			   const char *name);

/* Open a file of a task, close-on-exec. */
must_check int procfs_openat(struct procfs *p, pid_t pid, pid_t tid,
			     const char *name, int flags);

enum { PROCFS_COMM_BYTES = 64 };	/* 16, or more for kernel workers */

struct procfs_stat {
	pid_t pid;
	char comm[PROCFS_COMM_BYTES];
	char state;		/* R S D T t Z X I */
	pid_t ppid, pgrp, session;	/* in the reader's PID namespace */
	int tty_nr, tpgid;
	uint32_t flags;		/* PF_* */
	uint64_t utime, stime;
	long priority, nice;
	long num_threads;
	uint64_t start_time;	/* clock ticks since boot */
	uint64_t vsize;
	uint64_t start_code, end_code, start_stack;
	uint32_t exit_signal;
	unsigned int rt_priority, policy;
	uint64_t start_data, end_data, start_brk;
	uint64_t arg_start, arg_end, env_start, env_end;
	int exit_code;		/* wait status; 0 without ptrace permission */
};
must_check int procfs_stat(struct procfs *p, pid_t pid, pid_t tid,
			   struct procfs_stat *out);

enum {
	PROCFS_NS_DEPTH = 32,		/* MAX_PID_NS_LEVEL */
	PROCFS_GROUPS_MAX = 65536,	/* NGROUPS_MAX */
};

struct procfs_status {
	pid_t tgid, ppid, tracer_pid;
	int n_ns;			/* entries in the arrays below */
	pid_t ns_tgid[PROCFS_NS_DEPTH];	/* reader's namespace first */
	pid_t ns_pid[PROCFS_NS_DEPTH];
	pid_t ns_pgid[PROCFS_NS_DEPTH];
	pid_t ns_sid[PROCFS_NS_DEPTH];
	uid_t uid[4];			/* real, effective, saved, fs */
	gid_t gid[4];
	mode_t umask;
	char state;
	int threads;
	uint64_t sig_pending, sig_shared_pending;
	uint64_t sig_blocked, sig_ignored, sig_caught;
	uint64_t cap_inh, cap_prm, cap_eff, cap_bnd, cap_amb;
	bool no_new_privs;
	int seccomp;			/* 0 off, 1 strict, 2 filter */
	int seccomp_filters;
	uint64_t locked_kb;		/* memory that is locked */
	uint64_t swap_kb;		/* .. that lies in the swap */
	uint64_t voluntary_switches;
	uint64_t involuntary_switches;
};
must_check int procfs_status(struct procfs *p, pid_t pid, pid_t tid,
			     struct procfs_status *out);

/* Append the supplementary groups (gid_t) to out; returns how many. */
must_check int procfs_groups(struct procfs *p, pid_t pid, struct vec *out);

struct procfs_map {
	uint64_t start, end;
	uint64_t offset;	/* in the file, bytes */
	uint64_t ino;		/* 0: no file */
	dev_t dev;
	uint32_t name;		/* offset in procfs_maps.names; 0: "" */
	uint8_t prot;		/* PROT_* */
	bool shared;
};

struct procfs_maps {
	struct vec maps;	/* struct procfs_map, ascending */
	struct buf names;	/* NUL-terminated, raw (the text's "\\012" is a
				 * newline again); " (deleted)" is kept */
};

#define PROCFS_MAPS_INIT \
	((struct procfs_maps){ .maps = VEC_INIT(struct procfs_map) })

/*
 * All mappings; what was in m is dropped, its memory reused. Through
 * PROCMAP_QUERY where the kernel has it. The task should be stopped.
 */
must_check int procfs_maps(struct procfs *p, pid_t pid, struct procfs_maps *m);
void procfs_maps_deinit(struct procfs_maps *m);

static inline const char *procfs_map_name(const struct procfs_maps *m,
					  const struct procfs_map *map)
{
	return map->name ? m->names.data + map->name : "";
}

/* The mapping that contains address, NULL if none does. */
const struct procfs_map *procfs_maps_find(const struct procfs_maps *m,
					  uint64_t address);

/*
 * Only the mapping that contains address: one ioctl, or the text. name may be
 * NULL. -ENOENT: nothing is mapped there.
 */
must_check int procfs_map_at(struct procfs *p, pid_t pid, uint64_t address,
			     struct procfs_map *out, char *name, size_t cap);

/*
 * VmFlags and page counts of the mapping that starts at `start`; reads smaps
 * up to it, which is slow: only on demand. flags: "rd wr mr mw me ac sd".
 */
struct procfs_smap {
	char flags[128];
	uint64_t rss_kb, anonymous_kb, swap_kb, locked_kb;
};
must_check int procfs_smap(struct procfs *p, pid_t pid, uint64_t start,
			   struct procfs_smap *out);

/* Does a VmFlags list contain the two-letter flag? */
bool procfs_smap_flag(const struct procfs_smap *s, const char *flag);

/*
 * Append the locked mappings (struct procfs_locked), ascending: from smaps,
 * so only on demand, too.
 */
struct procfs_locked {
	uint64_t start, end;
	bool on_fault;		/* MLOCK_ONFAULT */
};
must_check int procfs_locked(struct procfs *p, pid_t pid, struct vec *out);

/* Pages of a range that are anonymous (present or swapped, written copies). */
must_check int64_t procfs_anon_pages(struct procfs *p, pid_t pid,
				     uint64_t start, uint64_t end);

struct procfs_fd {
	int fd;
	uint32_t link;		/* offset in procfs_fds.links */
	mode_t mode;
	uint32_t nlink;
	uint64_t ino, mnt_id, size;
	dev_t dev, rdev;
	int64_t ctime_s;
	uint32_t ctime_ns;
};

struct procfs_fds {
	struct vec fds;		/* struct procfs_fd, ascending */
	struct buf links;	/* NUL-terminated readlink texts */
};

#define PROCFS_FDS_INIT ((struct procfs_fds){ .fds = VEC_INIT(struct procfs_fd) })

/* Append the numbers (int) of the open descriptors, ascending. */
must_check int procfs_fd_numbers(struct procfs *p, pid_t pid, struct vec *out);

/* All descriptors with what statx and readlink say of them. */
must_check int procfs_fds(struct procfs *p, pid_t pid, struct procfs_fds *out);
void procfs_fds_deinit(struct procfs_fds *out);

static inline const char *procfs_fd_link(const struct procfs_fds *l,
					 const struct procfs_fd *fd)
{
	return l->links.data + fd->link;
}

/*
 * What a link of a task ("cwd", "root", "exe", "fd/3") leads to; link may be
 * NULL. statx and readlink.
 */
must_check int procfs_link(struct procfs *p, pid_t pid, const char *name,
			   struct procfs_fd *out, char *link, size_t cap);

struct procfs_fdinfo {
	uint64_t pos;
	uint32_t flags;		/* open(2) flags and O_CLOEXEC */
	uint64_t mnt_id, ino;
	unsigned int n_locks;
	const char *locks;	/* "lock:" lines in p->text, or "" */
	const char *rest;	/* lines of the kind (eventfd, epoll...) */
};
must_check int procfs_fdinfo(struct procfs *p, pid_t pid, int fd,
			     struct procfs_fdinfo *out);

/* Value of a line "key: value" in text, NULL if absent. */
const char *procfs_field(const char *text, const char *key);

/* Append the thread ids (pid_t) of a process, ascending, leader included. */
must_check int procfs_tasks(struct procfs *p, pid_t pid, struct vec *out);

/* Append the children (pid_t) of one thread, zombies included. */
must_check int procfs_children(struct procfs *p, pid_t pid, pid_t tid,
			       struct vec *out);

/* Number of the system call a sleeping task is in and its arguments; -1: in
 * none, or running: it was on a CPU, or about to be. */
struct procfs_syscall {
	long nr;
	bool running;
	uint64_t arg[6];
};
must_check int procfs_syscall(struct procfs *p, pid_t pid, pid_t tid,
			      struct procfs_syscall *out);

/* Auxiliary vector, pairs of words with AT_NULL: returns the word count. */
must_check int procfs_auxv(struct procfs *p, pid_t pid, uint64_t *words,
			   size_t cap);

/* Value of an auxv entry, 0 if absent. */
uint64_t procfs_auxv_get(const uint64_t *words, size_t n, uint64_t type);

/* Time on a CPU in ns, and how many times it was given one. */
must_check int procfs_schedstat(struct procfs *p, pid_t pid, pid_t tid,
				uint64_t *run_ns, uint64_t *timeslices);
must_check int procfs_timerslack(struct procfs *p, pid_t tid, uint64_t *ns);
must_check int procfs_oom_score_adj(struct procfs *p, pid_t pid, int *value);
must_check int procfs_coredump_filter(struct procfs *p, pid_t pid, uint32_t *value);
must_check int procfs_personality(struct procfs *p, pid_t pid, uint32_t *value);

/* All resource limits, indexed by RLIMIT_*. */
must_check int procfs_limits(struct procfs *p, pid_t pid, struct rlimit out[RLIM_NLIMITS]);

/* Inode number of a namespace ("pid", "mnt", "user"...) of a task. */
must_check int procfs_ns_ino(struct procfs *p, pid_t pid, pid_t tid,
			     const char *ns, uint64_t *ino);
