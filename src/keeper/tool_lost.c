/*
 * tool_lost.c - sandboxes whose keeper is dead and whose checkpoints' files
 * are kept: what `mulligan ps`, `tree` and `inspect` say of them.
 *
 * The answers have the form of the methods info, tree and inspect. Sizes are
 * those that the manifests tell: no layer is looked at.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "keeper/lost.h"
#include "keeper/tools.h"
#include "wire/errjson.h"
#include "wire/json.h"
#include "wire/runtime.h"

static const struct manifest *newest_of(const struct lost *l, const struct record *r)
{
	const struct manifest *found = NULL;
	vec_each(struct manifest, m, &l->manifests)
		if (lost_has(r, m))
			found = m;
	return found;
}

static json_t *labels_of(const struct manifest *m)
{
	json_t *labels = json_object();
	size_t i;
	json_t *pair;
	json_array_foreach(m ? json_object_get(m->spec, "labels") : NULL, i, pair) {
		const char *text = json_string_value(pair), *equals = text ? strchr(text, '=') : NULL;
		scoped_free char *key = equals ? strndup(text, (size_t)(equals - text)) : NULL;
		if (key)
			json_object_set_new(labels, key, json_string(equals + 1));
	}
	return labels;
}

static json_t *info_json(const struct lost *l, const struct record *r)
{
	const struct manifest *m = newest_of(l, r);
	return json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:I, s:i, s:i, s:i, s:s, s:o}", "name",
			 r->name, "id", r->id, "base", r->base ? r->base : "", "state", "dead",
			 "pid", 0, "keeper_pid", 0, "created_ns", (json_int_t)r->created_ns,
			 "idle_ms", 0, "memory_bytes", 0, "processes", 0, "head", m ? m->id : "",
			 "labels", labels_of(m));
}

/* How many manifests of any sandbox have the layer? */
static size_t uses(const struct lost *l, const char *id)
{
	size_t n = 0;
	vec_each(struct manifest, m, &l->manifests)
		vec_each(struct manifest_mount, mm, &m->mounts)
			vec_each(struct manifest_layer, layer, &mm->layers)
				n += !strcmp(layer->id, id);
	return n;
}

static json_t *node_json(const struct lost *l, const struct record *r, const struct manifest *m)
{
	uint64_t own = 0, shared = 0;
	vec_each(struct manifest_mount, mm, &m->mounts)
		vec_each(struct manifest_layer, layer, &mm->layers)
			*(uses(l, layer->id) > 1 ? &shared : &own) += layer->sum.bytes;
	bool known = false;	/* the first one of a tree has no manifest */
	vec_each(struct manifest, other, &l->manifests)
		known |= m->parent && lost_has(r, other) && !strcmp(other->id, m->parent);
	return json_pack("{s:s, s:s?, s:s?, s:I, s:I, s:I, s:I, s:s}", "id", m->id, "tag", m->tag,
			 "parent", known ? m->parent : NULL, "created_ns",
			 (json_int_t)m->created_ns, "bytes_private", (json_int_t)own,
			 "bytes_shared", (json_int_t)shared, "processes",
			 (json_int_t)m->processes, "label", "memory lost");
}

static json_t *tree_json(const struct lost *l, const struct record *r)
{
	json_t *nodes = json_array();
	vec_each(struct manifest, m, &l->manifests)
		if (lost_has(r, m))
			json_array_append_new(nodes, node_json(l, r, m));
	return json_pack("{s:o, s:n}", "nodes", nodes, "head");
}

static json_t *inspect_json(const struct lost *l, const struct record *r)
{
	const struct manifest *m = newest_of(l, r);
	return json_pack("{s:o, s:O?, s:o, s:[], s:{s:s, s:s, s:s}}", "info", info_json(l, r),
			 "spec", m ? m->spec : NULL, "checkpoints", tree_json(l, r), "commands",
			 "error", "code", "ECONNREFUSED", "cause", "its keeper died", "remedy",
			 "`mulligan create --from NAME@CKPT` makes a sandbox of a checkpoint's "
			 "files");
}

static json_t *all_json(const struct lost *l)
{
	json_t *all = json_array();
	vec_each(struct record, r, &l->records)
		if (r->state == RECORD_KEPT)
			json_array_append_new(all, info_json(l, r));
	return json_pack("{s:o}", "sandboxes", all);
}

static int answer(const char *name, json_t **out, struct err *e)
{
	char state[RUNTIME_PATH_BYTES];
	struct store *s;
	struct lost l;
	int r = runtime_state_path(state, e);
	if (!r)
		r = store_open(state, &s, e);
	if (r)
		return r;
	r = lost_read(s, &l, e);
	const struct record *one = name && !r ? lost_find(&l, name) : NULL;
	if (!r && name && (!one || one->state != RECORD_KEPT))
		r = err_set(e, ENOENT, "no files are kept of a sandbox '%.63s'", name);
	if (!r)
		*out = one ? inspect_json(&l, one) : all_json(&l);
	lost_deinit(&l);
	store_close(s);
	return r;
}

int tool_lost(const char *name)
{
	struct err e = ERR_INIT;
	scoped_json json_t *out = NULL;
	int r = answer(name, &out, &e);
	if (r)
		out = json_pack("{s:o}", "error", err_to_json(&e));
	struct buf text = BUF_INIT;
	json_write(&text, out);
	puts(text.failed ? "{}" : text.data);
	buf_deinit(&text);
	return r ? 1 : 0;
}
