#include "wire/methods.h"

#include <errno.h>
#include <string.h>

#define PARAMS(...) ((const struct method_value[]){ __VA_ARGS__ { .name = NULL } })

/* What the end of a command says; exec, attach and wait share it. */
#define COMMAND_END                                                                           \
	{ "handle", VALUE_STRING, true, "names the command in this sandbox and its forks" },  \
	{ "state", VALUE_STRING, true, "starting, running, exited, killed, failed, rolled_back or lost" },                    \
	{ "exit_code", VALUE_INT, false, "absent if a signal ended it or it still runs" },    \
	{ "signal", VALUE_INT, false, "the signal that ended it" },                           \
	{ "error", VALUE_OBJECT, false, "failed: why it never ran" },                         \
	{ "timed_out", VALUE_BOOL, true, "its timeout killed it" },                           \
	{ "oom_killed", VALUE_BOOL, true, "the memory limit killed it" },                     \
	{ "stdout_bytes", VALUE_INT, true, "bytes it wrote to standard output" },             \
	{ "stderr_bytes", VALUE_INT, true, "bytes it wrote to standard error" },              \
	{ "truncated", VALUE_BOOL, true, "a part of its output was not kept" },               \
	{ "duration_ms", VALUE_REAL, true, "from its start to its end, or until now" },

#define HANDLE_PARAM { "handle", VALUE_STRING, true, "of the command" },
#define STREAM_PARAM \
	{ "handle", VALUE_STRING, false, "default: what streams on this connection" },

