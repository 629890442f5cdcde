/* names.c - all names of files in a layer. */
#include "sandbox/names.h"

#include <errno.h>

#include "store/tree.h"

struct names {
	int (*visit)(void *ctx, const char *path);
	void *ctx;
	int answer;
};

static int visit_entry(void *ctx, const struct tree_entry *entry)
{
	struct names *n = ctx;
	if (S_ISDIR(entry->st->st_mode) || S_ISCHR(entry->st->st_mode))
		return 0;
	n->answer = n->visit(n->ctx, entry->path);
	return n->answer ? -ECANCELED : 0;
}

int names_each(int fs_fd, int (*visit)(void *ctx, const char *path), void *ctx)
{
	struct names n = { visit, ctx, 0 };
	int r = tree_walk(fs_fd, visit_entry, &n);
	return n.answer ? n.answer : r;
}
