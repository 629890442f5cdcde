/*
 * manifest_write.c - manifests go to disk, one or many at a time.
 *
 *	write		each to a temporary file
 *	sync		all of these are on the disk
 *	rename		each gets its name; this commits its checkpoint
 *	sync		the names are on the disk
 *
 * A manifest is the old one or the new one at every moment, and the new one is
 * whole before it has its name. Which of several got theirs before a crash
 * makes no difference: each stands for itself. So they share the syncs.
 */
#include "store/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/internal.h"
#include "sys/file.h"

struct writing {
	char *text;
	char name[128], temporary[128];
	bool written; /* temporary is there */
	bool fresh;   /* nothing had the name */
	bool named;
};

static void scoped_json(json_t **j)
{
	json_decref(*j);
}

static json_t *layer_to_json(const struct manifest_layer *l)
{
	char digest[LAYER_SUM_BYTES];
	if (!l->sum.known)
		return json_pack("{s:s}", "id", l->id);
	snprintf(digest, sizeof(digest), "%016llx", (unsigned long long)l->sum.digest);
	return json_pack("{s:s, s:I, s:I, s:s}", "id", l->id, "entries",
			 (json_int_t)l->sum.entries, "bytes", (json_int_t)l->sum.bytes, "digest",
			 digest);
}

static json_t *mount_to_json(const struct manifest_mount *mm)
{
	json_t *layers = json_array();
	vec_each(struct manifest_layer, l,
		 &mm->layers) if (json_array_append_new(layers, layer_to_json(l)))
	{
		json_decref(layers);
		return NULL;
	}
	return json_pack("{s:s, s:s, s:o}", "target", mm->target, "source", mm->source, "layers",
			 layers);
}

static json_t *manifest_to_json(const struct manifest *m)
{
	scoped(scoped_json) json_t *mounts = json_array();
	vec_each(struct manifest_mount, mm,
		 &m->mounts) if (json_array_append_new(mounts, mount_to_json(mm))) return NULL;
	return json_pack("{s:i, s:s, s:s?, s:s?, s:s, s:s, s:s, s:I, s:I, s:O?, s:O}", "version",
			 MANIFEST_VERSION, "id", m->id, "tag", m->tag, "parent", m->parent,
			 "sandbox", m->sandbox, "family", m->family, "base", m->base, "created_ns",
			 (json_int_t)m->created_ns, "processes", (json_int_t)m->processes, "spec",
			 m->spec, "mounts", mounts);
}

static int encode(const struct manifest *m, struct writing *w, struct err *e)
{
	char random[STORE_ID_BYTES];
	if (!m->id || !m->sandbox || !m->family || !m->base || !m->mounts.n)
		return err_set(e, EINVAL, "a manifest needs id, sandbox, family, base and mounts");
	int r = store_check_name("checkpoint id", m->id, e);
	if (r == 0)
		r = store_new_id(random, e);
	if (r)
		return r;
	snprintf(w->name, sizeof(w->name), "%s.json", m->id);
	snprintf(w->temporary, sizeof(w->temporary), ".%s.tmp", random);
	scoped(scoped_json) json_t *json = manifest_to_json(m);
	w->text = json ? json_dumps(json, JSON_INDENT(1) | JSON_PRESERVE_ORDER) : NULL;
	if (w->text)
		return 0;
	err_set(e, EINVAL, "checkpoint '%s' has a name or path that is not UTF-8", m->id);
	return err_remedy(e, "rename it, or mount it under another name");
}

/* sync: it is on the disk when this returns 0. */
static int write_temporary(int dir_fd, struct writing *w, bool sync)
{
	scoped_fd int fd = sys_openat(dir_fd, w->temporary,
				      O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	w->written = true;
	int r = sys_write_all(fd, w->text, strlen(w->text));
	return r || !sync ? r : sys_fsync(fd);
}

static int write_temporaries(struct store *s, const struct manifest *m, struct writing *w,
			     size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		int r = write_temporary(store_checkpoints_fd(s), &w[i], n == 1);
		if (r)
			return store_fail(e, r, "cannot write the manifest of checkpoint '%s'",
					  m[i].id);
	}
	return n > 1 ? store_sync(s, e) : 0;
}

static int give_names(struct store *s, const struct manifest *m, struct writing *w, size_t n,
		      struct err *e)
{
	int dir = store_checkpoints_fd(s);
	for (size_t i = 0; i < n; i++) {
		struct stat st;
		w[i].fresh = sys_fstatat(dir, w[i].name, &st, AT_SYMLINK_NOFOLLOW) == -ENOENT;
		int r = sys_renameat2(dir, w[i].temporary, dir, w[i].name, 0);
		if (r)
			return store_fail(e, r, "cannot write the manifest of checkpoint '%s'",
					  m[i].id);
		w[i].named = true;
	}
	int r = sys_fsync(dir);
	return r ? store_fail(e, r, "cannot commit the manifest of checkpoint '%s'", m[0].id) : 0;
}

/* What stays in spite of this, gc takes; the error to tell is the first one. */
static void take_back(struct store *s, const struct writing *w, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int r = 0;
		if (w[i].named && w[i].fresh)
			r = sys_unlinkat(store_checkpoints_fd(s), w[i].name, 0);
		else if (w[i].written && !w[i].named)
			r = sys_unlinkat(store_checkpoints_fd(s), w[i].temporary, 0);
		(void)r;
	}
}

static int write_all(struct store *s, const struct manifest *m, struct writing *w, size_t n,
		     struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		int r = encode(&m[i], &w[i], e);
		if (r)
			return r;
	}
	/* gc takes temporary files for left-overs unless this is held. */
	scoped_fd int lock = store_lock(s, LOCK_SH, e);
	if (lock < 0)
		return lock;
	int r = write_temporaries(s, m, w, n, e);
	if (r == 0)
		r = give_names(s, m, w, n, e);
	if (r)
		take_back(s, w, n);
	return r;
}

int manifest_write_all(struct store *s, const struct manifest *m, size_t n, struct err *e)
{
	if (!n)
		return 0;
	scoped_free struct writing *w = calloc(n, sizeof(*w));
	if (!w)
		return err_set(e, ENOMEM, "no memory for %zu manifests", n);
	int r = write_all(s, m, w, n, e);
	for (size_t i = 0; i < n; i++)
		free(w[i].text);
	return r;
}

int manifest_write(struct store *s, const struct manifest *m, struct err *e)
{
	return manifest_write_all(s, m, 1, e);
}
