#include "store/record.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/internal.h"
#include "store/manifest.h"
#include "store/tree.h"
#include "sys/file.h"

enum { RECORD_MAX_BYTES = 1 << 16, RECORD_VERSION = 1 };

static void scoped_json(json_t **j)
{
	json_decref(*j);
}

void record_deinit(struct record *r)
{
	free(r->base);
	r->base = NULL;
}

void record_list_deinit(struct vec *list)
{
	vec_each(struct record, r, list) record_deinit(r);
	vec_deinit(list);
}

/* record.json, both directions */

int record_write(struct store *s, const struct record *r, struct err *e)
{
	scoped_fd int dir = store_sandbox_dir(s, r->name, e);
	if (dir < 0)
		return dir;
	scoped(scoped_json) json_t *json = json_pack(
		"{s:i, s:s, s:s, s:s, s:s, s:I, s:b, s:I, s:I}", "version", RECORD_VERSION, "name",
		r->name, "id", r->id, "family", r->family, "base", r->base, "created_ns",
		(json_int_t)r->created_ns, "owned", r->owned, "expires_ns",
		(json_int_t)r->expires_ns, "idle_timeout_ns", (json_int_t)r->idle_timeout_ns);
	scoped_free char *text =
		json ? json_dumps(json, JSON_INDENT(1) | JSON_PRESERVE_ORDER) : NULL;
	if (!text)
		return err_set(e, EINVAL, "sandbox '%s' has a path that is not UTF-8", r->name);
	scoped_fd int fd =
		sys_openat(dir, "record.new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	int wrong = fd < 0 ? fd : sys_write_all(fd, text, strlen(text));
	if (!wrong)
		wrong = sys_renameat2(dir, "record.new", dir, "record.json", 0);
	return wrong ? store_fail(e, wrong, "cannot write the record of sandbox '%s'", r->name) : 0;
}

static void copy_id(char to[STORE_ID_BYTES], const json_t *from, const char *key)
{
	const char *text = json_string_value(json_object_get(from, key));
	if (text && strlen(text) < STORE_ID_BYTES)
		strcpy(to, text);
}

static uint64_t count_of(const json_t *from, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(from, key));
	return n < 0 ? 0 : (uint64_t)n;
}

/* What is not there, or makes no sense, says nothing: the family is not known then. */
static int record_read(int dir_fd, struct record *r)
{
	scoped_free char *text = NULL;
	int wrong = sys_read_file(dir_fd, "record.json", RECORD_MAX_BYTES, &text);
	if (wrong == -EIO || wrong == -ENOMEM || wrong == -EMFILE || wrong == -ENFILE)
		return wrong;
	if (wrong)
		return 0;
	scoped(scoped_json) json_t *json = json_loads(text, 0, NULL);
	if (count_of(json, "version") != RECORD_VERSION)
		return 0;
	const char *base = json_string_value(json_object_get(json, "base"));
	copy_id(r->id, json, "id");
	copy_id(r->family, json, "family");
	r->base = base ? strdup(base) : NULL;
	r->created_ns = count_of(json, "created_ns");
	r->owned = json_is_true(json_object_get(json, "owned"));
	r->expires_ns = count_of(json, "expires_ns");
	r->idle_timeout_ns = count_of(json, "idle_timeout_ns");
	return 0;
}

/* The lists */

/* Does anybody hold its lock? Without a lock nobody does. */
static int lives(int dir_fd)
{
	scoped_fd int fd = sys_openat(dir_fd, "lock", O_RDWR | O_NOFOLLOW, 0);
	if (fd == -ENOENT || fd == -ELOOP)
		return 0;
	return fd < 0 ? fd : sys_ofd_locked(fd);
}

