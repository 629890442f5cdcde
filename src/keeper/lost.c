#include "keeper/lost.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { ID_PREFIX_MIN = 4 };

int lost_read(struct store *s, struct lost *out, struct err *e)
{
	*out = (struct lost){ VEC_INIT(struct manifest), VEC_INIT(struct record) };
	int r = manifest_list(s, &out->manifests, e);
	return r ? r : record_list(s, &out->manifests, &out->records, e);
}

void lost_deinit(struct lost *l)
{
	manifest_list_deinit(&l->manifests);
	record_list_deinit(&l->records);
}

const struct record *lost_find(const struct lost *l, const char *name)
{
	vec_each(struct record, r, &l->records)
		if (!strcmp(r->name, name))
			return r;
	return NULL;
}

bool lost_has(const struct record *r, const struct manifest *m)
{
	return r->family[0] && !strcmp(r->family, m->family);
}

int lost_checkpoint(const struct lost *l, const struct record *r, const char *text,
		    const struct manifest **out, struct err *e)
{
	size_t len = strlen(text), matches = 0;
	const struct manifest *found = NULL;
	vec_each(struct manifest, m, &l->manifests) {
		if (r && !lost_has(r, m))
			continue;
		if (!strcmp(m->id, text) || (r && m->tag && !strcmp(m->tag, text))) {
			*out = m;
			return 0;
		}
		if (len >= ID_PREFIX_MIN && !strncmp(m->id, text, len)) {
			found = m;
			matches++;
		}
	}
	if (matches == 1) {
		*out = found;
		return 0;
	}
	err_set(e, ENOENT, matches ? "more than one checkpoint %s%.63s begins with '%.80s'" :
				     "there are no files of a checkpoint %s%.63s named '%.80s'",
		r ? "of " : "", r ? r->name : "", text);
	return r ? err_remedy(e, "`mulligan tree %s` lists them", r->name) :
		   err_remedy(e, "name it as NAME@CKPT; `mulligan ps` lists sandboxes");
}

int lost_parse(const struct lost *l, const char *text, const struct manifest **out, struct err *e)
{
	char name[RECORD_NAME_BYTES];
	const char *at = strchr(text, '@');
	if (!at)
		return lost_checkpoint(l, NULL, text, out, e);
	snprintf(name, sizeof(name), "%.*s", (int)(at - text), text);
	const struct record *r = (size_t)(at - text) < sizeof(name) ? lost_find(l, name) : NULL;
	if (r)
		return lost_checkpoint(l, r, at + 1, out, e);
	err_set(e, ENOENT, "no sandbox named '%.*s'", (int)(at - text), text);
	return err_remedy(e, "`mulligan ps` lists them");
}
