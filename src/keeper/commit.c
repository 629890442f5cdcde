/*
 * commit.c - the stages of a commit, and the child that runs them.
 *
 *	sum		what the new layers add up to
 *	sync		the layers, and the sandbox's record
 *	manifest	its rename commits the checkpoint
 *	measure		what the new layers take, for those who ask
 *
 * When the keeper is killed before the last one, its layers have no name, and
 * gc takes them. A commit that fails (a full disk) is tried again later, one
 * checkpoint at a time: it is due until it is done.
 *
 * The child has everything as it was at the fork. What happens to a checkpoint
 * meanwhile (its layers are merged, its parent is deleted) makes its manifest
 * stale again; both name files that are the same. Only its own deletion waits.
 */
#include "keeper/commit.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "keeper/child.h"
#include "keeper/dispatch.h"
#include "keeper/nodes.h"
#include "sandbox/fs.h"
#include "store/manifest.h"
#include "sys/fault.h"
#include "sys/fd.h"
#include "sys/proc.h"

#define RETRY_FIRST_NS 1000000000ull
#define RETRY_MAX_NS 60000000000ull

enum { NODES_MAX = 64 };	/* the room that their temporary files take is bounded */

/*
 * What the child says: memory that it shares with the keeper, who may look at it
 * when the child was killed half-way.
 */
struct report {
	size_t summed;		/* of commit.layers; these are whole */
	bool ended;		/* the rest is whole */
	int result;
	char cause[ERR_CAUSE_BYTES];
	uint64_t calls;		/* see sys_fault_passed() */
	struct summed {
		struct layer_sum sum;
		bool disk_known;
		uint64_t disk_bytes;
	} layer[];		/* of commit.layers */
};

struct commit {
	struct box *box;
	struct node *node[NODES_MAX];
	size_t n;
	bool is_due;		/* they have no manifest yet; else those are stale */
	bool unsynced;		/* box.merge_unsynced when it began */
	struct vec layers;	/* struct layer *, references: not summed up yet */
	struct report *report;
	size_t report_bytes;
	pid_t pid;		/* of the child, 0: none */
	struct loop_source source;	/* its pidfd */
	struct vec waiting;	/* struct request *: see box_commit_await() */
};

/* The stages */

static int commit_sum(void *ctx, struct err *e)
{
	struct commit *c = ctx;
	for (size_t i = 0; i < c->layers.n; i++) {
		struct layer *l = *(struct layer **)vec_at(&c->layers, i);
		int r = layer_sum(l, e);
		if (r)
			return r;
		c->report->layer[i].sum = l->sum;
		__atomic_store_n(&c->report->summed, i + 1, __ATOMIC_RELEASE);
	}
	return 0;
}

static int commit_sync(void *ctx, struct err *e)
{
	struct commit *c = ctx;
	return c->is_due || c->unsynced ? store_sync(c->box->store, e) : 0;
}

/* So that nobody has to ask, who would wait for it. */
static int commit_measure(void *ctx, struct err *e)
{
	struct commit *c = ctx;
	for (size_t i = 0; i < c->layers.n; i++) {
		struct layer *l = *(struct layer **)vec_at(&c->layers, i);
		struct summed *s = &c->report->layer[i];
		struct err ignored;	/* a size is not worth failing for */
		s->disk_known = layer_disk_bytes(l, &s->disk_bytes, &ignored) == 0;
	}
	return 0;
}

static int manifest_of(struct box *b, const struct node *n, struct manifest *m)
{
	manifest_init(m);
	m->id = strdup(n->id);
	m->tag = n->tag[0] ? strdup(n->tag) : NULL;
	m->parent = n->parent ? strdup(n->parent->id) : NULL;
	m->sandbox = strdup(n->sandbox);
	m->family = strdup(b->family);
	m->base = strdup(b->image.name);
	m->created_ns = n->created_ns;
	m->processes = n->checkpoint->image.procs.n;
	m->spec = spec_encode(&b->spec);
	if (!m->id || !m->sandbox || !m->family || !m->base || !m->spec ||
	    (n->tag[0] && !m->tag) || (n->parent && !m->parent))
		return -ENOMEM;
	return fs_snapshot_save(&n->checkpoint->files, m);
}

