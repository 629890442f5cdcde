/* method_create.c - from the parameters of `create` to a running sandbox. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "keeper/dispatch.h"
#include "keeper/nodes.h"

enum { NAME_TRIES = 16 };	/* random names: two in 2^24 that clash are rare */

static int take_string(const json_t *p, const char *key, char **out, struct err *e)
{
	const char *text = json_get_string(p, key, NULL);
	if (!text)
		return 0;
	free(*out);
	*out = strdup(text);
	return *out ? 0 : err_set(e, ENOMEM, "no memory for the specification");
}

static int take_list(const json_t *p, const char *key, struct spec *s,
		     int (*add)(struct spec *, const char *, struct err *), struct err *e)
{
	size_t i;
	json_t *v;
	json_array_foreach(json_object_get(p, key), i, v) {
		int r = add(s, json_string_value(v), e);
		if (r)
			return r;
	}
	return 0;
}

static int take_lists(const json_t *p, struct spec *s, struct err *e)
{
	int r = take_list(p, "volumes", s, spec_add_volume, e);
	if (!r)
		r = take_list(p, "tmpfs", s, spec_add_tmpfs, e);
	if (!r)
		r = take_list(p, "env", s, spec_add_env, e);
	return r ? r : take_list(p, "labels", s, spec_add_label, e);
}

static int take_strings(const json_t *p, struct spec *s, struct err *e)
{
	int r = 0;
	if (json_object_get(p, "rootfs")) {
		r = take_string(p, "rootfs", &s->rootfs, e);
		s->base = BASE_ROOTFS;
	}
	if (!r)
		r = take_string(p, "workdir", &s->workdir, e);
	if (!r)
		r = take_string(p, "user", &s->user, e);
	return r ? r : take_string(p, "hostname", &s->hostname, e);
}

static int take_limits(const json_t *p, struct spec *s, struct err *e)
{
	const char *memory = json_get_string(p, "memory", NULL);
	const char *cpus = json_get_string(p, "cpus", NULL);
	const char *timeout = json_get_string(p, "timeout", NULL);
	const char *idle = json_get_string(p, "idle_timeout", NULL);
	int64_t pids = json_get_int(p, "pids", s->pids_max);
	if (pids > UINT32_MAX)
		return err_set(e, EINVAL, "'pids' is too large");
	s->pids_max = (uint32_t)pids;
	int r = memory ? spec_parse_bytes(memory, &s->memory_bytes, e) : 0;
	if (!r && cpus)
		r = spec_parse_cpus(cpus, &s->cpus_milli, e);
	if (!r && timeout)
		r = spec_parse_duration(timeout, &s->timeout_ns, e);
	if (!r && idle)
		r = spec_parse_duration(idle, &s->idle_timeout_ns, e);
	return r;
}

static int take_net(const json_t *p, struct spec *s, struct err *e)
{
	const char *net = json_get_string(p, "net", spec_net_name(s->net));
	if (!strcmp(net, spec_net_name(NET_NONE)))
		s->net = NET_NONE;
	else if (!strcmp(net, spec_net_name(NET_HOST)))
		s->net = NET_HOST;
	else
		return err_set(e, EINVAL, "'%.40s' is no network: none or host", net);
	return 0;
}

static int take_spec(const json_t *p, struct spec *s, struct err *e)
{
	s->read_only = json_get_bool(p, "read_only", s->read_only);
	s->userns = json_get_bool(p, "userns", s->userns);
	s->die_with_parent = json_get_bool(p, "die_with_parent", false);
	int r = take_strings(p, s, e);
	if (!r)
		r = take_lists(p, s, e);
	if (!r)
		r = take_limits(p, s, e);
	return r ? r : take_net(p, s, e);
}

/* Options go over what the checkpoint's sandbox had; its base cannot change. */
static int take_from(struct request *rq, struct err *e)
{
	const char *from = json_get_string(rq->params, "from", NULL);
	if (!from)
		return 0;
	static const char *const of_base[] = { "rootfs", "userns" };
	for (size_t i = 0; i < sizeof(of_base) / sizeof(of_base[0]); i++)
		if (json_object_get(rq->params, of_base[i])) {
			err_set(e, EINVAL, "'from' and '%s' do not go together", of_base[i]);
			return err_remedy(e, "a checkpoint's files stay on their own base");
		}
	return box_from(rq->box, from, e);
}

