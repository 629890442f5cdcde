#include "engine/object.h"

#include <stdlib.h>

struct checkpoint *checkpoint_new(void)
{
	struct checkpoint *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->refs = 1;
	c->template = TEMPLATE_INIT;
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
	template_close(&c->template);
	image_deinit(&c->image);
	fs_snapshot_deinit(&c->files);
	free(c);
}

int checkpoint_attach(const struct checkpoint *c, struct template *more, struct err *e)
{
	return template_attach(&c->template, more, e);
}
