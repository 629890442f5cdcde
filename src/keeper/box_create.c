/*
 * box_create.c - a sandbox comes.
 *
 * Create is a restore of an empty tree: checkpoint 0 has the base's files and
 * no processes, and the first incarnation is built from it as any other.
 *
 * What is made on the way belongs to this process, the runtime directory or
 * STATE/sandboxes/<name>; box_end() removes all of it, and a failed create
 * ends through it too.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "checkpoint/checkpoint.h"
#include "keeper/box.h"
#include "keeper/nodes.h"
#include "keeper/turns.h"
#include "keeper/watch.h"
#include "sandbox/userns.h"
#include "store/record.h"
#include "sys/file.h"
#include "sys/proc.h"

enum {
	READY_NS = 10000000000ll,	/* init confines itself in under a millisecond */
};

/* Events of the commands table */

static void on_started(void *ctx, struct command *c)
{
	watch_command(ctx, c);
}

static void on_output(void *ctx, struct command *c, enum stream_kind stream)
{
	watch_command(ctx, c);
}

static void on_ended(void *ctx, struct command *c)
{
	watch_command(ctx, c);
}

static void on_input_room(void *ctx, struct command *c)
{
	watch_input_room(ctx, c);
}

static uint64_t on_oom_kills(void *ctx)
{
	struct box *b = ctx;
	return b->live && b->live->group ? limits_group_oom_kills(b->live->group) : 0;
}

static void commands_ready(struct loop_source *s, uint32_t events)
{
	commands_dispatch(loop_owner(s, struct box, commands_source)->commands);
}

struct commands_events box_commands_events(struct box *b)
{
	return (struct commands_events){
		.ctx = b,
		.started = on_started,
		.output = on_output,
		.ended = on_ended,
		.input_room = on_input_room,
		.oom_kills = on_oom_kills,
	};
}

int box_commands_watch(struct box *b, struct err *e)
{
	b->commands_source = (struct loop_source){
		.fd = commands_fd(b->commands),
		.ready = commands_ready,
	};
	int r = loop_add(&b->loop, &b->commands_source, EPOLLIN);
	return r ? err_set(e, -r, "watch the sandbox's commands: %s", strerror(-r)) : 0;
}

/* Stages of create */

struct create {
	struct box *box;
	struct spec effective;		/* with the mounts of the base */
	struct node *first;
	struct incarnation *in;
	struct stage_times build_times;
};

static int create_namespaces(void *ctx, struct err *e)
{
	struct create *c = ctx;
	return userns_enter(c->box->spec.userns || userns_needed(), e);
}

static int create_store(void *ctx, struct err *e)
{
	struct create *c = ctx;
	struct box *b = c->box;
	int r = store_open(b->state_path, &b->store, e);
	if (r)
		return r;
	b->record_fd = record_claim(b->store, b->place.name, e);
	return b->record_fd < 0 ? b->record_fd : 0;
}

static int add_base_mounts(struct create *c, struct err *e)
{
	vec_each(struct image_mount, m, &c->box->image.mounts) {
		scoped_free char *text = NULL;
		if (asprintf(&text, "%s:%s:%s", m->source, m->target, m->readonly ? "ro" : "cow") < 0)
			return err_set(e, ENOMEM, "no memory for the base's mounts");
		int r = spec_add_volume(&c->effective, text, e);
		if (r)
			return r;
	}
	return 0;
}

/* The base's mounts first: a volume of the user may lie below one of them. */
static int create_base(void *ctx, struct err *e)
{
	struct create *c = ctx;
	struct box *b = c->box;
	int r = b->from ? box_from_image(b, e) :
		b->spec.base == BASE_ROOTFS ?
			  image_open_rootfs(b->store, b->spec.rootfs, &b->image, e) :
			  image_open_host(b->store, &b->image, e);
	if (!r)
		r = box_write_record(b, e);
	if (r)
		return r;
	if (spec_copy(&c->effective, &b->spec))
		return err_set(e, ENOMEM, "no memory for the specification");
	struct vec own = c->effective.volumes;
	c->effective.volumes = VEC_INIT(struct volume);
	r = add_base_mounts(c, e);
	vec_each(struct volume, v, &own) {
		struct volume *slot = r ? NULL : vec_add(&c->effective.volumes);
		if (!r && !slot)
			r = err_set(e, ENOMEM, "no memory for the volumes");
		if (slot)
			*slot = *v;
	}
	vec_deinit(&own);
	return r;
}

