#include "sandbox/chain.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/fs_internal.h"
#include "sandbox/overlay.h"
#include "sys/file.h"

enum { MOST = 24, PARTS = 3 };

struct chain_limits chain_limits(void)
{
	const char *text = getenv("MULLIGAN_MERGE_CHAIN");
	size_t most = text && *text ? strtoul(text, NULL, 10) : MOST;
	size_t part = most / PARTS;
	return (struct chain_limits){ most, part > 0 ? part : 1, part > 2 ? part : 2 };
}

static const struct layer *layer_at(const struct vec *layers, size_t i)
{
	return *(struct layer **)vec_at(layers, i);
}

/* The oldest `run` neighbours of one level that are not among the newest. */
static bool choose_level(const struct vec *layers, const struct chain_limits *limits,
			 unsigned int level, size_t *from)
{
	size_t have = 0;
	for (size_t i = layers->n; i-- > limits->keep;) {
		const struct layer *l = layer_at(layers, i);
		have = l->level == level && !l->has_numbers ? have + 1 : 0;
		if (have == limits->run) {
			*from = i;
			return true;
		}
	}
	return false;
}

bool chain_choose(const struct vec *layers, const struct chain_limits *limits, size_t *from,
		  size_t *n)
{
	if (!limits->most || layers->n <= limits->most || layers->n < limits->keep + limits->run)
		return false;
	unsigned int highest = 0;
	for (size_t i = 0; i < layers->n; i++)
		if (layer_at(layers, i)->level > highest)
			highest = layer_at(layers, i)->level;
	*n = limits->run;
	for (unsigned int level = 0; level <= highest; level++)
		if (choose_level(layers, limits, level, from))
			return true;
	/*
	 * Levels in disorder, or too many layers with numbers in them, so that
	 * no run is long enough: any will do.
	 */
	*from = limits->keep;
	return layers->n > PARTS * limits->most;
}

int chain_open_below(const struct fs_mount *m, size_t from, bool userxattr, int scratch_fd,
		     struct err *e)
{
	int fds[OVERLAY_LOWERS_MAX];
	size_t n = 0;
	if (m->layers.n - from + 2 > OVERLAY_LOWERS_MAX)
		return err_set(e, E2BIG, "too many layers to look at");
	for (size_t i = from; i < m->layers.n; i++)
		fds[n++] = layer_at(&m->layers, i)->fs_fd;
	if (m->skin_fd >= 0)
		fds[n++] = m->skin_fd;
	fds[n++] = m->base_fd;
	if (n == 1) {
		int fd = sys_openat(m->base_fd, ".", O_RDONLY | O_DIRECTORY, 0);
		return fd < 0 ? fs_fail(e, fd, "open the base of", m->target) : fd;
	}
	struct overlay o = {
		.lower_fds = fds,
		.n_lowers = n,
		.upper_fd = -1,
		.work_fd = -1,
		.scratch_fd = scratch_fd,
		.userxattr = userxattr,
	};
	return overlay_build(&o, e);
}

/* Opened twice it is the same layer still. */
static bool same_layer(const struct layer *a, const struct layer *b)
{
	return a == b || !strcmp(a->id, b->id);
}

/*
 * Not with its newest layer: what lies beside that one (sandbox/keep.h) is the
 * stack's, too, and its inodes have the numbers of what was open.
 */
static bool find_run(const struct vec *layers, const struct vec *run, size_t *at)
{
	for (size_t i = 1; i + run->n <= layers->n; i++) {
		size_t k = 0;
		while (k < run->n && same_layer(layer_at(layers, i + k), layer_at(run, k)))
			k++;
		if (k == run->n) {
			*at = i;
			return true;
		}
	}
	return false;
}

/* The references to the run go with `taken`, which has run->n places. */
static bool switch_stack(struct vec *layers, const struct vec *run, struct layer *merged,
			 struct layer **taken)
{
	size_t at;
	if (!find_run(layers, run, &at))
		return false;
	struct layer **l = layers->data;
	memcpy(taken, l + at, run->n * sizeof(*l));
	l[at] = layer_ref(merged);
	memmove(l + at + 1, l + at + run->n, (layers->n - at - run->n) * sizeof(*l));
	layers->n -= run->n - 1;
	return true;
}

bool chain_switch_snapshot(struct fs_snapshot *s, const struct vec *run, struct layer *merged)
{
	struct layer **taken = malloc(run->n * sizeof(*taken));
	bool found = false;
	vec_each(struct fs_snapshot_mount, sm, &s->mounts) {
		/* Without memory it stays as it is, which is right, too. */
		if (!taken || !switch_stack(&sm->layers, run, merged, taken))
			continue;
		found = true;
		for (size_t i = 0; i < run->n; i++)
			layer_unref(taken[i]);
	}
	free(taken);
	return found;
}

static bool switch_mount(struct fs_tree *t, struct fs_mount *m, const struct vec *run,
			 struct layer *merged)
{
	if (vec_reserve(&m->retired, m->retired.n + run->n))
		return false;
	struct layer **taken = m->retired.data;
	if (!switch_stack(&m->layers, run, merged, taken + m->retired.n))
		return false;
	m->retired.n += run->n;
	m->retired_mnt_id = m->mnt_id;
	fs_mount_unprepare(t, m);
	return true;
}

bool chain_switch_tree(struct fs_tree *t, const struct vec *run, struct layer *merged)
{
	assert(t->state != FS_CUT);
	bool found = false;
	vec_each(struct fs_mount, m, &t->mounts)
		found |= switch_mount(t, m, run, merged);
	if (found && t->state == FS_READY)
		t->state = FS_LIVE;
	return found;
}