static int claim(struct box *b, const char *name, struct err *e)
{
	char made[RUNTIME_NAME_BYTES], random[STORE_ID_BYTES];
	int r = name ? runtime_claim(b->runtime_fd, name, &b->place, e) : -EEXIST;
	for (int i = 0; !name && r == -EEXIST && i < NAME_TRIES; i++) {
		r = store_new_id(random, e);
		if (r)
			break;
		snprintf(made, sizeof(made), "sandbox-%.6s", random);
		r = runtime_claim(b->runtime_fd, made, &b->place, e);
	}
	if (r)
		return r;
	int log = openat(b->place.dir_fd, "log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (log >= 0) {
		dup2(log, STDERR_FILENO);
		close(log);
	}
	return spec_set_name(&b->spec, b->place.name, e);
}

static void owner_ready(struct loop_source *s, uint32_t events)
{
	box_end(loop_owner(s, struct box, owner_source));
}

static int watch_owner(struct request *rq, struct err *e)
{
	struct box *b = rq->box;
	if (!b->spec.die_with_parent)
		return 0;
	if (rq->fds[0] < 0)
		return err_set(e, EINVAL, "die_with_parent without a pidfd of the parent");
	b->owner_source = (struct loop_source){ .fd = take_fd(&rq->fds[0]), .ready = owner_ready };
	int r = loop_add(&b->loop, &b->owner_source, EPOLLIN);
	return r ? err_set(e, -r, "watch the parent process: %s", strerror(-r)) : 0;
}

static void lease_fire(struct loop_timer *t)
{
	box_end(loop_owner(t, struct box, lease));
}

static void idle_fire(struct loop_timer *t)
{
	struct box *b = loop_owner(t, struct box, idle_lease);
	uint64_t end = b->last_request_ns + b->spec.idle_timeout_ns;
	if (b->watchers)	/* somebody follows a command: not idle */
		b->last_request_ns = clock_now_ns();
	if (b->watchers || clock_now_ns() < end)
		loop_timer_set(&b->loop, t, b->last_request_ns + b->spec.idle_timeout_ns);
	else
		box_end(b);
}

static void start_leases(struct box *b)
{
	b->lease.fire = lease_fire;
	b->idle_lease.fire = idle_fire;
	if (b->spec.timeout_ns)
		loop_timer_set(&b->loop, &b->lease, clock_now_ns() + b->spec.timeout_ns);
	if (b->spec.idle_timeout_ns)
		loop_timer_set(&b->loop, &b->idle_lease, clock_now_ns() + b->spec.idle_timeout_ns);
}

/* What the user should know: of the base, and of limits asked for in vain. */
static char *notice_of(const struct box *b)
{
	const char *base = b->image.notice ? b->image.notice : "";
	const char *limits = limits_missing(b->engine.limits);
	bool asked = b->spec.memory_bytes || b->spec.cpus_milli || b->spec.pids_max;
	if (!asked || !*limits)
		return *base ? strdup(base) : NULL;
	char *both = NULL;
	if (asprintf(&both, "%s%s%s", base, *base ? "; " : "", limits) < 0)
		return NULL;
	return both;
}

int method_create(struct request *rq, json_t **result, struct err *e)
{
	struct box *b = rq->box;
	struct stage_times times = { 0 };
	int r = take_from(rq, e);
	if (!r)
		r = take_spec(rq->params, &b->spec, e);
	if (!r)
		r = spec_check(&b->spec, e);
	if (!r && b->spec.timeout_ns)
		b->expires_ns = b->created_ns + b->spec.timeout_ns;
	if (!r)
		r = claim(b, json_get_string(rq->params, "name", NULL), e);
	if (!r)
		r = box_create(b, &times, e);
	if (!r)
		r = box_listen(b, e);
	if (!r)
		r = watch_owner(rq, e);
	if (!r)
		r = box_write_info(b, e);
	if (r) {
		/* nothing of it stays, and the process ends after the answer */
		box_end(b);
		return r;
	}
	start_leases(b);
	scoped_free char *notice = notice_of(b);
	*result = json_pack("{s:s, s:s, s:o, s:o, s:s?}", "name", b->place.name, "id", b->id,
			    "total_ms", json_ms(times.total_ns), "stages", stages_json(&times),
			    "notice", notice);
	return 0;
}
