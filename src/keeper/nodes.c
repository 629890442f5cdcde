#include "keeper/nodes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "store/store.h"

enum { ID_PREFIX_MIN = 4 };

void node_free(struct node *n)
{
	if (!n)
		return;
	checkpoint_unref(n->checkpoint);
	commands_saved_deinit(&n->commands);
	free(n);
}

int node_new(const struct box *b, const char *tag, struct node *parent, struct node **out,
	     struct err *e)
{
	char id[STORE_ID_BYTES];
	int r = store_new_id(id, e);
	if (r)
		return r;
	struct node *n = calloc(1, sizeof(*n));
	if (!n)
		return err_set(e, ENOMEM, "no memory for a checkpoint");
	snprintf(n->id, sizeof(n->id), "%s", id);
	snprintf(n->sandbox, sizeof(n->sandbox), "%s", b->place.name);
	snprintf(n->tag, sizeof(n->tag), "%s", tag ? tag : "");
	n->parent = parent;
	n->created_ns = clock_wall_ns();
	n->commands = (struct commands_saved){ VEC_INIT(struct command), 1 };
	*out = n;
	return 0;
}

int node_add(struct box *b, struct node *n, struct err *e)
{
	struct node **slot = vec_add(&b->nodes);
	if (!slot)
		return err_set(e, ENOMEM, "no memory for a checkpoint");
	*slot = n;
	return 0;
}

void node_remove(struct box *b, struct node *n)
{
	for (size_t i = b->nodes.n; i-- > 0;) {
		struct node *other = *(struct node **)vec_at(&b->nodes, i);
		if (other->parent == n)
			other->parent = n->parent;
		if (other == n)
			vec_remove(&b->nodes, i);
	}
	node_free(n);
}

void nodes_deinit(struct box *b)
{
	vec_each(struct node *, n, &b->nodes)
		node_free(*n);
	vec_deinit(&b->nodes);
	b->head = NULL;
}

int node_check_tag(const struct box *b, const char *tag, struct err *e)
{
	size_t len = strlen(tag);
	bool good = len > 0 && len < NODE_TAG_BYTES;
	for (size_t i = 0; i < len; i++)
		good &= (unsigned char)tag[i] > ' ' && tag[i] != 0x7f && !strchr("@:/", tag[i]);
	if (!good) {
		err_set(e, EINVAL, "'%.80s' cannot be the tag of a checkpoint", tag);
		return err_remedy(e, "a tag has 1 to %d characters, no blanks, '@', ':' or '/'",
				  NODE_TAG_BYTES - 1);
	}
	vec_each(struct node *, n, &b->nodes)
		if (!strcmp((*n)->tag, tag) || !strcmp((*n)->id, tag)) {
			err_set(e, EEXIST, "a checkpoint with the tag '%s' exists already", tag);
			return err_remedy(e, "choose another tag, or `mulligan rm %s@%s`",
					  b->place.name, tag);
		}
	return 0;
}

int node_find(const struct box *b, const char *text, struct node **out, struct err *e)
{
	size_t len = strlen(text), matches = 0;
	struct node *found = NULL;
	vec_each(struct node *, n, &b->nodes) {
		if (!strcmp((*n)->id, text) || !strcmp((*n)->tag, text)) {
			*out = *n;
			return 0;
		}
		if (len >= ID_PREFIX_MIN && !strncmp((*n)->id, text, len)) {
			found = *n;
			matches++;
		}
	}
	if (matches == 1) {
		*out = found;
		return 0;
	}
	err_set(e, ENOENT, matches ? "more than one checkpoint of '%s' begins with '%.80s'" :
				     "'%s' has no checkpoint '%.80s'",
		b->place.name, text);
	return err_remedy(e, "`mulligan tree %s` lists them", b->place.name);
}