const struct method methods_table[] = {
	{
		"create", "Make the sandbox of the keeper that was just started.", METHOD_SETUP,
		PARAMS(
			{ "name", VALUE_STRING, false, "default: one is made up" },
			{ "rootfs", VALUE_STRING, false,
			  "absolute path of the root directory; default: the host's system files" },
			{ "from", VALUE_STRING, false,
			  "NAME@CKPT or an id: begin with the files of that checkpoint, on its "
			  "base and with its sandbox's options; others go over these" },
			{ "volumes", VALUE_STRINGS, false, "SRC:DST[:ro|rw|cow]" },
			{ "tmpfs", VALUE_STRINGS, false, "directories of the sandbox" },
			{ "env", VALUE_STRINGS, false, "NAME=value, for its commands" },
			{ "workdir", VALUE_STRING, false, "where its commands start" },
			{ "user", VALUE_STRING, false, "whom its commands run as" },
			{ "hostname", VALUE_STRING, false, "default: its name" },
			{ "net", VALUE_STRING, false, "none (default) or host" },
			{ "read_only", VALUE_BOOL, false, "the root cannot be written" },
			{ "userns", VALUE_BOOL, false, "a user namespace for root, too" },
			{ "memory", VALUE_STRING, false, "limit, as 512m" },
			{ "pids", VALUE_INT, false, "limit on processes" },
			{ "cpus", VALUE_STRING, false, "limit on processor time, as 0.5" },
			{ "timeout", VALUE_STRING, false, "life of the sandbox, as 1h30m" },
			{ "idle_timeout", VALUE_STRING, false, "life without requests" },
			{ "labels", VALUE_STRINGS, false, "key=value, for the user's own use" },
			{ "die_with_parent", VALUE_BOOL, false,
			  "end with the process whose pidfd comes beside the request" },
		),
		PARAMS(
			{ "name", VALUE_STRING, true, "of the sandbox" },
			{ "id", VALUE_STRING, true, "never used again" },
			{ "total_ms", VALUE_REAL, true, "time it took" },
			{ "stages", VALUE_OBJECT, true, "milliseconds by stage" },
			{ "notice", VALUE_STRING, false, "what the user should know" },
		),
	},
	{
		"exec", "Run a command; its output comes as raw frames.", METHOD_STREAMS,
		PARAMS(
			{ "argv", VALUE_STRINGS, true, "program and arguments" },
			{ "cwd", VALUE_STRING, false, "directory to start in" },
			{ "env", VALUE_STRINGS, false,
			  "NAME=value, over the sandbox's environment" },
			{ "user", VALUE_STRING, false, "name or uid[:gid]" },
			{ "timeout_ms", VALUE_INT, false, "0: none; then it is killed whole" },
			{ "stdin", VALUE_BOOL, false, "stdin frames follow; else /dev/null" },
			{ "tty", VALUE_BOOL, false, "a terminal for all three" },
			{ "rows", VALUE_INT, false, "of the terminal" },
			{ "cols", VALUE_INT, false, "of the terminal" },
			{ "background", VALUE_BOOL, false, "answer as soon as it runs" },
		),
		PARAMS(COMMAND_END),
	},
	{
		"attach", "Output of a command so far, and until it ends.", METHOD_STREAMS,
		PARAMS(
			HANDLE_PARAM
			{ "follow", VALUE_BOOL, false, "until it ends (default true)" },
			{ "stdin", VALUE_BOOL, false, "stdin frames follow" },
		),
		PARAMS(COMMAND_END),
	},
	{
		"wait", "Answer when a command has ended.", 0,
		PARAMS(HANDLE_PARAM),
		PARAMS(COMMAND_END),
	},
	{
		"kill", "Send a signal to a command's process group.", 0,
		PARAMS(
			STREAM_PARAM
			{ "signal", VALUE_INT, false, "default 9: with all its descendants" },
		),
		PARAMS(),
	},
	{
		"resize", "Tell a command's terminal its size.", 0,
		PARAMS(
			STREAM_PARAM
			{ "rows", VALUE_INT, true, "" },
			{ "cols", VALUE_INT, true, "" },
		),
		PARAMS(),
	},
	{
		"commands", "All commands with a handle.", 0,
		PARAMS(),
		PARAMS({ "commands", VALUE_OBJECT, true, "array, as wait answers, with argv" },),
	},
	{
		"checkpoint", "Save files and processes at one instant.", 0,
		PARAMS(
			{ "tag", VALUE_STRING, false, "a name for it" },
			{ "sizes", VALUE_BOOL, false,
			  "say how large its layers are, which takes time afterwards" },
		),
		PARAMS(
			{ "id", VALUE_STRING, true, "of the checkpoint" },
			{ "tag", VALUE_STRING, false, "as given" },
			{ "parent", VALUE_STRING, true, "checkpoint before it" },
			{ "sandbox", VALUE_STRING, true, "name" },
			{ "total_ms", VALUE_REAL, true, "inside the keeper" },
			{ "frozen_ms", VALUE_REAL, true, "how long processes stood still" },
			{ "stages", VALUE_OBJECT, true, "milliseconds by stage" },
			{ "processes", VALUE_INT, true, "" },
			{ "threads", VALUE_INT, true, "" },
			{ "dirty_pages", VALUE_INT, true, "written since the parent" },
			{ "copied_bytes", VALUE_INT, true, "" },
			{ "layer_bytes", VALUE_INT, false, "on disk, with `sizes`" },
			{ "files_changed", VALUE_INT, false, "with `sizes`" },
			{ "mode", VALUE_STRING, true, "full or incremental" },
		),
	},
	{
		"rollback", "Go back to a checkpoint, files and processes.", 0,
		PARAMS(
			{ "checkpoint", VALUE_STRING, false,
			  "id or tag; default: the newest ancestor of now" },
			{ "files", VALUE_BOOL, false,
			  "its files alone, with no processes: a new checkpoint below it" },
		),
		PARAMS(
			{ "id", VALUE_STRING, true, "now stands there" },
			{ "files_of", VALUE_STRING, false, "with `files`: as asked for" },
			{ "total_ms", VALUE_REAL, true, "inside the keeper" },
			{ "hot", VALUE_BOOL, true, "a standby was ready" },
			{ "stages", VALUE_OBJECT, true, "milliseconds by stage" },
			{ "processes", VALUE_INT, true, "" },
		),
	},
	{
		"reset", "Files and processes as created.", 0,
		PARAMS(),
		PARAMS(
			{ "id", VALUE_STRING, true, "the first checkpoint" },
			{ "total_ms", VALUE_REAL, true, "inside the keeper" },
			{ "hot", VALUE_BOOL, true, "a standby was ready" },
			{ "stages", VALUE_OBJECT, true, "milliseconds by stage" },
			{ "processes", VALUE_INT, true, "" },
		),
	},
	{
		"fork", "New sandboxes from a checkpoint, or from now.", 0,
		PARAMS(
			{ "n", VALUE_INT, false, "how many, default 1" },
			{ "checkpoint", VALUE_STRING, false, "id or tag; default: now" },
			{ "names", VALUE_STRINGS, false, "default: made from this one's" },
		),
		PARAMS(
			{ "names", VALUE_STRINGS, true, "" },
			{ "total_ms", VALUE_REAL, true, "until the last one was ready" },
			{ "per_fork_ms", VALUE_OBJECT, true, "each from the request to ready" },
			{ "checkpoint", VALUE_STRING, true, "id of their common past" },
		),
	},
	{
		"tree", "The checkpoint tree.", METHOD_BROKEN_OK,
		PARAMS(),
		PARAMS(
			{ "nodes", VALUE_OBJECT, true,
			  "array of {id, tag, parent, created_ns, bytes_private, bytes_shared, "
			  "processes, label}" },
			{ "head", VALUE_STRING, true, "parent of now" },
		),
	},
	{
		"diff", "What changed between two checkpoints, or until now.", 0,
		PARAMS(
			{ "a", VALUE_STRING, false, "default: the newest ancestor of now" },
			{ "b", VALUE_STRING, false, "default: now" },
		),
		PARAMS(
			{ "files", VALUE_OBJECT, true, "array of {path, change: A|M|D|T, size, mode}" },
			{ "processes", VALUE_OBJECT, true, "array of {pid, comm, change}" },
		),
	},
	{
		"delete_checkpoint", "Forget one checkpoint; its children stay.", 0,
		PARAMS({ "checkpoint", VALUE_STRING, true, "id or tag" },),
		PARAMS({ "id", VALUE_STRING, true, "" },),
	},
	{
		"info", "The line that `ps` prints.", METHOD_BROKEN_OK,
		PARAMS(),
		PARAMS(
			{ "name", VALUE_STRING, true, "" },
			{ "id", VALUE_STRING, true, "" },
			{ "base", VALUE_STRING, true, "host or a path" },
			{ "state", VALUE_STRING, true, "starting, running, stopped, broken, ending" },
			{ "pid", VALUE_INT, true, "of its PID 1 outside, 0 if there is none" },
			{ "keeper_pid", VALUE_INT, true, "" },
			{ "created_ns", VALUE_INT, true, "since 1970" },
			{ "idle_ms", VALUE_INT, true, "since the last request" },
			{ "memory_bytes", VALUE_INT, true, "resident, of its processes" },
			{ "processes", VALUE_INT, true, "" },
			{ "head", VALUE_STRING, true, "checkpoint that now descends from" },
			{ "labels", VALUE_OBJECT, true, "" },
		),
	},
	{
		"inspect", "All that the keeper knows of the sandbox.", METHOD_BROKEN_OK,
		PARAMS(),
		PARAMS(
			{ "info", VALUE_OBJECT, true, "as info answers" },
			{ "spec", VALUE_OBJECT, true, "as it was created" },
			{ "checkpoints", VALUE_OBJECT, true, "as tree answers" },
			{ "commands", VALUE_OBJECT, true, "as commands answers" },
			{ "error", VALUE_OBJECT, false, "why it is broken or stopped" },
		),
	},
	{
		"copy_out", "A file or directory of the sandbox as a tar stream.", METHOD_STREAMS,
		PARAMS({ "path", VALUE_STRING, true, "absolute, in the sandbox" },),
		PARAMS(
			{ "files", VALUE_INT, true, "" },
			{ "bytes", VALUE_INT, true, "of contents" },
			{ "skipped", VALUE_INT, true, "sockets, devices and the like" },
		),
	},
	{
		"copy_in", "Unpack a tar stream in the sandbox.", METHOD_STREAMS,
		PARAMS(
			{ "path", VALUE_STRING, true, "absolute, in the sandbox" },
			{ "name", VALUE_STRING, false,
			  "what the stream's first entry is called if path is no directory" },
		),
		PARAMS(
			{ "files", VALUE_INT, true, "" },
			{ "bytes", VALUE_INT, true, "of contents" },
			{ "skipped", VALUE_INT, true, "" },
		),
	},
	{
		"shutdown", "End the sandbox and remove all of it.", METHOD_BROKEN_OK,
		PARAMS(),
		PARAMS(),
	},
};