static int commit_manifest(void *ctx, struct err *e)
{
	struct commit *c = ctx;
	struct manifest m[NODES_MAX];
	size_t n = 0;
	int r = 0;
	while (!r && n < c->n) {
		r = manifest_of(c->box, c->node[n], &m[n]);
		n++;
	}
	if (r)
		err_set(e, -r, "no memory for a manifest");
	else
		r = manifest_write_all(c->box->store, m, n, e);
	while (n)
		manifest_deinit(&m[--n]);
	return r;
}

static const struct stage commit_stages[] = {
	{ .name = "sum", .run = commit_sum },
	{ .name = "sync", .run = commit_sync },
	{ .name = "manifest", .run = commit_manifest },
	{ .name = "measure", .run = commit_measure },
};

static void run_stages(struct commit *c)
{
	struct err e = ERR_INIT;
	struct report *report = c->report;
	uint64_t calls = sys_fault_count();
	report->result = stage_run(commit_stages, sizeof(commit_stages) / sizeof(commit_stages[0]),
				   c, NULL, &e);
	snprintf(report->cause, sizeof(report->cause), "%s", e.cause);
	report->calls = sys_fault_count() - calls;
	__atomic_store_n(&report->ended, true, __ATOMIC_RELEASE);
}

/* The child */

static int keep_layers(struct vec *fds, const struct node *n)
{
	vec_each(struct fs_snapshot_mount, m, &n->checkpoint->files.mounts) {
		if (vec_reserve(fds, fds->n + 2 * m->layers.n))
			return -ENOMEM;
		vec_each(struct layer *, l, &m->layers) {
			*(int *)vec_add(fds) = (*l)->fs_fd;
			*(int *)vec_add(fds) = (*l)->dir_fd;	/* its lock */
		}
	}
	return 0;
}

static int keep_what_is_needed(const struct commit *c)
{
	const struct box *b = c->box;
	/* the latter two say that the sandbox lives */
	const int others[] = { store_fd(b->store), store_checkpoints_fd(b->store), b->record_fd,
			       b->place.pid_fd };
	struct vec fds = VEC_INIT(int);
	int r = vec_reserve(&fds, 4);
	for (size_t i = 0; !r && i < 4; i++)
		*(int *)vec_add(&fds) = others[i];
	for (size_t i = 0; !r && i < c->n; i++)
		r = keep_layers(&fds, c->node[i]);
	if (!r)
		r = child_keep_only(&fds);
	vec_deinit(&fds);
	return r;
}

static void __attribute__((noreturn)) child_run(struct commit *c, pid_t keeper)
{
	child_begin(keeper, "mulligan-commit");
	stage_kill_first(keeper);
	int r = keep_what_is_needed(c);
	if (r) {
		snprintf(c->report->cause, sizeof(c->report->cause), "cannot begin: %s",
			 strerror(-r));
		c->report->result = r;
		__atomic_store_n(&c->report->ended, true, __ATOMIC_RELEASE);
	} else {
		run_stages(c);
	}
	_exit(0);
}

/* Which, and with what */

/* Those that have none yet first; else those that say what is no more. */
static void choose_nodes(struct commit *c)
{
	struct box *b = c->box;
	size_t most = b->commit_retry_ns ? 1 : NODES_MAX;
	for (int pass = 0; pass < 2 && !c->n; pass++) {
		c->is_due = pass == 0;
		vec_each(struct node *, n, &b->nodes)
			if (c->n < most && (c->is_due ? (*n)->manifest_due : (*n)->manifest_stale))
				c->node[c->n++] = *n;
	}
}

