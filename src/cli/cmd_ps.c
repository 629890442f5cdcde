/* cmd_ps.c - all sandboxes of this user. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/start.h"
#include "wire/runtime.h"

/* What a keeper says of itself, or what it left behind. New reference. */
static json_t *ask(int runtime_fd, const struct runtime_entry *entry)
{
	struct client c;
	struct err e = ERR_INIT;
	json_t *info = NULL;
	if (entry->alive) {
		int r = client_open(&c, entry->name, &e);
		if (!r)
			r = client_call(&c, "info", NULL, &info, &e);
		client_deinit(&c);
		if (!r)
			return info;
		/* it may have ended just now: then there is nothing to list */
		if (e.code == ENOENT)
			return NULL;
	}
	info = runtime_info(runtime_fd, entry->name);
	if (!info)
		info = json_pack("{s:s}", "name", entry->name);
	if (!info)
		return NULL;
	/* a keeper that is being created answers EAGAIN */
	bool starting = entry->alive && e.code == EAGAIN;
	json_object_set_new(info, "state",
			    json_string(starting ? "starting" : entry->alive ? "silent" : "dead"));
	return info;
}

static void print_line(const json_t *j)
{
	printf("%-20s %-9s %7lld %5lld %9.1f  %-14s ", json_get_string(j, "name", ""),
	       json_get_string(j, "state", ""), (long long)json_get_int(j, "pid", 0),
	       (long long)json_get_int(j, "processes", 0),
	       (double)json_get_int(j, "memory_bytes", 0) / 1e6, json_get_string(j, "head", "-"));
	cli_print_text(json_get_string(j, "base", "-"));
	putchar('\n');
}

/* The dead of which files are kept; never fails: what lives is more important. */
static json_t *ask_lost(void)
{
	json_t *all = NULL;
	struct err ignored = ERR_INIT;
	return start_lost(NULL, &all, &ignored) ? NULL : all;
}

static bool is_among(const json_t *lost, const char *key, const char *value)
{
	size_t i;
	json_t *info;
	json_array_foreach((json_t *)lost, i, info)
		if (!strcmp(json_get_string(info, key, ""), value))
			return true;
	return false;
}

/*
 * Is it in the list of the dead? A killed keeper that lets go of its mounts
 * may have lost its record, and not yet the lock of its entry. A living one of
 * another state directory may have the name of a dead one.
 */
static bool is_told_below(const json_t *lost, const struct runtime_entry *entry,
			  const json_t *info)
{
	return entry->alive ? is_among(lost, "id", json_get_string(info, "id", "-")) :
			      is_among(lost, "name", entry->name);
}

static void print(const struct cli_args *args, const json_t *info)
{
	if (info && args->json)
		cli_print_json(info);
	else if (info)
		print_line(info);
}

static int run(int argc, char **argv)
{
	struct cli_args args = { .max = 0 };
	cli_parse(&args, NULL, "", "All sandboxes of this user.", argc, argv);
	struct err e = ERR_INIT;
	scoped_fd int fd = runtime_open(&e);
	struct vec entries;
	if (fd < 0 || runtime_list(fd, &entries, &e))
		return cli_fail(&args, &e);
	if (!args.json)
		printf("%-20s %-9s %7s %5s %9s  %-14s %s\n", "NAME", "STATE", "PID", "PROCS",
		       "MEMORY MB", "HEAD", "BASE");
	scoped_json json_t *all = ask_lost();
	const json_t *lost = json_object_get(all, "sandboxes");
	vec_each(struct runtime_entry, entry, &entries) {
		scoped_json json_t *info = ask(fd, entry);
		if (!is_told_below(lost, entry, info))
			print(&args, info);
	}
	size_t i;
	json_t *info;
	json_array_foreach((json_t *)lost, i, info)
		print(&args, info);
	vec_deinit(&entries);
	return CLI_OK;
}

const struct cli_command cmd_ps = { "ps", "", "all sandboxes", run };