const size_t methods_count = sizeof(methods_table) / sizeof(methods_table[0]);

const struct method *methods_find(const char *name)
{
	for (size_t i = 0; i < methods_count; i++)
		if (!strcmp(methods_table[i].name, name))
			return &methods_table[i];
	return NULL;
}

static bool all_strings(const json_t *j)
{
	if (json_is_array(j)) {
		size_t i;
		json_t *v;
		json_array_foreach(j, i, v)
			if (!json_is_string(v))
				return false;
		return true;
	}
	const char *key;
	json_t *v;
	json_object_foreach((json_t *)j, key, v)
		if (!json_is_string(v))
			return false;
	return true;
}

static bool value_fits(enum value_type type, const json_t *j)
{
	switch (type) {
	case VALUE_STRING:
		return json_is_string(j);
	case VALUE_INT:
		return json_is_integer(j) && json_integer_value(j) >= 0;
	case VALUE_BOOL:
		return json_is_boolean(j);
	case VALUE_STRINGS:
		return json_is_array(j) && all_strings(j);
	case VALUE_MAP:
		return json_is_object(j) && all_strings(j);
	case VALUE_OBJECT:
		return json_is_object(j) || json_is_array(j);
	case VALUE_REAL:
		return json_is_number(j) && json_number_value(j) >= 0;
	}
	return false;
}