static int add_layer(struct vec *layers, struct layer *l)
{
	if (l->sum.known)
		return 0;
	vec_each(struct layer *, other, layers)
		if (*other == l)
			return 0;
	struct layer **slot = vec_add(layers);
	if (!slot)
		return -ENOMEM;
	*slot = layer_ref(l);
	return 0;
}

static int choose_layers(struct commit *c)
{
	int r = 0;
	for (size_t i = 0; i < c->n; i++)
		vec_each(struct fs_snapshot_mount, m, &c->node[i]->checkpoint->files.mounts)
			vec_each(struct layer *, l, &m->layers)
				r = r ? r : add_layer(&c->layers, *l);
	return r;
}

static int make_report(struct commit *c)
{
	c->report_bytes = sizeof(*c->report) + c->layers.n * sizeof(c->report->layer[0]);
	void *at;
	int r = sys_mmap(NULL, c->report_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			 -1, 0, &at);
	c->report = r ? NULL : at;
	return r;
}

/* What is due; from here on it counts as done, until commit_failed(). */
static struct commit *commit_new(struct box *b)
{
	struct commit *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->box = b;
	c->layers = VEC_INIT(struct layer *);
	c->waiting = VEC_INIT(struct request *);
	c->source = (struct loop_source){ .fd = -1 };
	choose_nodes(c);
	for (size_t i = 0; i < c->n; i++)
		c->node[i]->manifest_due = c->node[i]->manifest_stale = false;
	c->unsynced = b->merge_unsynced;
	if (c->n)
		b->merge_unsynced = false;
	return c;
}

static void commit_free(struct commit *c)
{
	if (c->source.fd >= 0)
		loop_remove(&c->box->loop, &c->source);
	cleanup_fd(&c->source.fd);
	vec_each(struct layer *, l, &c->layers)
		layer_unref(*l);
	vec_deinit(&c->layers);
	vec_deinit(&c->waiting);
	if (c->report)
		munmap(c->report, c->report_bytes);
	free(c);
}

/* The end */

static void due_again(struct commit *c)
{
	for (size_t i = 0; i < c->n; i++) {
		c->node[i]->manifest_due |= c->is_due;
		c->node[i]->manifest_stale |= !c->is_due;
	}
	c->box->merge_unsynced |= c->unsynced;
}

static void retry_fire(struct loop_timer *timer)
{
	struct box *b = loop_owner(timer, struct box, commit_retry);
	b->commit_waits = false;
	loop_idle(&b->loop, &b->background);
}

static void retry_later(struct box *b)
{
	uint64_t wait = b->commit_retry_ns ? 2 * b->commit_retry_ns : RETRY_FIRST_NS;
	b->commit_retry_ns = wait > RETRY_MAX_NS ? RETRY_MAX_NS : wait;
	b->commit_waits = true;
	b->commit_retry.fire = retry_fire;
	loop_timer_set(&b->loop, &b->commit_retry, clock_now_ns() + b->commit_retry_ns);
}

static void commit_failed(struct commit *c, int r, const char *cause)
{
	fprintf(stderr, "sandbox=%s what=commit checkpoint=%s code=%s cause=\"%s\"\n",
		c->box->place.name, c->node[0]->id, err_name(-r), cause);
	due_again(c);
	retry_later(c->box);
}

/* How it went: what was summed up is known in any case. */
static void take_report(struct commit *c)
{
	const struct report *report = c->report;
	for (size_t i = 0; i < report->summed; i++) {
		struct layer *l = *(struct layer **)vec_at(&c->layers, i);
		l->sum = report->layer[i].sum;
		l->disk_known = report->ended && report->layer[i].disk_known;
		l->disk_bytes = report->layer[i].disk_bytes;
	}
	if (!report->ended)
		commit_failed(c, -ECHILD, "the committing process ended early");
	else if (report->result)
		commit_failed(c, report->result, report->cause);
	else
		c->box->commit_retry_ns = 0;
}

