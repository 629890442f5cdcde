#include "store/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/internal.h"
#include "store/layer.h"
#include "sys/file.h"

enum {
	/* 480 layers in 100 mounts take 2 MB. */
	MANIFEST_MAX_BYTES = 16 << 20,
};

static void scoped_json(json_t **j)
{
	json_decref(*j);
}

void manifest_init(struct manifest *m)
{
	*m = (struct manifest){.mounts = VEC_INIT(struct manifest_mount)};
}

void manifest_deinit(struct manifest *m)
{
	vec_each(struct manifest_mount, mm, &m->mounts)
	{
		free(mm->target);
		free(mm->source);
		vec_deinit(&mm->layers);
	}
	vec_deinit(&m->mounts);
	free(m->id);
	free(m->tag);
	free(m->parent);
	free(m->sandbox);
	free(m->family);
	free(m->base);
	json_decref(m->spec);
	manifest_init(m);
}

struct manifest_mount *manifest_add_mount(struct manifest *m, const char *target,
					  const char *source)
{
	struct manifest_mount *mm = vec_add(&m->mounts);
	if (!mm)
		return NULL;
	mm->layers = VEC_INIT(struct manifest_layer);
	mm->target = strdup(target);
	mm->source = strdup(source);
	return mm->target && mm->source ? mm : NULL;
}

int manifest_add_layer(struct manifest_mount *mm, const char *id, const struct layer_sum *sum)
{
	if (strlen(id) != STORE_ID_BYTES - 1 || strspn(id, "0123456789abcdef") != strlen(id))
		return -EINVAL;
	struct manifest_layer *to = vec_add(&mm->layers);
	if (!to)
		return -ENOMEM;
	memcpy(to->id, id, STORE_ID_BYTES);
	if (sum)
		to->sum = *sum;
	return 0;
}

/* Copy a string of the object; missing or null is an error unless optional. */
static int take_string(const json_t *from, const char *key, bool optional, char **to)
{
	const json_t *j = json_object_get(from, key);
	if (optional && (!j || json_is_null(j)))
		return 0;
	if (!json_is_string(j))
		return -EBADMSG;
	*to = strdup(json_string_value(j));
	return *to ? 0 : -ENOMEM;
}

static int take_count(const json_t *from, const char *key, uint64_t *to)
{
	const json_t *j = json_object_get(from, key);
	if (!json_is_integer(j) || json_integer_value(j) < 0)
		return -EBADMSG;
	*to = (uint64_t)json_integer_value(j);
	return 0;
}

/* A string is what version 1 had: the id alone. */
static int layer_from_json(const json_t *j, struct manifest_mount *mm)
{
	struct layer_sum sum = {0};
	const char *id = json_string_value(json_is_object(j) ? json_object_get(j, "id") : j);
	const json_t *digest = json_object_get(j, "digest");
	if (digest) {
		const char *text = json_string_value(digest);
		if (!text || strlen(text) != LAYER_SUM_BYTES - 1 ||
		    strspn(text, "0123456789abcdef") != LAYER_SUM_BYTES - 1)
			return -EBADMSG;
		sum.digest = strtoull(text, NULL, 16);
		sum.known = true;
		int r = take_count(j, "entries", &sum.entries);
		if (r == 0)
			r = take_count(j, "bytes", &sum.bytes);
		if (r)
			return r;
	}
	int r = id ? manifest_add_layer(mm, id, &sum) : -EINVAL;
	return r == -EINVAL ? -EBADMSG : r;
}

static int mount_from_json(const json_t *j, struct manifest *m)
{
	const char *target = json_string_value(json_object_get(j, "target"));
	const char *source = json_string_value(json_object_get(j, "source"));
	const json_t *layers = json_object_get(j, "layers");
	if (!target || !source || target[0] != '/' || source[0] != '/' || !json_is_array(layers))
		return -EBADMSG;
	struct manifest_mount *mm = manifest_add_mount(m, target, source);
	if (!mm)
		return -ENOMEM;
	size_t i;
	json_t *layer;
	json_array_foreach(layers, i, layer)
	{
		int r = layer_from_json(layer, mm);
		if (r)
			return r;
	}
	return 0;
}