static const char *value_words(enum value_type type)
{
	static const char *const words[] = {
		[VALUE_STRING] = "a string",
		[VALUE_INT] = "a whole number, not negative",
		[VALUE_BOOL] = "true or false",
		[VALUE_STRINGS] = "an array of strings",
		[VALUE_MAP] = "an object of strings",
		[VALUE_OBJECT] = "an object",
		[VALUE_REAL] = "a number, not negative",
	};
	return words[type];
}

static const struct method_value *value_find(const struct method_value *v, const char *name)
{
	for (; v->name; v++)
		if (!strcmp(v->name, name))
			return v;
	return NULL;
}

int method_check(const struct method *m, const json_t *params, struct err *e)
{
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)params, key, value) {
		const struct method_value *v = value_find(m->params, key);
		if (!v)
			return err_set(e, EINVAL, "'%s' has no parameter '%.80s'", m->name, key);
		if (!value_fits(v->type, value))
			return err_set(e, EINVAL, "parameter '%s' of '%s' must be %s", key, m->name,
				       value_words(v->type));
	}
	for (const struct method_value *v = m->params; v->name; v++)
		if (v->required && !json_object_get(params, v->name))
			return err_set(e, EINVAL, "'%s' needs the parameter '%s'", m->name, v->name);
	return 0;
}

static json_t *values_describe(const struct method_value *v)
{
	static const char *const types[] = {
		[VALUE_STRING] = "string",   [VALUE_INT] = "int",	[VALUE_BOOL] = "bool",
		[VALUE_STRINGS] = "strings", [VALUE_MAP] = "map",	[VALUE_OBJECT] = "object",
		[VALUE_REAL] = "real",
	};
	json_t *all = json_array();
	for (; v->name; v++)
		json_array_append_new(all, json_pack("{s:s, s:s, s:b, s:s}", "name", v->name, "type",
						     types[v->type], "required", v->required,
						     "help", v->help));
	return all;
}

json_t *methods_describe(void)
{
	json_t *all = json_array();
	for (size_t i = 0; i < methods_count; i++) {
		const struct method *m = &methods_table[i];
		json_array_append_new(
			all, json_pack("{s:s, s:s, s:b, s:o, s:o}", "name", m->name, "help", m->help,
				       "streams", (m->flags & METHOD_STREAMS) != 0, "params",
				       values_describe(m->params), "result",
				       values_describe(m->result)));
	}
	return all;
}
