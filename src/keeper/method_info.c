/* method_info.c - what the sandbox is and what runs in it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "keeper/dispatch.h"
#include "sys/procfs.h"
#include "wire/errjson.h"

enum { CENSUS_MAX = 100000 };	/* more is a fork bomb: it need not be exact */

/*
 * Everything below PID 1 in *pids (pid_t, of the keeper's namespace); PID 1
 * itself is ours and not counted. Who ends meanwhile is not counted either.
 */
static void live_pids(const struct box *b, struct procfs *p, struct vec *pids)
{
	*pids = VEC_INIT(pid_t);
	if (!b->live)
		return;
	int r = procfs_children(p, b->live->pid1, b->live->pid1, pids);
	for (size_t i = 0; i < pids->n && i < CENSUS_MAX; i++) {
		pid_t pid = *(pid_t *)vec_at(pids, i);
		r = procfs_children(p, pid, pid, pids);
	}
	(void)r;
}

static uint64_t resident_bytes(struct procfs *p, pid_t pid)
{
	unsigned long size, resident;
	if (procfs_read(p, pid, 0, "statm") < 0 ||
	    sscanf(p->text.data, "%lu %lu", &size, &resident) != 2)
		return 0;
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

struct census {
	size_t processes;
	uint64_t memory_bytes;
};

static void census_take(const struct box *b, struct census *out)
{
	struct procfs p = PROCFS_INIT;
	struct vec pids;
	*out = (struct census){ 0 };
	if (procfs_open(&p, NULL))
		return;
	live_pids(b, &p, &pids);
	out->processes = pids.n;
	vec_each(pid_t, pid, &pids)
		out->memory_bytes += resident_bytes(&p, *pid);
	vec_deinit(&pids);
	procfs_close(&p);
}

static void add_process(json_t *all, int pid, const char *comm, const char *change)
{
	json_array_append_new(all, json_pack("{s:i, s:o, s:s}", "pid", pid, "comm",
					     json_text_z(comm), "change", change));
}

/* The key of a live process, 0: it has none, so no checkpoint knows it. */
static uint64_t live_key(struct box *b, struct procfs *p, pid_t pid, struct procfs_stat *stat)
{
	if (procfs_stat(p, pid, 0, stat))
		return 0;
	struct tracked *t = tracker_find(&b->live->tracker, pid, stat->start_time);
	return t ? t->key : 0;
}

/* pid inside the sandbox */
static pid_t inner_pid(struct procfs *p, pid_t pid)
{
	struct procfs_status status;
	return procfs_status(p, pid, 0, &status) ? 0 : status.ns_pid[status.n_ns - 1];
}

json_t *live_processes_json(struct box *b, const struct tree_image *then)
{
	json_t *all = json_array();
	struct procfs p = PROCFS_INIT;
	struct vec pids;
	if (procfs_open(&p, NULL))
		return all;
	live_pids(b, &p, &pids);
	vec_each(struct image_proc, old, &then->procs) {
		bool lives = false;
		vec_each(pid_t, pid, &pids) {
			struct procfs_stat stat;
			lives |= live_key(b, &p, *pid, &stat) == old->key;
		}
		if (!lives)
			add_process(all, old->pid, old->comm, "D");
	}
	vec_each(pid_t, pid, &pids) {
		struct procfs_stat stat = { 0 };
		uint64_t key = live_key(b, &p, *pid, &stat);
		if (stat.pid && (!key || image_find_key(then, key) == IMAGE_NONE))
			add_process(all, inner_pid(&p, *pid), stat.comm, "A");
	}
	vec_deinit(&pids);
	procfs_close(&p);
	return all;
}

static json_t *labels_json(const struct box *b)
{
	json_t *labels = json_object();
	vec_each(char *, l, &b->spec.labels) {
		const char *equals = strchr(*l, '=');
		size_t len = equals ? (size_t)(equals - *l) : strlen(*l);
		scoped_free char *key = strndup(*l, len);
		json_object_set_new(labels, key ? key : "", json_text_z(equals ? equals + 1 : ""));
	}
	return labels;
}

json_t *box_info_json(struct box *b)
{
	struct census census;
	struct limits_usage usage;
	census_take(b, &census);
	uint64_t memory = census.memory_bytes;
	if (b->live && b->live->group && !limits_group_usage(b->live->group, &usage))
		memory = usage.memory_bytes;
	uint64_t idle_ns = clock_now_ns() - b->last_request_ns;
	return json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:I, s:I, s:I, s:I, s:s, s:o}", "name",
			 b->place.name, "id", b->id, "base", b->image.name, "state",
			 box_state_name(b->state), "pid", b->live ? b->live->pid1 : 0,
			 "keeper_pid", getpid(), "created_ns", (json_int_t)b->created_ns, "idle_ms",
			 (json_int_t)(idle_ns / 1000000), "memory_bytes", (json_int_t)memory,
			 "processes", (json_int_t)census.processes, "head",
			 b->head ? b->head->id : "", "labels", labels_json(b));
}

int method_info(struct request *rq, json_t **result, struct err *e)
{
	*result = box_info_json(rq->box);
	return 0;
}

/* How long the stacks of layers are, and what was done about it. */
static json_t *merges_json(const struct box *b)
{
	size_t most = 0;
	if (b->live)
		vec_each(struct fs_mount, m, &b->live->fs->mounts)
			most = m->layers.n > most ? m->layers.n : most;
	return json_pack("{s:I, s:i, s:i, s:b}", "layers", (json_int_t)most, "done",
			 b->merges_done, "failed", b->merges_failed, "running",
			 b->merging != NULL);
}

int method_inspect(struct request *rq, json_t **result, struct err *e)
{
	struct box *b = rq->box;
	*result = json_pack("{s:o, s:o, s:o, s:o}", "info", box_info_json(b), "spec",
			    spec_encode(&b->spec), "checkpoints", box_tree_json(b), "commands",
			    box_commands_json(b));
	if (!*result)
		return err_set(e, ENOMEM, "no memory to describe the sandbox");
	json_object_set_new(*result, "merges", merges_json(b));
	const char *missing = limits_missing(b->engine.limits);
	if (missing[0])
		json_object_set_new(*result, "limits_missing", json_text_z(missing));
	if (b->error.code)
		json_object_set_new(*result, "error", err_to_json(&b->error));
	return 0;
}

int method_shutdown(struct request *rq, json_t **result, struct err *e)
{
	struct box *b = rq->box;
	box_end(b);
	/* dispatch answers; the loop stops when it comes back to it */
	return 0;
}
