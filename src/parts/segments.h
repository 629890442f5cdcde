/* segments.h - System V shared memory, the part of it that shm.c does not know. */
#pragma once

#include "parts/files.h"

/*
 * Make an object of every segment in the caller's IPC namespace, which is the
 * sandbox's; before any process is looked at.
 */
must_check int segments_look(struct look *l, struct err *e);

/* Whether a mapping is of a segment. */
bool segments_has(const struct look *l, const struct procfs_map *map, const char *name);

/* A mapping of one. */
must_check int segments_look_mapping(struct look *l, const struct image_proc *p,
				     const struct procfs_map *map, const char *name,
				     struct image_vma *v, struct err *e);

/* All were seen: refuse one that somebody else has attached, too. */
must_check int segments_look_end(const struct image_shm *s, struct err *e);

/* Attach a segment for a moment, and let read have the address. -errno or read's. */
must_check int segments_attach(struct look *l, struct image_shm *s,
			       int (*read)(struct look *l, struct image_shm *s, uint64_t at),
			       struct err *e);

/* The keeper: make all of them in PID 1's namespace, empty, with their ids. */
must_check int segments_make(const struct files_open *o, struct err *e);

/* PID 1: attach an object at an address; when it is filled, mark it as it was. */
void segments_emit_attach(struct prog *p, const struct image_shm *s, uint64_t at);
void segments_emit_filled(struct prog *p, const struct image_shm *s);

/* All attachments of a process, by way of free addresses from scratch on. */
void segments_load(struct load *l, const struct image_proc *p, uint64_t scratch);
