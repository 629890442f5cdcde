/* method_tree.c - the checkpoint tree, and what differs between its nodes. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "keeper/dispatch.h"
#include "keeper/nodes.h"
#include "sandbox/diff.h"

static int by_address(const void *a, const void *b)
{
	const uintptr_t *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

/* Every use of a layer by a node, as addresses, sorted. NULL data: no memory. */
static struct vec layer_uses(const struct box *b)
{
	struct vec uses = VEC_INIT(uintptr_t);
	vec_each(struct node *, n, &b->nodes)
		vec_each(struct fs_snapshot_mount, m, &(*n)->checkpoint->files.mounts)
			vec_each(struct layer *, l, &m->layers) {
				uintptr_t *use = vec_add(&uses);
				if (use)
					*use = (uintptr_t)*l;
			}
	if (uses.n)
		qsort(uses.data, uses.n, sizeof(uintptr_t), by_address);
	return uses;
}

static bool used_twice(const struct vec *uses, const struct layer *l)
{
	uintptr_t key = (uintptr_t)l;
	const uintptr_t *first = uses->data, *last = first + uses->n - 1;
	const uintptr_t *at = uses->n ? bsearch(&key, first, uses->n, sizeof(key), by_address) :
					NULL;
	return at && ((at > first && at[-1] == key) || (at < last && at[1] == key));
}

/* Bytes on disk of the layers of n: those that only it has, and the others. */
static void node_bytes(const struct vec *uses, const struct node *n, uint64_t *own,
		       uint64_t *shared)
{
	*own = *shared = 0;
	vec_each(struct fs_snapshot_mount, m, &n->checkpoint->files.mounts)
		vec_each(struct layer *, at, &m->layers) {
			uint64_t bytes = 0;
			struct err ignored;	/* a size is not worth failing for */
			if (layer_disk_bytes(*at, &bytes, &ignored))
				continue;
			/* of the node, maybe of now and a standby; else of others */
			*(used_twice(uses, *at) ? shared : own) += bytes;
		}
}

json_t *box_tree_json(struct box *b)
{
	json_t *nodes = json_array();
	struct vec uses = layer_uses(b);
	vec_each(struct node *, at, &b->nodes) {
		const struct node *n = *at;
		uint64_t own, shared;
		node_bytes(&uses, n, &own, &shared);
		json_array_append_new(
			nodes,
			json_pack("{s:s, s:s?, s:s?, s:I, s:I, s:I, s:I, s:s?}", "id", n->id, "tag",
				  n->tag[0] ? n->tag : NULL, "parent",
				  n->parent ? n->parent->id : NULL, "created_ns",
				  (json_int_t)n->created_ns, "bytes_private", (json_int_t)own,
				  "bytes_shared", (json_int_t)shared, "processes",
				  (json_int_t)n->checkpoint->image.procs.n, "label",
				  n->checkpoint->template.socket < 0 ? "memory lost" :
				  n->files_only ? "files" :
				  !n->parent ? "created" : NULL));
	}
	vec_deinit(&uses);
	return json_pack("{s:o, s:s?}", "nodes", nodes, "head", b->head ? b->head->id : NULL);
}

int method_tree(struct request *rq, json_t **result, struct err *e)
{
	*result = box_tree_json(rq->box);
	return 0;
}

static json_t *files_json(const struct vec *files)
{
	json_t *all = json_array();
	vec_each(struct diff_file, f, files) {
		char change[2] = { f->change, '\0' };
		json_array_append_new(all, json_pack("{s:o, s:s, s:I, s:i}", "path",
						     json_text_z(f->path), "change", change, "size",
						     (json_int_t)f->size_bytes, "mode",
						     (int)f->mode));
	}
	return all;
}

static void add_process(json_t *all, const struct image_proc *p, const char *change)
{
	json_array_append_new(all, json_pack("{s:i, s:o, s:s}", "pid", p->pid, "comm",
					     json_text(p->comm, strnlen(p->comm, sizeof(p->comm))),
					     "change", change));
}

/* Processes are the same if they have the same key. */
static json_t *processes_json(const struct tree_image *a, const struct tree_image *b)
{
	json_t *all = json_array();
	vec_each(struct image_proc, p, &a->procs)
		if (image_find_key(b, p->key) == IMAGE_NONE)
			add_process(all, p, "D");
	vec_each(struct image_proc, p, &b->procs)
		if (image_find_key(a, p->key) == IMAGE_NONE)
			add_process(all, p, "A");
	return all;
}

int method_diff(struct request *rq, json_t **result, struct err *e)
{
	struct box *b = rq->box;
	const char *from = json_get_string(rq->params, "a", NULL);
	const char *to = json_get_string(rq->params, "b", NULL);
	struct node *a = b->head, *z = NULL;
	int r = from ? node_find(b, from, &a, e) : 0;
	if (!r && to)
		r = node_find(b, to, &z, e);
	if (r)
		return r;
	if (!z && !b->live)
		return err_set(e, ESRCH, "nothing runs in the sandbox '%s'", b->place.name);
	struct vec files;
	r = z ? diff_snapshots(&a->checkpoint->files, &z->checkpoint->files, &files, e) :
		diff_live(&a->checkpoint->files, b->live->fs, &files, e);
	if (r)
		return r;
	json_t *processes = z ? processes_json(&a->checkpoint->image, &z->checkpoint->image) :
				live_processes_json(b, &a->checkpoint->image);
	*result = json_pack("{s:o, s:o}", "files", files_json(&files), "processes", processes);
	diff_deinit(&files);
	return 0;
}
