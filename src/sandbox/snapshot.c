/* The files of a checkpoint: references to layers, and their way to disk. */
#include <errno.h>
#include <string.h>

#include "sandbox/fs_internal.h"

struct fs_snapshot_mount *fs_snapshot_add(struct fs_snapshot *s, const char *target,
					  const char *source)
{
	struct fs_snapshot_mount *sm = vec_add(&s->mounts);
	if (!sm)
		return NULL;
	*sm = (struct fs_snapshot_mount){
		.target = strdup(target),
		.source = strdup(source),
		.layers = VEC_INIT(struct layer *),
		.links = VEC_INIT(struct carry_links),
	};
	return sm->target && sm->source ? sm : NULL;
}

void fs_snapshot_deinit(struct fs_snapshot *s)
{
	vec_each(struct fs_snapshot_mount, sm, &s->mounts)
	{
		free(sm->target);
		free(sm->source);
		fs_layers_deinit(&sm->layers);
		carry_links_deinit(&sm->links);
	}
	vec_deinit(&s->mounts);
}

int fs_snapshot_copy(struct fs_snapshot *dst, const struct fs_snapshot *src)
{
	struct fs_snapshot copy;
	fs_snapshot_init(&copy);
	vec_each(struct fs_snapshot_mount, sm, &src->mounts)
	{
		struct fs_snapshot_mount *to = fs_snapshot_add(&copy, sm->target, sm->source);
		if (to && fs_layers_copy(&to->layers, &sm->layers) == 0 &&
		    carry_links_copy(&to->links, &sm->links) == 0)
			continue;
		fs_snapshot_deinit(&copy);
		return -ENOMEM;
	}
	*dst = copy;
	return 0;
}

int fs_snapshot_now(const struct fs_tree *t, struct fs_snapshot *out, struct err *e)
{
	struct fs_snapshot found;
	fs_snapshot_init(&found);
	vec_each(struct fs_mount, m, &t->mounts)
	{
		struct fs_snapshot_mount *to = fs_snapshot_add(&found, m->target, m->source);
		if (to && fs_layers_copy(&to->layers, &m->layers) == 0 &&
		    carry_links_copy(&to->links, &m->links) == 0)
			continue;
		fs_snapshot_deinit(&found);
		return err_set(e, ENOMEM, "no memory");
	}
	*out = found;
	return 0;
}

int fs_snapshot_sum(struct fs_snapshot *s, struct err *e)
{
	vec_each(struct fs_snapshot_mount, sm, &s->mounts)
		vec_each(struct layer *, l, &sm->layers)
	{
		int r = layer_sum(*l, e);
		if (r)
			return r;
	}
	return 0;
}

int fs_snapshot_verify(const struct fs_snapshot *s, struct err *e)
{
	vec_each(struct fs_snapshot_mount, sm, &s->mounts)
		vec_each(struct layer *, l, &sm->layers)
	{
		int r = layer_verify(*l, &(*l)->sum, e);
		if (r)
			return r;
	}
	return 0;
}

int fs_snapshot_save(const struct fs_snapshot *s, struct manifest *m)
{
	vec_each(struct fs_snapshot_mount, sm, &s->mounts)
	{
		struct manifest_mount *to = manifest_add_mount(m, sm->target, sm->source);
		if (!to)
			return -ENOMEM;
		vec_each(struct layer *, l, &sm->layers)
		{
			int r = manifest_add_layer(to, (*l)->id, &(*l)->sum);
			if (r)
				return r;
		}
	}
	return 0;
}

static int load_mount(struct store *store, const struct manifest_mount *mm,
		      struct fs_snapshot *into, struct err *e)
{
	struct fs_snapshot_mount *to = fs_snapshot_add(into, mm->target, mm->source);
	if (!to || vec_reserve(&to->layers, mm->layers.n))
		return err_set(e, ENOMEM, "no memory");
	for (size_t i = 0; i < mm->layers.n; i++) {
		struct layer *l;
		int r = layer_open(store, vec_at(&mm->layers, i), &l, e);
		if (r)
			return r;
		l->sum = ((struct manifest_layer *)vec_at(&mm->layers, i))->sum;
		*(struct layer **)vec_add(&to->layers) = l;
	}
	if (!to->layers.n)
		return 0;
	struct layer *newest = *(struct layer **)vec_at(&to->layers, 0);
	return carry_find_links(newest->fs_fd, &to->links, e);
}

int fs_snapshot_load(struct store *store, const struct manifest *m, struct fs_snapshot *out,
		     struct err *e)
{
	struct fs_snapshot found;
	fs_snapshot_init(&found);
	vec_each(struct manifest_mount, mm, &m->mounts)
	{
		int r = load_mount(store, mm, &found, e);
		if (r) {
			fs_snapshot_deinit(&found);
			return err_wrap(e, "checkpoint '%s'", m->id), r;
		}
	}
	*out = found;
	return 0;
}
