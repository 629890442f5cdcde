#include "keeper/dispatch.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "keeper/faults.h"

static const struct {
	const char *method;
	handler_fn *run;
} handler_table[] = {
	{ "create", method_create },
	{ "exec", method_exec },
	{ "attach", method_attach },
	{ "wait", method_wait },
	{ "kill", method_kill },
	{ "resize", method_resize },
	{ "commands", method_commands },
	{ "checkpoint", method_checkpoint },
	{ "rollback", method_rollback },
	{ "reset", method_reset },
	{ "fork", method_fork },
	{ "tree", method_tree },
	{ "diff", method_diff },
	{ "delete_checkpoint", method_delete_checkpoint },
	{ "info", method_info },
	{ "inspect", method_inspect },
	{ "copy_out", method_copy_out },
	{ "copy_in", method_copy_in },
	{ "shutdown", method_shutdown },
};

static handler_fn *handler_find(const char *method)
{
	for (size_t i = 0; i < sizeof(handler_table) / sizeof(handler_table[0]); i++)
		if (!strcmp(handler_table[i].method, method))
			return handler_table[i].run;
	return NULL;
}

/* May this method be served in the present state? */
static int check_state(const struct box *b, const struct method *m, struct err *e)
{
	bool setup = m->flags & METHOD_SETUP;
	if (setup != (b->state == BOX_STARTING))
		return setup ? err_set(e, EALREADY, "this keeper has a sandbox already") :
			       err_set(e, EAGAIN, "the sandbox is still being created");
	if (b->state == BOX_ENDING)
		return err_set(e, ESHUTDOWN, "the sandbox is being removed");
	if (b->state != BOX_BROKEN || (m->flags & METHOD_BROKEN_OK))
		return 0;
	if (e)
		*e = b->error;
	err_wrap(e, "the sandbox is broken");
	return err_remedy(e, "only `mulligan inspect` and `mulligan rm` work on it now");
}

void dispatch(struct request *rq)
{
	struct box *b = rq->box;
	struct err e = ERR_INIT;
	scoped_json json_t *result = NULL;
	handler_fn *run = handler_find(rq->method->name);
	assert(run);
	if (rq->arrived_ns > b->last_request_ns)
		b->last_request_ns = rq->arrived_ns;
	int r = check_state(b, rq->method, &e);
	if (!r)
		r = method_check(rq->method, rq->params, &e);
	if (!r && b->quiet && !(rq->method->flags & METHOD_BROKEN_OK)) {
		b->quiet = false;
		loop_idle(&b->loop, &b->background);
	}
	if (!r) {
		faults_begin(rq->method->name);
		r = run(rq, &result, &e);
	}
	if (r < 0)
		request_fail(rq, &e);
	else if (r == 0)
		request_reply(rq, result ? take_ptr(result) : json_object());
	box_check(b);
}
