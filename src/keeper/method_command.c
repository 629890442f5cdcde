/* method_command.c - what can be done to a command by its handle. */
#include <errno.h>
#include <signal.h>

#include "keeper/dispatch.h"
#include "keeper/watch.h"

int method_wait(struct request *rq, json_t **result, struct err *e)
{
	struct command *c;
	int r = command_param(rq, &c, e);
	if (r)
		return r;
	struct watcher *w = watch_new(rq, c);
	if (!w)
		return err_set(e, ENOMEM, "no memory to follow the command");
	r = watch_start(w, e);
	return r ? r : HANDLER_LATER;
}

int method_kill(struct request *rq, json_t **result, struct err *e)
{
	struct command *c;
	int r = command_param(rq, &c, e);
	if (r)
		return r;
	int64_t signal = json_get_int(rq->params, "signal", SIGKILL);
	if (signal < 1 || signal > SIGRTMAX)
		return err_set(e, EINVAL, "%lld is not the number of a signal", (long long)signal);
	if (command_is_over(c))
		return err_set(e, ESRCH, "the command is over already");
	if (signal == SIGKILL)
		return command_kill(rq->box->commands, c, e);
	r = command_signal(rq->box->commands, c, (int)signal, true);
	return r ? err_set(e, -r, "send signal %d to the command: %s", (int)signal, err_name(-r)) :
		   0;
}

int method_resize(struct request *rq, json_t **result, struct err *e)
{
	struct command *c;
	int r = command_param(rq, &c, e);
	if (r)
		return r;
	int64_t rows = json_get_int(rq->params, "rows", 0);
	int64_t cols = json_get_int(rq->params, "cols", 0);
	if (rows < 1 || cols < 1 || rows > UINT16_MAX || cols > UINT16_MAX)
		return err_set(e, EINVAL, "a terminal cannot have %lld x %lld characters",
			       (long long)rows, (long long)cols);
	r = command_resize(c, (uint16_t)rows, (uint16_t)cols);
	return r ? err_set(e, -r, "set the size of the terminal: %s", err_name(-r)) : 0;
}

json_t *box_commands_json(struct box *b)
{
	json_t *all = json_array();
	vec_each(struct command *, c, commands_all(b->commands)) {
		if ((*c)->forgotten)
			continue;
		json_t *j = command_json(*c);
		json_t *argv = json_array();
		for (char **a = (*c)->argv; a && *a; a++)
			json_array_append_new(argv, json_text_z(*a));
		json_object_set_new(j, "argv", argv);
		json_object_set_new(j, "pid", json_integer((*c)->pid));
		json_array_append_new(all, j);
	}
	return all;
}

int method_commands(struct request *rq, json_t **result, struct err *e)
{
	*result = json_pack("{s:o}", "commands", box_commands_json(rq->box));
	return 0;
}
