/*
 * fsbox.h - a state directory on each kind of file system, a small root file
 * system, and a guest that lives in its overlays and does as it is told.
 *
 * With FSBOX_ROOTLESS=1 in the environment, or for an ordinary user, all of
 * it happens in a user namespace in which only the own id is mapped, to 0.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandbox/fs.h"
#include "sandbox/spec.h"

enum { FSBOX_TEXT = 400, FSBOX_SLOTS = 16 };

struct fsbox {
	const char *fs;   /* "dir" (that of $TMPDIR), "tmpfs", "xfs" */
	char dir[128];    /* on that file system */
	char root[160];   /* base root file system */
	char volume[160]; /* source of a volume */
	bool userns;
	struct store *store;
	struct spec spec;
};

/* Run body in a process and mount namespace of its own, per file system. */
void fsbox_each(void (*body)(struct fsbox *b));

/* The same on a tmpfs of that size only. */
void fsbox_small(void (*body)(struct fsbox *b), const char *size);

struct guest {
	pid_t pid;
	int socket_fd;
	int mntns_fd;
};

/* Attach the tree in a new mount namespace, with /dev and /dev/pts in it. */
void guest_start(struct guest *g, const struct fsbox *b, const struct fs_tree *t);
void guest_stop(struct guest *g);

/* A tree with a guest in it. */
struct fsrun {
	struct fs_tree *tree;
	struct guest guest;
};

/* A tree over the base alone, or over s; spares as fs_tree_new() takes them. */
void fsrun_begin(struct fsrun *r, const struct fsbox *b, struct fs_spares *spares,
		 const struct fs_snapshot *s);
/* What can be used again goes to the spares. */
void fsrun_end(struct fsrun *r);

/* What a guest does; each returns its result or -errno. */
int guest_open(struct guest *g, int slot, const char *path, int flags);
int guest_close(struct guest *g, int slot);
int guest_write(struct guest *g, int slot, const char *text);
int guest_map(struct guest *g, int slot); /* shared, writable */
int guest_poke(struct guest *g, int slot, const char *text);
int guest_put(struct guest *g, const char *path, const char *text);
int guest_mkdir(struct guest *g, const char *path);
int guest_unlink(struct guest *g, const char *path);
int guest_rename(struct guest *g, const char *from, const char *to);
int guest_link(struct guest *g, const char *from, const char *to);
int guest_chmod(struct guest *g, const char *path, unsigned mode);
int guest_chdir(struct guest *g, const char *path);
int guest_bind(struct guest *g, const char *from, const char *to);
int guest_exists(struct guest *g, const char *path);
uint64_t guest_ino(struct guest *g, const char *path);
uint64_t guest_fd_ino(struct guest *g, int slot);

/* Contents; static memory. "" with *error set where it cannot be read. */
const char *guest_get(struct guest *g, const char *path);

/* Contents of a file of a snapshot, seen by a fresh tree. Static memory. */
const char *snapshot_get(const struct fsbox *b, const struct fs_snapshot *s, const char *path);

/* Mounts in the guest's namespace. */
int guest_mounts(const struct guest *g);
uint64_t guest_root_id(const struct guest *g);

/* Entries of a directory of the state directory; descriptors of this process. */
int count_entries(const struct fsbox *b, const char *name);
int count_fds(void);