static int manifest_from_json(const json_t *j, struct manifest *m)
{
	uint64_t version;
	int r = take_count(j, "version", &version);
	if (r == 0 && version != MANIFEST_VERSION && version != MANIFEST_VERSION_BARE)
		r = -EPROTONOSUPPORT;
	if (r == 0)
		r = take_string(j, "id", false, &m->id);
	if (r == 0)
		r = take_string(j, "tag", true, &m->tag);
	if (r == 0)
		r = take_string(j, "parent", true, &m->parent);
	if (r == 0)
		r = take_string(j, "sandbox", false, &m->sandbox);
	if (r == 0)
		r = take_string(j, "family", false, &m->family);
	if (r == 0)
		r = take_string(j, "base", false, &m->base);
	if (r == 0)
		r = take_count(j, "created_ns", &m->created_ns);
	if (r == 0)
		r = take_count(j, "processes", &m->processes);
	json_t *spec = json_object_get(j, "spec");
	if (r == 0 && spec && !json_is_object(spec) && !json_is_null(spec))
		r = -EBADMSG;
	m->spec = json_is_object(spec) ? json_incref(spec) : NULL;
	const json_t *mounts = json_object_get(j, "mounts");
	if (r == 0 && (!json_is_array(mounts) || !json_array_size(mounts)))
		r = -EBADMSG;
	size_t i;
	json_t *mount;
	json_array_foreach(mounts, i, mount)
	{
		if (r == 0)
			r = mount_from_json(mount, m);
	}
	return r;
}

static int damaged(struct store *s, const char *id, const char *why, struct err *e)
{
	char path[ERR_PATH_BYTES];
	snprintf(path, sizeof(path), "%s/checkpoints/%s.json", store_path(s), id);
	err_set(e, EBADMSG, "'%s' is not a manifest: %s", path, why);
	err_path(e, path);
	return err_remedy(e, "restore the file, or remove it to give up that checkpoint");
}

int manifest_read(struct store *s, const char *id, struct manifest *m, struct err *e)
{
	int r = store_check_name("checkpoint id", id, e);
	if (r)
		return r;
	char name[128];
	snprintf(name, sizeof(name), "%s.json", id);
	scoped_free char *text = NULL;
	r = sys_read_file(store_checkpoints_fd(s), name, MANIFEST_MAX_BYTES, &text);
	if (r == -ENOENT)
		return err_set(e, ENOENT, "there is no checkpoint '%s'", id);
	if (r == -EFBIG || r == -EISDIR)
		return damaged(s, id, strerror(-r), e);
	if (r)
		return store_fail(e, r, "cannot read the manifest of checkpoint '%s'", id);
	json_error_t why;
	scoped(scoped_json) json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &why);
	if (!json)
		return damaged(s, id, why.text, e);
	struct manifest found;
	manifest_init(&found);
	r = manifest_from_json(json, &found);
	if (r == 0 && strcmp(found.id, id))
		r = -EBADMSG;
	if (r == 0) {
		*m = found;
		return 0;
	}
	manifest_deinit(&found);
	if (r == -EPROTONOSUPPORT)
		return damaged(s, id, "it has another version than this program knows", e);
	if (r == -EBADMSG)
		return damaged(s, id, "a field is missing or has a wrong value", e);
	return store_fail(e, r, "cannot read the manifest of checkpoint '%s'", id);
}

