#include "engine/object.h"

#include <stdlib.h>
#include <unistd.h>

#include "template/ahead.h"

struct checkpoint *checkpoint_new(void)
{
	struct checkpoint *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->refs = 1;
	c->template = TEMPLATE_INIT;
	c->keeper = getpid();
	image_init(&c->image);
	c->files.mounts = VEC_INIT(struct fs_snapshot_mount);
	return c;
}

struct checkpoint *checkpoint_ref(struct checkpoint *c)
{
	c->refs++;
	return c;
}

void checkpoint_unref(struct checkpoint *c)
{
	if (!c || --c->refs)
		return;
	for (int j = 0; j < IMAGE_LEVELS; j++)
		checkpoint_unref(c->skip[j]);
	template_close(&c->template);
	image_deinit(&c->image);
	fs_snapshot_deinit(&c->files);
	free(c);
}

void checkpoint_descend(struct checkpoint *c, struct checkpoint *parent)
{
	c->depth = parent->depth + 1;
	for (unsigned int j = 1; j < IMAGE_LEVELS; j++) {
		if (!(c->depth & ((1u << j) - 1)))
			continue;
		struct checkpoint *ancestor = parent->skip[j] ? parent->skip[j] : parent;
		/* one that was not known to the parent is not it */
		if (ancestor->depth == (c->depth >> j) << j)
			c->skip[j] = checkpoint_ref(ancestor);
	}
}

const struct checkpoint *checkpoint_ahead_of(const struct checkpoint *c)
{
	unsigned int level = ahead_level(c->depth + 1);
	const struct checkpoint *a = level ? c->skip[level] : NULL;
	return a && a->keeper == getpid() && a->template.socket >= 0 ? a : NULL;
}

int checkpoint_fork_ahead(struct checkpoint *c, struct template *out, struct err *e)
{
	const struct checkpoint *ancestor = checkpoint_ahead_of(c);
	if (ancestor) {
		struct err why = ERR_INIT;
		int r = ahead_make(&ancestor->template, &ancestor->image, ancestor->depth,
				   &c->template, &c->image, ahead_level(c->depth + 1), out, &why);
		/* an ancestor that cannot serve costs time later, no state now */
		if (r == 0)
			return 0;
	}
	return template_fork(&c->template, out, e);
}

int checkpoint_attach(const struct checkpoint *c, struct template *more, struct err *e)
{
	return template_attach(&c->template, more, e);
}