static int create_engine(void *ctx, struct err *e)
{
	struct create *c = ctx;
	struct box *b = c->box;
	scoped_fd int dir = store_sandbox_dir(b->store, b->place.name, e);
	if (dir < 0)
		return dir;
	int r = sys_mkdirat(dir, "scratch", 0700);
	if (r && r != -EEXIST)
		return err_set(e, -r, "make a scratch directory: %s", strerror(-r));
	scoped_free char *scratch = NULL;
	if (asprintf(&scratch, "%s/sandboxes/%s/scratch", store_path(b->store), b->place.name) < 0)
		return err_set(e, ENOMEM, "no memory for a path");
	r = engine_init(&b->engine, b->store, &c->effective, b->image.root, scratch, e);
	b->engine_made = r == 0;
	return r;
}

static int create_first(void *ctx, struct err *e)
{
	struct create *c = ctx;
	c->box->turns_fd = turns_open(e);
	if (c->box->turns_fd < 0)
		return c->box->turns_fd;
	int r = node_new(c->box, NULL, NULL, &c->first, e);
	if (!r)
		r = checkpoint_first(&c->first->checkpoint, e);
	if (!r && c->box->from)
		r = box_from_files(c->box, &c->effective, &c->first->checkpoint->files, e);
	if (!r)
		r = node_add(c->box, c->first, e);
	return r;
}

static int create_build(void *ctx, struct err *e)
{
	struct create *c = ctx;
	return box_build(c->box, c->first, &c->in, &c->build_times, e);
}

static int create_start(void *ctx, struct err *e)
{
	struct create *c = ctx;
	struct box *b = c->box;
	int r = box_enter(b, c->in, c->first, e);
	if (!r)
		c->in = NULL;
	return r ? r : commands_wait_ready(b->commands, READY_NS, e);
}

static const struct stage create_stages[] = {
	{ .name = "namespaces", .run = create_namespaces },
	{ .name = "store", .run = create_store },
	{ .name = "base", .run = create_base },
	{ .name = "engine", .run = create_engine },
	{ .name = "first", .run = create_first },
	{ .name = "build", .run = create_build },
	{ .name = "start", .run = create_start },
};

int box_create(struct box *b, struct stage_times *times, struct err *e)
{
	struct create c = { .box = b };
	spec_init(&c.effective);
	int r = stage_run(create_stages, sizeof(create_stages) / sizeof(create_stages[0]), &c,
			  times, e);
	spec_deinit(&c.effective);
	if (r && c.first && !b->nodes.n)
		node_free(c.first);
	if (r)
		incarnation_free(c.in);
	return r;
}

int box_write_record(struct box *b, struct err *e)
{
	struct record r = {
		.base = b->image.name,
		.created_ns = b->created_ns,
		.owned = b->spec.die_with_parent,
		.expires_ns = b->expires_ns,
		.idle_timeout_ns = b->spec.idle_timeout_ns,
	};
	memcpy(r.name, b->place.name, sizeof(r.name));
	memcpy(r.id, b->id, sizeof(r.id));
	memcpy(r.family, b->family, sizeof(r.family));
	return record_write(b->store, &r, e);
}

int box_write_info(struct box *b, struct err *e)
{
	scoped_json json_t *info = json_pack(
		"{s:s, s:s, s:s, s:s, s:I, s:i, s:s}", "name", b->place.name, "id", b->id, "family",
		b->family, "base", b->image.name, "created_ns", (json_int_t)b->created_ns,
		"keeper_pid", getpid(), "state_path", b->state_path);
	if (!info)
		return err_set(e, ENOMEM, "no memory to describe the sandbox");
	return runtime_place_info(&b->place, info, e);
}
