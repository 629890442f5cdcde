/* tool_gc.c - find and remove what the dead left, in the namespaces that own it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "keeper/tools.h"
#include "sandbox/userns.h"
#include "store/manifest.h"
#include "store/store.h"
#include "sys/proc.h"
#include "sys/procfs.h"
#include "wire/errjson.h"
#include "wire/runtime.h"

struct gc {
	int runtime_fd;
	struct store *store;
	json_t *names;		/* of dead sandboxes that were removed */
	json_t *families;	/* of theirs */
	size_t checkpoints;
	size_t busy_cgroups;
	struct store_gc collected;
	size_t trash;
};

enum {
	KERNEL_PF_EXITING = 4,	/* include/linux/sched.h, in /proc/<pid>/stat */
	DYING_MS = 5000,	/* its mounts and memory go first */
};

/*
 * A keeper that was killed a moment ago still has its lock: wait until it is
 * gone. One that lives is left alone at once.
 */
static void await_dying(pid_t pid)
{
	struct procfs p = PROCFS_INIT;
	struct procfs_stat stat;
	struct procfs_status status;
	scoped_fd int pidfd = sys_pidfd_open(pid);
	if (pidfd < 0 || procfs_open(&p, NULL))
		return;
	const uint64_t killed = 1ull << (SIGKILL - 1);
	bool dying = procfs_stat(&p, pid, 0, &stat) || (stat.flags & KERNEL_PF_EXITING) ||
		     procfs_status(&p, pid, 0, &status) ||
		     ((status.sig_pending | status.sig_shared_pending) & killed);
	procfs_close(&p);
	if (dying && sys_pidfd_wait(pidfd, DYING_MS) < 0)
		return;
}

static int remove_dead(struct gc *g, struct err *e)
{
	struct vec all;
	int r = runtime_list(g->runtime_fd, &all, e);
	if (r)
		return r;
	vec_each(struct runtime_entry, entry, &all) {
		if (!r && entry->alive && entry->pid) {
			struct runtime_entry now = *entry;
			await_dying(entry->pid);
			r = runtime_find(g->runtime_fd, entry->name, &now, e);
			r = r == -ENOENT ? 0 : r;	/* it ended in good order */
			*entry = now;
		}
		if (r || entry->alive)
			continue;
		scoped_json json_t *info = runtime_info(g->runtime_fd, entry->name);
		const char *family = json_get_string(info, "family", NULL);
		int left = limits_gc(entry->name, e);
		g->busy_cgroups += left > 0 ? (size_t)left : 0;
		r = left < 0 ? left : store_sandbox_remove(g->store, entry->name, e);
		if (!r)
			r = runtime_clear(g->runtime_fd, entry->name, e);
		if (r == 1 && family)
			json_array_append_new(g->families, json_string(family));
		if (r == 1)
			json_array_append_new(g->names, json_string(entry->name));
		r = r < 0 ? r : 0;
	}
	vec_deinit(&all);
	return r;
}

static bool listed(const json_t *array, const char *text)
{
	size_t i;
	json_t *v;
	json_array_foreach((json_t *)array, i, v)
		if (!strcmp(json_string_value(v), text))
			return true;
	return false;
}

/* Strike out the families of which somebody lives. */
static int keep_living(struct gc *g, struct err *e)
{
	struct vec all;
	int r = runtime_list(g->runtime_fd, &all, e);
	if (r)
		return r;
	vec_each(struct runtime_entry, entry, &all) {
		scoped_json json_t *info = runtime_info(g->runtime_fd, entry->name);
		const char *family = json_get_string(info, "family", "");
		for (size_t i = json_array_size(g->families); i-- > 0;)
			if (!strcmp(json_string_value(json_array_get(g->families, i)), family))
				json_array_remove(g->families, i);
	}
	vec_deinit(&all);
	return 0;
}

static int remove_records(struct gc *g, struct err *e)
{
	struct vec all;
	if (!json_array_size(g->families))
		return 0;
	int r = manifest_list(g->store, &all, e);
	if (r)
		return r;
	vec_each(struct manifest, m, &all) {
		if (r || !m->family || !listed(g->families, m->family))
			continue;
		r = manifest_remove(g->store, m->id, e);
		g->checkpoints += !r;
	}
	manifest_list_deinit(&all);
	return r;
}

static int gc_run(struct gc *g, struct err *e)
{
	char state[RUNTIME_PATH_BYTES];
	int r = runtime_state_path(state, e);
	if (!r)
		g->runtime_fd = runtime_open(e);
	if (!r && g->runtime_fd < 0)
		r = g->runtime_fd;
	if (!r)
		r = userns_enter(userns_needed(), e);
	if (!r)
		r = store_open(state, &g->store, e);
	if (!r)
		r = remove_dead(g, e);
	if (!r)
		r = keep_living(g, e);
	if (!r)
		r = remove_records(g, e);
	if (!r)
		r = store_gc(g->store, &g->collected, e);
	return r ? r : store_empty_trash(g->store, &g->trash, e);
}

static void gc_print(const struct gc *g, bool json)
{
	size_t dead = json_array_size(g->names);
	if (json) {
		scoped_json json_t *j = json_pack(
			"{s:O, s:I, s:I, s:I, s:I, s:I}", "sandboxes", g->names, "checkpoints",
			(json_int_t)g->checkpoints, "layers", (json_int_t)g->collected.layers, "bases",
			(json_int_t)g->collected.bases, "leftovers",
			(json_int_t)g->collected.leftovers, "busy_cgroups",
			(json_int_t)g->busy_cgroups);
		struct buf out = BUF_INIT;
		json_write(&out, j);
		puts(out.failed ? "{}" : out.data);
		buf_deinit(&out);
		return;
	}
	printf("removed: %zu dead sandboxes, %zu checkpoints, %zu layers, %zu bases, %zu leftovers\n",
	       dead, g->checkpoints, g->collected.layers, g->collected.bases,
	       g->collected.leftovers);
	if (g->busy_cgroups)
		printf("%zu cgroups still have processes: try again\n", g->busy_cgroups);
}

int tool_gc(bool json)
{
	struct gc g = { .runtime_fd = -1, .names = json_array(), .families = json_array() };
	struct err e = ERR_INIT;
	int r = gc_run(&g, &e);
	if (!r)
		gc_print(&g, json);
	else if (json) {
		scoped_json json_t *j = json_pack("{s:o}", "error", err_to_json(&e));
		json_dumpf(j, stderr, JSON_COMPACT);
		fputc('\n', stderr);
	} else {
		fprintf(stderr, "mulligan: %s\n", e.cause);
		if (e.remedy[0])
			fprintf(stderr, "  remedy: %s\n", e.remedy);
	}
	if (g.store)
		store_close(g.store);
	cleanup_fd(&g.runtime_fd);
	json_decref(g.names);
	json_decref(g.families);
	return r ? 1 : 0;
}