int manifest_remove(struct store *s, const char *id, struct err *e)
{
	int r = store_check_name("checkpoint id", id, e);
	if (r)
		return r;
	char name[128];
	snprintf(name, sizeof(name), "%s.json", id);
	r = sys_unlinkat(store_checkpoints_fd(s), name, 0);
	if (r == -ENOENT)
		return err_set(e, ENOENT, "there is no checkpoint '%s'", id);
	if (r == 0)
		r = sys_fsync(store_checkpoints_fd(s));
	return r ? store_fail(e, r, "cannot remove the manifest of checkpoint '%s'", id) : 0;
}

/* What was seen of this layer already, NULL: nothing. */
static const struct manifest_layer *seen_layer(const struct vec *found, const char *id)
{
	if (found)
		vec_each(struct manifest_layer, l, found) if (!strcmp(l->id, id)) return l;
	return NULL;
}

static int verify_layer(struct store *s, const struct manifest_layer *want, struct vec *found,
			struct err *e)
{
	const struct manifest_layer *seen = seen_layer(found, want->id);
	if (seen && layer_sum_equal(&seen->sum, &want->sum))
		return 0;
	struct layer *l;
	int r = layer_open(s, want->id, &l, e);
	if (r)
		return r;
	r = layer_verify(l, &want->sum, e);
	layer_unref(l);
	struct manifest_layer *to = r == 0 && found ? vec_add(found) : NULL;
	if (to) /* no memory to remember it: it will be looked at again */
		*to = *want;
	return r;
}

int manifest_verify(struct store *s, const struct manifest *m, struct vec *found, struct err *e)
{
	vec_each(struct manifest_mount, mm, &m->mounts)
		vec_each(struct manifest_layer, l, &mm->layers)
	{
		int r = verify_layer(s, l, found, e);
		if (r)
			return err_wrap(e, "the files of checkpoint '%s' are not whole", m->id), r;
	}
	return 0;
}

static int oldest_first(const void *a, const void *b)
{
	const struct manifest *x = a, *y = b;
	if (x->created_ns != y->created_ns)
		return x->created_ns < y->created_ns ? -1 : 1;
	return strcmp(x->id, y->id);
}

/* One entry of the directory: a manifest, or nothing of ours. */
static int list_entry(struct store *s, const char *name, struct vec *list, struct err *e)
{
	size_t len = strlen(name);
	if (name[0] == '.')
		return 0;
	char id[256];
	if (len <= 5 || strcmp(name + len - 5, ".json")) {
		snprintf(id, sizeof(id), "%s", name);
		return damaged(s, id, "its name does not end in .json", e);
	}
	snprintf(id, sizeof(id), "%.*s", (int)(len - 5), name);
	struct manifest m;
	int r = manifest_read(s, id, &m, e);
	if (r == -ENOENT)
		return 0; /* removed while we were reading */
	if (r)
		return r;
	struct manifest *to = vec_add(list);
	if (!to) {
		manifest_deinit(&m);
		return err_set(e, ENOMEM, "no memory");
	}
	*to = m;
	return 0;
}

int manifest_list(struct store *s, struct vec *list, struct err *e)
{
	scoped_dir DIR *dir = NULL;
	int r = sys_opendir_fd(store_checkpoints_fd(s), &dir);
	if (r)
		return store_fail(e, r, "cannot read '%s/checkpoints'", store_path(s));
	struct vec found = VEC_INIT(struct manifest);
	struct dirent *d;
	while ((r = sys_readdir(dir, &d)) > 0) {
		r = list_entry(s, d->d_name, &found, e);
		if (r)
			break;
	}
	if (r < 0 && !d)
		store_fail(e, r, "cannot read '%s/checkpoints'", store_path(s));
	if (r) {
		manifest_list_deinit(&found);
		return r;
	}
	if (found.n)
		qsort(found.data, found.n, sizeof(struct manifest), oldest_first);
	*list = found;
	return 0;
}

void manifest_list_deinit(struct vec *list)
{
	vec_each(struct manifest, m, list) manifest_deinit(m);
	vec_deinit(list);
}