/* 1 and *out, 0: not a record, or -errno. */
static int read_entry(struct store *s, const char *name, struct record *out)
{
	if (store_check_name("sandbox name", name, NULL))
		return 0;
	scoped_fd int dir = sys_openat(store_sandboxes_fd(s), name,
				       O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (dir == -ENOENT || dir == -ENOTDIR || dir == -ELOOP)
		return 0;
	int r = dir < 0 ? dir : lives(dir);
	if (r < 0)
		return r;
	*out = (struct record){.state = r ? RECORD_LIVING : RECORD_LEFT_OVER};
	snprintf(out->name, sizeof(out->name), "%s", name);
	r = record_read(dir, out);
	if (r)
		record_deinit(out);
	return r ? r : 1;
}

static bool of_family(const struct record *r, const char *family)
{
	return family && r->family[0] && !strcmp(r->family, family);
}

bool record_has_family(const struct vec *list, const char *family, const char *besides)
{
	vec_each(struct record, r, list) if (r->state != RECORD_LEFT_OVER &&
					     of_family(r, family) &&
					     (!besides || strcmp(r->name, besides))) return true;
	return false;
}

/* Has its owner, or its lease, come to an end? */
static bool is_over(const struct record *r, uint64_t last_ns)
{
	uint64_t now = clock_wall_ns();
	if (r->owned || (r->expires_ns && r->expires_ns < now))
		return true;
	if (last_ns < r->created_ns)
		last_ns = r->created_ns;
	return r->idle_timeout_ns && last_ns + r->idle_timeout_ns < now;
}

/* Decide which of the dead are kept: those with checkpoints of their own. */
static void keep_own(struct vec *list, const struct vec *manifests)
{
	vec_each(struct record, r, list) {
		uint64_t last_ns = 0;
		size_t own = 0;
		vec_each(struct manifest, m, manifests) if (of_family(r, m->family))
		{
			own += !strcmp(m->sandbox, r->name);
			last_ns = m->created_ns > last_ns ? m->created_ns : last_ns;
		}
		if (r->state == RECORD_LEFT_OVER && own && !is_over(r, last_ns))
			r->state = RECORD_KEPT;
	}
}

/* ... and one of each family that nobody else stands for. */
static void keep_last(struct vec *list, const struct vec *manifests)
{
	vec_each(struct manifest, m, manifests) {
		if (record_has_family(list, m->family, NULL))
			continue;
		vec_each(struct record, r, list) if (of_family(r, m->family) &&
						     !is_over(r, m->created_ns))
		{
			r->state = RECORD_KEPT;
			break;
		}
	}
}

static bool name_taken(const struct vec *list, const char *name)
{
	vec_each(struct record, r, list) if (!strcmp(r->name, name)) return true;
	return false;
}

static bool family_known(const struct vec *list, const char *family)
{
	vec_each(struct record, r, list) if (of_family(r, family)) return true;
	return false;
}

/* Checkpoints that no record stands for can be reached by one made up. */
static int add_missing(struct vec *list, const struct vec *manifests)
{
	vec_each(struct manifest, m, manifests) {
		if (family_known(list, m->family) || strlen(m->family) >= STORE_ID_BYTES)
			continue;
		struct record r = {.state = RECORD_KEPT, .created_ns = m->created_ns};
		bool good = !store_check_name("sandbox name", m->sandbox, NULL) &&
			    !name_taken(list, m->sandbox);
		if (good)
			snprintf(r.name, sizeof(r.name), "%s", m->sandbox);
		else
			snprintf(r.name, sizeof(r.name), "lost-%.12s", m->family);
		strcpy(r.family, m->family);
		r.base = strdup(m->base);
		struct record *to = vec_add(list);
		if (!to) {
			record_deinit(&r);
			return -ENOMEM;
		}
		*to = r;
	}
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct record *)a)->name, ((const struct record *)b)->name);
}

int record_list(struct store *s, const struct vec *manifests, struct vec *list, struct err *e)
{
	struct vec found = VEC_INIT(struct record);
	scoped_dir DIR *dir = NULL;
	int r = sys_opendir_fd(store_sandboxes_fd(s), &dir);
	struct dirent *d;
	while (r >= 0 && (r = sys_readdir(dir, &d)) > 0) {
		struct record one;
		r = read_entry(s, d->d_name, &one);
		struct record *to = r > 0 ? vec_add(&found) : NULL;
		if (to)
			*to = one;
		else if (r > 0) {
			record_deinit(&one);
			r = -ENOMEM;
		}
	}
	if (r >= 0 && found.n)
		qsort(found.data, found.n, sizeof(struct record), by_name);
	if (r >= 0) {
		keep_own(&found, manifests);
		keep_last(&found, manifests);
		r = add_missing(&found, manifests);
	}
	if (r < 0) {
		record_list_deinit(&found);
		return store_fail(e, r, "cannot read '%s/sandboxes'", store_path(s));
	}
	*list = found;
	return 0;
}

