/*
 * runtime.h - where the keepers of this machine are found.
 *
 *	$MULLIGAN_RUNTIME, or /run/mulligan (root), or
 *	$XDG_RUNTIME_DIR/mulligan, or /tmp/mulligan-<uid>
 *	  .lock			held while a name is claimed or cleared away
 *	  <name>/sock		where clients connect
 *	  <name>/pid		locked as long as the keeper lives
 *	  <name>/info.json	what `ps` says of one that does not answer
 *	  <name>/log		what the keeper had to say
 *
 * The lock on `pid` is an open-file-description lock: it dies with the keeper
 * however that dies, and asking about it takes nothing, so that `ps` never
 * stands in the way of a keeper that starts.
 */
#pragma once

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/vec.h"
#include "wire/json.h"

enum {
	RUNTIME_NAME_BYTES = 64,	/* with its NUL; also a host name */
	RUNTIME_PATH_BYTES = 4096,
};

/* -EINVAL unless this can be a sandbox's name: [A-Za-z0-9][A-Za-z0-9_.-]*. */
must_check int runtime_check_name(const char *name, struct err *e);

/* Path of the runtime directory. */
must_check int runtime_path(char out[RUNTIME_PATH_BYTES], struct err *e);

/*
 * Path of the state directory, which the layers are kept in: $MULLIGAN_STATE,
 * or /var/lib/mulligan (root), or $XDG_STATE_HOME/mulligan, or
 * ~/.local/state/mulligan.
 */
must_check int runtime_state_path(char out[RUNTIME_PATH_BYTES], struct err *e);

/* The runtime directory, made when missing; refused (-EPERM) if others could write in it. */
must_check int runtime_open(struct err *e);

/* Hold the directory's lock until the returned descriptor is closed. */
must_check int runtime_lock(int runtime_fd, struct err *e);

/* A keeper's own place. */
struct runtime_place {
	int dir_fd;		/* <name>/ */
	int pid_fd;		/* holds the lock */
	int listen_fd;
	char name[RUNTIME_NAME_BYTES];
};

#define RUNTIME_PLACE_INIT ((struct runtime_place){ .dir_fd = -1, .pid_fd = -1, .listen_fd = -1 })

/*
 * Take the name and listen: -EEXIST when a living keeper has it. What a dead
 * one left under the name is cleared away. The lock is dropped by the last
 * process that has pid_fd open.
 */
must_check int runtime_claim(int runtime_fd, const char *name, struct runtime_place *out,
			     struct err *e);

/* Say who we are now: after fork(). */
must_check int runtime_place_sign(struct runtime_place *p, struct err *e);

/* Replace info.json. */
must_check int runtime_place_info(struct runtime_place *p, const json_t *info, struct err *e);

/* Remove the directory and let the name go. */
void runtime_place_release(int runtime_fd, struct runtime_place *p);

/* Close descriptors without removing anything. */
void runtime_place_deinit(struct runtime_place *p);

struct runtime_entry {
	char name[RUNTIME_NAME_BYTES];
	bool alive;
	int pid;		/* of the keeper, 0 if not alive */
};

/* All entries, by name; *out is a vec of struct runtime_entry. */
must_check int runtime_list(int runtime_fd, struct vec *out, struct err *e);

/* One entry: -ENOENT when there is none of that name. */
must_check int runtime_find(int runtime_fd, const char *name, struct runtime_entry *out,
			    struct err *e);

/* info.json of an entry, or NULL. New reference. */
json_t *runtime_info(int runtime_fd, const char *name);

/* Remove what a dead keeper left: 1 removed, 0 it lives. */
must_check int runtime_clear(int runtime_fd, const char *name, struct err *e);

/* Connect to a keeper; its absence is told as the user should hear it. */
must_check int runtime_connect(int runtime_fd, const char *name, struct err *e);
