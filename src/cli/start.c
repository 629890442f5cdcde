#include "cli/start.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "sys/proc.h"
#include "sys/stream.h"
#include "wire/errjson.h"
#include "wire/rpc.h"

enum start_key {
	KEY_HOST = 0x1000,
	KEY_ROOTFS,
	KEY_WORKDIR,
	KEY_HOSTNAME,
	KEY_READ_ONLY,
	KEY_TMPFS,
	KEY_MEMORY,
	KEY_CPUS,
	KEY_PIDS,
	KEY_NET,
	KEY_TIMEOUT,
	KEY_IDLE_TIMEOUT,
	KEY_LABEL,
	KEY_USERNS,
	KEY_DIE,
	KEY_FROM,
};

const struct argp_option start_options[] = {
	{ "host", KEY_HOST, NULL, 0, "Base: this machine's system files (default)", 0 },
	{ "rootfs", KEY_ROOTFS, "DIR", 0, "Base: a root directory", 0 },
	{ "from", KEY_FROM, "NAME@CKPT", 0,
	  "Begin with the files of a checkpoint, of a dead sandbox too; with its base and options", 0 },
	{ "volume", 'v', "SRC:DST[:ro|rw|cow]", 0,
	  "Show a host directory inside; cow is rolled back with the sandbox, rw is not", 0 },
	{ "tmpfs", KEY_TMPFS, "DIR", 0, "A directory in memory", 0 },
	{ "env", 'e', "NAME=VALUE", 0, "Set a variable for its commands", 0 },
	{ "workdir", KEY_WORKDIR, "DIR", 0, "Where its commands start", 0 },
	{ "user", 'u', "USER", 0, "Whom its commands run as", 0 },
	{ "hostname", KEY_HOSTNAME, "NAME", 0, "Its host name", 0 },
	{ "read-only", KEY_READ_ONLY, NULL, 0, "The root cannot be written", 0 },
	{ "memory", KEY_MEMORY, "BYTES", 0, "Limit on memory, as 512m", 0 },
	{ "cpus", KEY_CPUS, "N", 0, "Limit on processor time, as 0.5", 0 },
	{ "pids", KEY_PIDS, "N", 0, "Limit on processes", 0 },
	{ "net", KEY_NET, "none|host", 0, "Network: none (default) or the host's", 0 },
	{ "timeout", KEY_TIMEOUT, "DURATION", 0, "Remove it after this time", 0 },
	{ "idle-timeout", KEY_IDLE_TIMEOUT, "DURATION", 0,
	  "Remove it after this time without requests", 0 },
	{ "label", KEY_LABEL, "KEY=VALUE", 0, "A word of your own", 0 },
	{ "userns", KEY_USERNS, NULL, 0, "A user namespace even for root", 0 },
	{ "die-with-parent", KEY_DIE, NULL, 0, "Remove it when the caller ends", 0 },
	{ 0 },
};

/* Keys whose value is one string parameter. */
static const struct {
	int key;
	const char *param;
} start_strings[] = {
	{ KEY_WORKDIR, "workdir" }, { 'u', "user" },	       { KEY_HOSTNAME, "hostname" },
	{ KEY_MEMORY, "memory" },   { KEY_CPUS, "cpus" },      { KEY_NET, "net" },
	{ KEY_TIMEOUT, "timeout" }, { KEY_IDLE_TIMEOUT, "idle_timeout" },
	{ KEY_FROM, "from" },
};

/* Keys whose values make an array of strings. */
static const struct {
	int key;
	const char *param;
} start_lists[] = {
	{ KEY_TMPFS, "tmpfs" },
	{ 'e', "env" },
	{ KEY_LABEL, "labels" },
};

/* A path of this process as the keeper, whose directory is /, has to know it. */
static char *absolute(const char *path)
{
	char *out = NULL;
	/* no path at all, or a volume without one: the keeper says so */
	bool none = !path[0] || path[0] == ':';
	scoped_free char *cwd = path[0] == '/' || none ? NULL : getcwd(NULL, 0);
	if (!cwd)
		return strdup(path);
	return asprintf(&out, "%s/%s", cwd, path) < 0 ? NULL : out;
}