/* Taking and giving up a name */

static int refuse_name(const struct record *r, const char *name, struct err *e)
{
	if (r->state == RECORD_LIVING) {
		err_set(e, EEXIST, "a sandbox named '%s' lives in this state directory", name);
		return err_remedy(e, "choose another name");
	}
	err_set(e, EEXIST, "the files of checkpoints of a dead sandbox '%s' are kept", name);
	return err_remedy(e,
			  "choose another name, or delete them with `mulligan rm %s`; `mulligan "
			  "tree %s` lists them",
			  name, name);
}

/* 0 with what is there under the name, if anything, being left over. */
static int check_name(struct store *s, const char *name, struct err *e)
{
	struct stat st;
	struct vec manifests, list;
	int r = store_check_name("sandbox name", name, e);
	if (r)
		return r;
	/* the usual case costs one call */
	if (sys_fstatat(store_sandboxes_fd(s), name, &st, AT_SYMLINK_NOFOLLOW) == -ENOENT)
		return 0;
	r = manifest_list(s, &manifests, e);
	if (r)
		return r;
	r = record_list(s, &manifests, &list, e);
	manifest_list_deinit(&manifests);
	if (r)
		return r;
	vec_each(struct record, one, &list) if (!r && !strcmp(one->name, name) &&
						one->state != RECORD_LEFT_OVER) r =
		refuse_name(one, name, e);
	record_list_deinit(&list);
	return r;
}

int record_check_free(struct store *s, const char *name, struct err *e)
{
	scoped_fd int lock = store_lock(s, LOCK_SH, e);
	return lock < 0 ? lock : check_name(s, name, e);
}

int record_claim(struct store *s, const char *name, struct err *e)
{
	/* nobody else takes the name or clears it away meanwhile */
	scoped_fd int lock = store_lock(s, LOCK_EX, e);
	if (lock < 0)
		return lock;
	int r = check_name(s, name, e);
	if (!r)
		r = store_sandbox_remove(s, name, e);
	if (r)
		return r;
	scoped_fd int dir = store_sandbox_dir(s, name, e);
	if (dir < 0)
		return dir;
	scoped_fd int fd = sys_openat(dir, "lock", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	r = fd < 0 ? fd : sys_ofd_lock(fd);
	return r < 0 ? store_fail(e, r, "cannot take the name '%s'", name) : take_fd(&fd);
}

int record_tidy(struct store *s, const struct record *r, struct err *e)
{
	scoped_fd int dir = sys_openat(store_sandboxes_fd(s), r->name,
				       O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (dir == -ENOENT)
		return 0;	/* a made-up record */
	int wrong = dir < 0 ? dir : tree_remove(dir, "scratch");
	return wrong ? store_fail(e, wrong, "cannot tidy '%s/sandboxes/%s'", store_path(s), r->name)
		     : 0;
}

int record_delete(struct store *s, const struct record *r, const struct vec *list,
		  const struct vec *manifests, size_t *checkpoints, struct err *e)
{
	scoped_fd int lock = store_lock(s, LOCK_EX, e);
	if (lock < 0)
		return lock;
	struct record now = {.state = RECORD_LEFT_OVER};
	int there = read_entry(s, r->name, &now);
	bool same = there <= 0 || !strcmp(now.id, r->id);
	bool alive = there > 0 && now.state == RECORD_LIVING;
	if (there > 0)
		record_deinit(&now);
	if (alive || !same) /* somebody took the name meanwhile */
		return there < 0 ? store_fail(e, there, "cannot look at '%s'", r->name) : 0;
	/* The manifests first: without a record they would have no name. */
	bool last = r->family[0] && !record_has_family(list, r->family, r->name);
	vec_each(struct manifest, m, manifests) {
		if (!last || !of_family(r, m->family))
			continue;
		int wrong = manifest_remove(s, m->id, e);
		if (wrong && wrong != -ENOENT)
			return wrong;
		*checkpoints += !wrong;
	}
	return store_sandbox_remove(s, r->name, e);
}
