/* unlinked.h - files without a name, memfds too: their bytes are in the image. */
#pragma once

#include "base/cleanup.h"
#include "parts/kind.h"

/* Copy the data ranges of a file and its length; holes stay. 0 or -errno. */
must_check int unlinked_copy(int from, int to);

/* Copy the contents of such a file into f->content_fd, or find its twin. */
must_check int unlinked_look(const struct kind_look *at, struct image_file *f, struct err *e);
void unlinked_free(struct image_file *f);

/* Among files [0, end): the one that has the bytes of dev:ino, or IMAGE_NONE. */
int unlinked_find(const struct tree_image *im, uint64_t dev, uint64_t ino, int end);

/* The file behind fd once more, with the flags and position that f had. */
must_check int unlinked_open_again(int fd, const struct image_file *f);

/* Make a description that of a memfd with this name, without seals. -ENOMEM. */
must_check int memfd_become(struct image_file *f, const char *name);

/* A memfd that nobody can write: mappings of it are made read-only. */
bool memfd_is_sealed(const struct image_file *f);
