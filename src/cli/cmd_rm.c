/* cmd_rm.c - remove sandboxes and checkpoints, and (gc) what the dead left. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/start.h"
#include "wire/runtime.h"

enum { KEY_ALL = 0x1000 };

/* A keeper that ends may take so long, on a disk that is busy. */
#define ENDING_MAX_NS 10000000000ull
enum { ENDING_POLL_MS = 10 };

/*
 * Have the keeper program clean the state directory: it knows its ids. It also
 * deletes the dead sandboxes and checkpoints that are named (--all: all).
 */
static int clean_state(const struct cli_args *args, const struct vec *dead)
{
	struct err e = ERR_INIT;
	struct vec argv = VEC_INIT(char *);
	size_t n = dead ? dead->n : 0;
	if (vec_reserve(&argv, n + 3)) {
		err_set(&e, ENOMEM, "no memory");
		return cli_fail(args, &e);
	}
	*(char **)vec_add(&argv) = "mulligan-keeper";
	*(char **)vec_add(&argv) = args->json ? "--gc-json" : "--gc";
	for (size_t i = 0; i < n; i++)
		*(char **)vec_add(&argv) = *(char **)vec_at(dead, i);
	*(char **)vec_add(&argv) = NULL;
	int code = start_tool(argv.data, &e);
	vec_deinit(&argv);
	if (code < 0)
		return cli_fail(args, &e);
	return code ? CLI_FAILED : CLI_OK;
}

static int shut_down(const char *name, struct err *e)
{
	struct client c;
	scoped_json json_t *result = NULL;
	int r = client_open(&c, name, e);
	if (!r)
		r = client_call(&c, "shutdown", NULL, &result, e);
	client_deinit(&c);
	return r;
}

/* 1: it is dead, or not known here; the rest is for gc. */
static int remove_sandbox(int runtime_fd, const char *name, struct err *e)
{
	uint64_t end_ns = clock_now_ns() + ENDING_MAX_NS;
	struct runtime_entry entry;
	for (;;) {
		struct err sought = ERR_INIT;
		int r = runtime_find(runtime_fd, name, &entry, &sought);
		if (r && r != -ENOENT)
			*e = sought;
		if (r)
			return r == -ENOENT ? 1 : r;
		if (!entry.alive)
			return 1;
		r = shut_down(name, e);
		/* a killed keeper lets go of its locks once its mounts are gone */
		bool ending = r == -ECONNREFUSED || r == -ECONNRESET;
		if (!ending || clock_now_ns() > end_ns)
			return r;
		poll(NULL, 0, ENDING_POLL_MS);
	}
}

static int remove_checkpoint(const struct cli_args *args, const char *name, const char *checkpoint)
{
	scoped_json json_t *params = json_object();
	scoped_json json_t *result = NULL;
	cli_set(params, "checkpoint", checkpoint);
	return cli_call(args, name, "delete_checkpoint", params, &result);
}

static int add_dead(struct vec *dead, char *name)
{
	char **slot = vec_add(dead);
	if (slot)
		*slot = name;
	return slot ? CLI_OK : CLI_FAILED;
}

/* Does anything lie there of sandboxes that are dead? */
static bool any_kept(void)
{
	struct err ignored = ERR_INIT;
	json_t *lost = NULL;
	/* gc says what is wrong */
	if (start_lost(NULL, &lost, &ignored))
		return true;
	bool any = json_array_size(json_object_get(lost, "sandboxes")) > 0;
	json_decref(lost);
	return any;
}

static int remove_all(const struct cli_args *args, int runtime_fd, struct vec *dead)
{
	struct vec entries;
	struct err e = ERR_INIT;
	int code = CLI_OK;
	bool any = false;
	if (runtime_list(runtime_fd, &entries, &e))
		return cli_fail(args, &e);
	vec_each(struct runtime_entry, entry, &entries) {
		int r = remove_sandbox(runtime_fd, entry->name, &e);
		if (r < 0)
			code = cli_fail(args, &e);
		any |= r == 1;
	}
	vec_deinit(&entries);
	if (any || any_kept())
		code |= add_dead(dead, "--all");
	return code;
}

/* NAME or NAME@CKPT, of the living or of the dead. */
static int remove_one(const struct cli_args *args, int runtime_fd, char *arg, struct vec *dead)
{
	struct err e = ERR_INIT;
	struct runtime_entry entry;
	scoped_free char *name = strdup(arg);
	char *checkpoint = name ? cli_split_checkpoint(name) : NULL;
	if (!name || (!checkpoint && runtime_check_name(name, &e)))
		return cli_fail(args, &e);
	if (!checkpoint) {
		int r = remove_sandbox(runtime_fd, name, &e);
		return r < 0 ? cli_fail(args, &e) : r ? add_dead(dead, arg) : CLI_OK;
	}
	if (!runtime_find(runtime_fd, name, &entry, &e) && entry.alive)
		return remove_checkpoint(args, name, checkpoint) ? CLI_FAILED : CLI_OK;
	return add_dead(dead, arg);
}

static int option(int key, char *value, struct argp_state *state, void *ctx)
{
	if (key != KEY_ALL)
		return ARGP_ERR_UNKNOWN;
	*(bool *)ctx = true;
	return 0;
}

static int run_rm(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "all", KEY_ALL, NULL, 0, "Remove all sandboxes of this user", 0 },
		{ 0 },
	};
	bool all = false;
	struct vec dead = VEC_INIT(char *);
	struct cli_args args = { .max = -1, .option = option, .ctx = &all };
	cli_parse(&args, options, "NAME...\nNAME@CKPT...\n--all",
		  "Remove sandboxes with all their checkpoints, or single checkpoints; of dead "
		  "sandboxes, too.",
		  argc, argv);
	struct err e = ERR_INIT;
	if (all == (args.n > 0)) {
		fprintf(stderr, "mulligan: rm takes names, or --all\n");
		return CLI_USAGE;
	}
	scoped_fd int fd = runtime_open(&e);
	if (fd < 0)
		return cli_fail(&args, &e);
	int code = all ? remove_all(&args, fd, &dead) : CLI_OK;
	for (int i = 0; i < args.n; i++)
		code |= remove_one(&args, fd, args.arg[i], &dead);
	if (dead.n)
		code |= clean_state(&args, &dead);
	vec_deinit(&dead);
	return code;
}

static int run_gc(int argc, char **argv)
{
	struct cli_args args = { .max = 0 };
	cli_parse(&args, NULL, "",
		  "Remove what dead keepers left: directories, cgroups, layers that no checkpoint "
		  "has. The files of checkpoints stay until `mulligan rm` deletes them.",
		  argc, argv);
	return clean_state(&args, NULL);
}

const struct cli_command cmd_rm = { "rm", "NAME.. | NAME@CKPT | --all", "remove it, or a checkpoint",
				    run_rm };
const struct cli_command cmd_gc = { "gc", "", "remove what a crash left", run_gc };
