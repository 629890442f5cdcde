/* method_checkpoint.c - checkpoint, rollback, reset, delete. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "keeper/commit.h"
#include "keeper/dispatch.h"
#include "keeper/nodes.h"
#include "store/tree.h"

json_t *stages_json(const struct stage_times *t)
{
	json_t *stages = json_object();
	for (size_t i = 0; i < t->n; i++)
		json_object_set_new(stages, t->stage[i].name, json_ms(t->stage[i].ns));
	return stages;
}

struct sizes {
	uint64_t entries, bytes;
};

static int sizes_visit(void *ctx, const struct tree_entry *entry)
{
	struct sizes *s = ctx;
	s->entries++;
	s->bytes += (uint64_t)entry->st->st_blocks * 512;
	return 0;
}

/* What a checkpoint's own layers hold: those that its parent does not have. */
static struct sizes layer_sizes(const struct node *n)
{
	struct sizes all = { 0 };
	for (size_t i = 0; i < n->checkpoint->files.mounts.n; i++) {
		const struct fs_snapshot_mount *m = vec_at(&n->checkpoint->files.mounts, i);
		size_t inherited = 0;
		if (n->parent && i < n->parent->checkpoint->files.mounts.n) {
			const struct fs_snapshot_mount *p =
				vec_at(&n->parent->checkpoint->files.mounts, i);
			inherited = p->layers.n;
		}
		for (size_t k = 0; k + inherited < m->layers.n; k++) {
			const struct layer *l = *(struct layer **)vec_at(&m->layers, k);
			/* a name too long to walk is not worth failing for */
			if (tree_walk(l->fs_fd, sizes_visit, &all))
				break;
			scoped_fd int aside = layer_aside(l, false);
			if (aside >= 0 && tree_walk(aside, sizes_visit, &all))
				break;
		}
	}
	return all;
}

int method_checkpoint(struct request *rq, json_t **result, struct err *e)
{
	struct box *b = rq->box;
	const char *tag = json_get_string(rq->params, "tag", NULL);
	struct box_checkpoint taken;
	int r = tag ? node_check_tag(b, tag, e) : 0;
	if (!r)
		r = box_checkpoint(b, tag, &taken, e);
	if (r)
		return r;
	const struct node *n = taken.node;
	const struct checkpoint_stats *s = &taken.stats;
	*result = json_pack("{s:s, s:s?, s:s, s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:s}", "id",
			    n->id, "tag", tag, "parent", n->parent->id, "sandbox", b->place.name,
			    "total_ms", json_ms(s->times.total_ns), "frozen_ms",
			    json_ms(s->frozen_ns), "stages", stages_json(&s->times), "processes",
			    (json_int_t)s->processes, "threads", (json_int_t)s->threads,
			    "dirty_pages", (json_int_t)s->dirty_pages, "copied_bytes",
			    (json_int_t)s->copied_bytes, "mode",
			    taken.incremental ? "incremental" : "full");
	if (*result && json_get_bool(rq->params, "sizes", false)) {
		struct sizes sizes = layer_sizes(n);
		json_object_set_new(*result, "layer_bytes", json_integer((json_int_t)sizes.bytes));
		json_object_set_new(*result, "files_changed",
				    json_integer((json_int_t)sizes.entries));
	}
	return *result ? 0 : err_set(e, ENOMEM, "no memory for the answer");
}

static int rollback_to(struct request *rq, struct node *n, bool files, json_t **result,
		       struct err *e)
{
	struct box_rollback done;
	int r = files ? box_rollback_files(rq->box, n, &done, e) :
			box_rollback(rq->box, n, &done, e);
	if (r)
		return r;
	*result = json_pack("{s:s, s:o, s:b, s:o, s:I}", "id", done.node->id, "total_ms",
			    json_ms(done.times.total_ns), "hot", done.hot, "stages",
			    stages_json(&done.times), "processes",
			    (json_int_t)done.node->checkpoint->image.procs.n);
	if (files)
		json_object_set_new(*result, "files_of", json_string(n->id));
	return 0;
}

int method_rollback(struct request *rq, json_t **result, struct err *e)
{
	const char *text = json_get_string(rq->params, "checkpoint", NULL);
	struct node *n = rq->box->head;
	int r = text ? node_find(rq->box, text, &n, e) : 0;
	bool files = json_get_bool(rq->params, "files", false);
	return r ? r : rollback_to(rq, n, files, result, e);
}

int method_reset(struct request *rq, json_t **result, struct err *e)
{
	return rollback_to(rq, node_first(rq->box), false, result, e);
}

int method_delete_checkpoint(struct request *rq, json_t **result, struct err *e)
{
	struct box *b = rq->box;
	struct node *n;
	int r = node_find(b, json_get_string(rq->params, "checkpoint", ""), &n, e);
	if (r)
		return r;
	if (n == node_first(b) || n == b->head) {
		err_set(e, EBUSY, n == b->head ? "checkpoint %s is what now descends from" :
						 "checkpoint %s is the sandbox as created", n->id);
		return err_remedy(e, n == b->head ? "roll back to another one first" :
						    "it goes with the sandbox: `mulligan rm %s`",
				  b->place.name);
	}
	/* else its manifest might come after its removal */
	if (box_commit_has(b, n)) {
		r = box_commit_await(b, rq, e);
		return r ? r : HANDLER_LATER;
	}
	/* a fork may have written it, or deleted it */
	r = manifest_remove(b->store, n->id, e);
	if (r && r != -ENOENT)
		return r;
	/* theirs name it as their parent */
	vec_each(struct node *, child, &b->nodes)
		(*child)->manifest_stale |= (*child)->parent == n;
	loop_idle(&b->loop, &b->background);
	if (b->standby_node == n)
		box_drop_standby(b);
	*result = json_pack("{s:s}", "id", n->id);
	node_remove(b, n);
	/* they may hold its layers */
	fs_spares_clear(&b->engine.spares);
	return 0;
}
