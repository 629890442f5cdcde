/*
 * image.h - base directories: what lies below every layer of a sandbox.
 *
 * `--rootfs DIR` is the directory itself. `--host` is a skeleton root made of
 * the machine's own files, see host.h, and copy-on-write volumes of /usr and
 * /opt. "/" of the machine itself can never be a lower: as root it contains
 * the layers, in a user namespace its submounts are locked.
 */
#pragma once

#include <stdbool.h>

#include "base/vec.h"
#include "store/store.h"

/* A directory of the machine that the sandbox sees. */
struct image_mount {
	char *source;
	char *target;
	bool readonly; /* recursive read-only bind, else cow volume */
};

struct image {
	char *name;        /* "host" or "rootfs:/path", for manifests */
	char *root;        /* absolute path of the root directory */
	struct vec mounts; /* struct image_mount, outer before inner */
	char *notice;      /* what the user should be told, or NULL */
	int lock_fd;       /* holds a base made here against gc, or -1 */
};

/* The machine's own system files; made on first use, then shared. */
must_check int image_open_host(struct store *s, struct image *out, struct err *e);

/*
 * An existing directory. ENOENT, ENOTDIR, ENODATA (empty), EACCES; ELOOP: the
 * state directory lies in it.
 */
must_check int image_open_rootfs(struct store *s, const char *path, struct image *out,
				 struct err *e);

/* The image of that name again (both from a manifest), with its very root. */
must_check int image_open_again(struct store *s, const char *name, const char *root,
				struct image *out, struct err *e);
void image_close(struct image *image);

/*
 * In a user namespace the machine's directories belong to nobody it knows, and
 * even its root may not write in them. A skin is a tree of empty directories
 * of ours that lies over such a volume, so that files can be made, replaced
 * and removed in them. *out is the path of the skin for a volume's target over
 * the base `root`, malloced; NULL: there is none.
 */
must_check int image_skin(const char *root, const char *target, char **out);