int start_option(int key, char *value, struct argp_state *state, struct start_options *o)
{
	for (size_t i = 0; i < sizeof(start_strings) / sizeof(start_strings[0]); i++)
		if (start_strings[i].key == key)
			return cli_set(o->params, start_strings[i].param, value);
	for (size_t i = 0; i < sizeof(start_lists) / sizeof(start_lists[0]); i++)
		if (start_lists[i].key == key) {
			cli_append(o->params, start_lists[i].param, value);
			return 0;
		}
	scoped_free char *path = key == KEY_ROOTFS || key == 'v' ? absolute(value) : NULL;
	switch (key) {
	case KEY_HOST:
		return json_object_del(o->params, "rootfs"), 0;
	case KEY_ROOTFS:
		return cli_set(o->params, "rootfs", path);
	case 'v':
		cli_append(o->params, "volumes", path);
		return 0;
	case KEY_READ_ONLY:
		return json_object_set_new(o->params, "read_only", json_true());
	case KEY_USERNS:
		return json_object_set_new(o->params, "userns", json_true());
	case KEY_PIDS:
		return json_object_set_new(o->params, "pids",
					   json_integer(cli_number(state, "--pids", value, 1)));
	case KEY_DIE:
		o->die_with_parent = true;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

/* The keeper: $MULLIGAN_KEEPER, or mulligan-keeper beside this program. */
static int keeper_path(char out[PATH_MAX], struct err *e)
{
	const char *given = getenv("MULLIGAN_KEEPER");
	if (given && given[0]) {
		snprintf(out, PATH_MAX, "%s", given);
	} else {
		ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
		if (n < 0)
			return err_set(e, errno, "find this program: %s", strerror(errno));
		out[n] = '\0';
		char *slash = strrchr(out, '/');
		size_t left = (size_t)(out + PATH_MAX - slash - 1);
		if ((size_t)snprintf(slash + 1, left, "mulligan-keeper") >= left)
			return err_set(e, ENAMETOOLONG, "the path of this program is too long");
	}
	if (!access(out, X_OK))
		return 0;
	err_set(e, errno, "the keeper %s cannot be run: %s", out, strerror(errno));
	return err_remedy(e, "install mulligan-keeper beside mulligan, or set MULLIGAN_KEEPER");
}

/* fork and exec; fd becomes descriptor `as` of it, -1: none. pid or -errno. */
static pid_t keeper_spawn(char *const argv[], int fd, int as, struct err *e)
{
	char path[PATH_MAX];
	int r = keeper_path(path, e);
	if (r)
		return r;
	pid_t pid = fork();
	if (pid < 0)
		return err_set(e, errno, "start the keeper: %s", strerror(errno));
	if (pid)
		return pid;
	/* dup2 to itself would leave it close-on-exec */
	int moved = fd >= 0 ? fcntl(fd, F_DUPFD, 4) : -1;
	if (moved >= 0)
		dup2(moved, as);
	if (moved >= 0)
		close(moved);
	signal(SIGPIPE, SIG_DFL);
	execv(path, argv);
	_exit(CLI_NO_PROGRAM);
}

static int keeper_reap(pid_t pid)
{
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : CLI_SIGNAL + WTERMSIG(status);
}

/* Send `create` with the owner's pidfd and wait for the answer. */
static int keeper_create(struct client *c, json_t *params, int owner_pidfd, json_t **result,
			 struct err *e)
{
	int id = client_send(c, "create", params, &owner_pidfd, owner_pidfd >= 0, e);
	if (id < 0)
		return id;
	struct frame f;
	int r = client_next(c, &f, e);
	if (r < 0)
		return r;
	frame_close_fds(&f);
	int64_t replied;
	r = rpc_reply_parse(&f, &replied, result, e);
	if (!r)
		snprintf(c->name, sizeof(c->name), "%s", json_get_string(*result, "name", ""));
	return r;
}

int start_keeper(json_t *params, pid_t owner, struct client *c, json_t **result, struct err *e)
{
	scoped_fd int owner_pidfd = -1;
	if (owner) {
		owner_pidfd = sys_pidfd_open(owner);
		if (owner_pidfd < 0)
			return err_set(e, -owner_pidfd, "watch the parent process: %s",
				       strerror(-owner_pidfd));
		json_object_set_new(params, "die_with_parent", json_true());
	}
	int pair[2];
	int r = sys_stream_pair(pair);
	if (r)
		return err_set(e, -r, "make a socket for the keeper: %s", strerror(-r));
	client_init(c, pair[0], json_get_string(params, "name", "new"));
	char *argv[] = { "mulligan-keeper", "--fd", "3", NULL };
	pid_t pid = keeper_spawn(argv, pair[1], 3, e);
	close(pair[1]);
	if (pid < 0)
		return pid;
	/* it puts itself into the background at once */
	int status = keeper_reap(pid);
	if (status) {
		err_set(e, EIO, "the keeper could not be started (exit code %d)", status);
		return err_remedy(e, "run `mulligan-keeper --version`");
	}
	return keeper_create(c, params, owner_pidfd, result, e);
}

int start_tool(char *const argv[], struct err *e)
{
	pid_t pid = keeper_spawn(argv, -1, -1, e);
	if (pid < 0)
		return pid;
	fflush(stdout);
	return keeper_reap(pid);
}

/* The standard output of the keeper program as JSON. */
static int tool_json(char *const argv[], json_t **out, struct err *e)
{
	int pair[2];
	if (pipe2(pair, O_CLOEXEC))
		return err_set(e, errno, "make a pipe: %s", strerror(errno));
	pid_t pid = keeper_spawn(argv, pair[1], STDOUT_FILENO, e);
	close(pair[1]);
	scoped_fd int from = pair[0];
	if (pid < 0)
		return pid;
	FILE *said = fdopen(from, "r");
	*out = said ? json_loadf(said, 0, NULL) : NULL;
	if (said) {
		fclose(said);
		from = -1;
	}
	int status = keeper_reap(pid);
	if (*out)
		return 0;
	return err_set(e, EIO, "the keeper program says nothing (exit code %d)", status);
}

int start_lost(const char *name, json_t **out, struct err *e)
{
	char *argv[] = { "mulligan-keeper", "--lost", (char *)name, NULL };
	json_t *said = NULL;
	int r = tool_json(argv, &said, e);
	if (r)
		return r;
	const json_t *error = json_object_get(said, "error");
	/* a dead sandbox has an error, too: what it died of */
	if (!error || json_object_get(said, "info")) {
		*out = said;
		return 0;
	}
	r = err_from_json(e, error);
	json_decref(said);
	return r;
}

int start_call(const struct cli_args *args, const char *name, const char *method, json_t *params,
	       json_t **result, json_t **dead)
{
	struct client c;
	struct err e = ERR_INIT, ignored = ERR_INIT;
	int r = client_open(&c, name, &e);
	bool gone = r == -ENOENT || r == -ECONNREFUSED;
	if (!r)
		r = client_call(&c, method, params, result, &e);
	client_deinit(&c);
	if (gone && !start_lost(name, dead, &ignored))
		return 0;
	return r ? cli_fail(args, &e) : 0;
}
