/*
 * spec.h - what a user asked a sandbox to be.
 *
 * A spec is plain data: it is parsed from the command line or a request,
 * checked once, kept on disk with the sandbox, and copied to its forks.
 * Zero and NULL mean "not given"; defaults are applied where they are used.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/vec.h"

enum {
	SPEC_NAME_BYTES = 64,  /* with the NUL; a file name and a cgroup */
	SPEC_VOLUMES_MAX = 64, /* their descriptors go in one message */
	SPEC_TMPFS_MAX = 64,
};

enum base_kind {                  /* numbers are on disk */
		 BASE_HOST = 0,   /* skeleton root + the machine's /usr, /opt */
		 BASE_ROOTFS = 1, /* a directory */
};

enum volume_mode { /* numbers are on disk */
		   VOLUME_RO = 0,
		   VOLUME_RW = 1,  /* outside the checkpoint */
		   VOLUME_COW = 2, /* an overlay of its own */
};

enum net_kind {               /* numbers are on disk */
		NET_NONE = 0, /* loopback only */
		NET_HOST = 1,
};

struct volume {
	char *src; /* absolute host path */
	char *dst; /* absolute path inside, no "." or ".." */
	enum volume_mode mode;
};

struct spec {
	char name[SPEC_NAME_BYTES]; /* "": the keeper chooses one */
	enum base_kind base;
	char *rootfs;       /* BASE_ROOTFS: absolute host path */
	struct vec volumes; /* struct volume */
	struct vec tmpfs;   /* char *: absolute paths inside */
	struct vec env;     /* char *: "KEY=value" */
	struct vec labels;  /* char *: "key=value" */
	char *workdir;      /* absolute path inside; NULL: "/" */
	char *user;         /* "name", "uid", "name:group"; NULL: root */
	char *hostname;     /* NULL: the sandbox's name */
	enum net_kind net;
	bool read_only; /* root overlay mounted read-only */
	bool userns;    /* a user namespace for real root, too */
	bool die_with_parent;
	uint64_t memory_bytes; /* 0: default of limits.c */
	uint32_t pids_max;     /* 0: default of limits.c */
	uint32_t cpus_milli;   /* thousandths of a CPU; 0: no limit */
	uint64_t timeout_ns;   /* lease: 0: none */
	uint64_t idle_timeout_ns;
};

void spec_init(struct spec *s);
void spec_deinit(struct spec *s);

/* Deep copy; dst is overwritten. 0 or -ENOMEM. */
must_check int spec_copy(struct spec *dst, const struct spec *src);

/*
 * Whether text can be a sandbox's name: [a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}.
 * 0 or -EINVAL with the reason.
 */
must_check int spec_check_name(const char *text, struct err *e);

/* Set the name of s after checking it. */
must_check int spec_set_name(struct spec *s, const char *text, struct err *e);

/* Add "SRC:DST[:ro|rw|cow]" (rw if absent). SRC must be absolute. */
must_check int spec_add_volume(struct spec *s, const char *text, struct err *e);

/* Add a directory of the sandbox that is to be a tmpfs. */
must_check int spec_add_tmpfs(struct spec *s, const char *path, struct err *e);

/* Add "KEY=value"; a later one of the same key replaces an earlier one. */
must_check int spec_add_env(struct spec *s, const char *text, struct err *e);
must_check int spec_add_label(struct spec *s, const char *text, struct err *e);

/* "4096", "512m", "1.5g": bytes, in powers of 1024 (k, m, g, t, with or
 * without b). */
must_check int spec_parse_bytes(const char *text, uint64_t *bytes, struct err *e);

/* "90" (seconds), "250ms", "1.5s", "10m", "2h", "1d", "1h30m": nanoseconds. */
must_check int spec_parse_duration(const char *text, uint64_t *ns, struct err *e);

/* "0.5", "2": thousandths of a CPU. */
must_check int spec_parse_cpus(const char *text, uint32_t *milli, struct err *e);

/* "ro", "rw", "cow"; "none", "host"; "host", "rootfs". */
const char *spec_mode_name(enum volume_mode mode);
const char *spec_net_name(enum net_kind net);
const char *spec_base_name(enum base_kind base);

/*
 * Check the whole spec against itself and against this host's files (a
 * rootfs that is a file, a volume that does not exist, two things at one
 * place). 0, or -errno with cause and remedy. Nothing is changed.
 */
must_check int spec_check(const struct spec *s, struct err *e);

/*
 * The spec as a JSON object, for the wire and for the record on disk. New
 * reference, or NULL: no memory.
 */
json_t *spec_encode(const struct spec *s);

/*
 * Fill s from such an object. Unknown members and members of the wrong type
 * are errors that name them. s is written only on success.
 */
must_check int spec_decode(struct spec *s, const json_t *object, struct err *e);
