/*
 * nodes.h - the tree of a box's checkpoints.
 *
 * Ids are random, so that forks of one past never give two checkpoints the
 * same one. A node that is deleted hands its children to its parent: they are
 * whole without it. The first node (the sandbox as created) and the head
 * cannot be deleted: now descends from them.
 */
#pragma once

#include "keeper/box.h"

/* A node without a checkpoint, not in the tree yet. */
must_check int node_new(const struct box *b, const char *tag, struct node *parent,
			struct node **out, struct err *e);
void node_free(struct node *n);		/* takes NULL */

/* Append it; takes it over. */
must_check int node_add(struct box *b, struct node *n, struct err *e);

/* Take it out of the tree and free it. */
void node_remove(struct box *b, struct node *n);
void nodes_deinit(struct box *b);

/* Can this be a tag of a new node? Not empty, not taken, printable. */
must_check int node_check_tag(const struct box *b, const char *tag, struct err *e);

/* By id, tag, or an unambiguous beginning of an id (4 characters or more). */
must_check int node_find(const struct box *b, const char *text, struct node **out, struct err *e);

/* The first node: as created. */
static inline struct node *node_first(const struct box *b)
{
	return *(struct node **)vec_at(&b->nodes, 0);
}