static void reap(struct commit *c)
{
	int status;
	/* it was killed or has ended; nothing more can be asked of it */
	(void)!waitpid(c->pid, &status, 0);
	c->pid = 0;
}

static void child_ready(struct loop_source *s, uint32_t events)
{
	struct commit *c = loop_owner(s, struct commit, source);
	struct box *b = c->box;
	b->commit = NULL;
	reap(c);
	sys_fault_passed(c->report->calls);
	take_report(c);
	struct vec waiting = c->waiting;
	c->waiting = VEC_INIT(struct request *);
	commit_free(c);
	vec_each(struct request *, rq, &waiting)
		dispatch(*rq);
	vec_deinit(&waiting);
	loop_idle(&b->loop, &b->background);
}

void box_commit_end(struct box *b)
{
	struct commit *c = take_ptr(b->commit);
	if (!c)
		return;
	struct err e = ERR_INIT;
	kill(c->pid, SIGKILL);
	reap(c);
	due_again(c);
	err_set(&e, ESHUTDOWN, "the sandbox is being removed");
	vec_each(struct request *, rq, &c->waiting)
		request_fail(*rq, &e);
	commit_free(c);
}

void box_commit_abandon(struct box *b)
{
	struct commit *c = take_ptr(b->commit);
	if (!c)
		return;
	due_again(c);
	commit_free(c);
}

/* The beginning */

static int start_child(struct commit *c)
{
	int r = sys_fault("fork");
	if (r)
		return r;
	pid_t keeper = getpid(), pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		child_run(c, keeper);
	c->pid = pid;
	c->source.ready = child_ready;
	c->source.fd = sys_pidfd_open(pid);
	r = c->source.fd < 0 ? c->source.fd : loop_add(&c->box->loop, &c->source, EPOLLIN);
	if (r) {
		kill(pid, SIGKILL);
		reap(c);
	}
	return r;
}

bool box_commit_begin(struct box *b)
{
	if (b->commit || b->commit_waits)
		return false;
	struct commit *c = commit_new(b);
	if (!c || !c->n) {
		if (c)
			commit_free(c);
		return false;
	}
	int r = choose_layers(c);
	if (!r)
		r = make_report(c);
	if (!r)
		r = start_child(c);
	if (r) {
		commit_failed(c, r, "start the committing process");
		commit_free(c);
		return true;
	}
	b->commit = c;
	return true;
}

/* One batch, without a child. */
static bool commit_here(struct box *b)
{
	struct commit *c = commit_new(b);
	bool more = c && c->n;
	int r = more ? choose_layers(c) : 0;
	if (more && !r)
		r = make_report(c);
	if (more && !r) {
		run_stages(c);
		take_report(c);
	} else if (r) {
		commit_failed(c, r, "no memory for a commit");
	}
	if (c)
		commit_free(c);
	return more;
}

void box_commit_all(struct box *b)
{
	box_commit_end(b);
	b->commit_waits = false;
	while (!b->commit_waits && commit_here(b))
		;
}

bool box_commit_has(const struct box *b, const struct node *n)
{
	bool has = false;
	for (size_t i = 0; b->commit && i < b->commit->n; i++)
		has |= b->commit->node[i] == n;
	return has;
}

static void waiting_gone(struct request *rq)
{
	struct vec *waiting = &rq->box->commit->waiting;
	for (size_t i = waiting->n; i-- > 0;)
		if (*(struct request **)vec_at(waiting, i) == rq)
			vec_remove(waiting, i);
}

int box_commit_await(struct box *b, struct request *rq, struct err *e)
{
	static const struct request_events events = { .gone = waiting_gone };
	struct request **slot = vec_add(&b->commit->waiting);
	if (!slot)
		return err_set(e, ENOMEM, "no memory to wait for a commit");
	*slot = rq;
	request_keep(rq, &events);
	return 0;
}
