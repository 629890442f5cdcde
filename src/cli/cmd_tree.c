/* cmd_tree.c - the checkpoint tree with "now" marked. */
#include <stdio.h>
#include <string.h>

#include "cli/start.h"

struct picture {
	json_t *nodes;
	const char *head;
};

static void print_node(const struct picture *p, const char *prefix, const char *branch,
		       const json_t *node)
{
	const char *tag = json_get_string(node, "tag", NULL);
	const char *label = json_get_string(node, "label", NULL);
	printf("%s%s%s", prefix, branch, json_get_string(node, "id", ""));
	if (tag) {
		printf(" [");
		cli_print_text(tag);
		printf("]");
	}
	if (label)
		printf(" (%s)", label);
	printf("  processes %lld  own %.1f MB\n", (long long)json_get_int(node, "processes", 0),
	       (double)json_get_int(node, "bytes_private", 0) / 1e6);
}

static bool is_child(const json_t *node, const char *parent)
{
	const char *of = json_get_string(node, "parent", NULL);
	return parent ? of && !strcmp(of, parent) : !of;
}

/* Children of a node, and "now" below the head; depth is that of the tree. */
static void print_children(const struct picture *p, const char *parent, const char *prefix)
{
	size_t i;
	json_t *node;
	size_t left = parent && p->head && !strcmp(parent, p->head);
	json_array_foreach(p->nodes, i, node)
		left += is_child(node, parent);
	json_array_foreach(p->nodes, i, node) {
		if (!is_child(node, parent))
			continue;
		left--;
		scoped_free char *below = NULL;
		print_node(p, prefix, parent ? left ? "|- " : "`- " : "", node);
		if (asprintf(&below, "%s%s", prefix, parent ? left ? "|  " : "   " : "") < 0)
			return;
		print_children(p, json_get_string(node, "id", ""), below);
	}
	if (left)
		printf("%s`- now\n", prefix);
}

static int run(int argc, char **argv)
{
	struct cli_args args = { .min = 1, .max = 1 };
	cli_parse(&args, NULL, "NAME", "The checkpoint tree of a sandbox.", argc, argv);
	scoped_json json_t *result = NULL, *dead = NULL;
	int code = start_call(&args, args.arg[0], "tree", NULL, &result, &dead);
	if (code)
		return code;
	if (dead)
		result = json_incref(json_object_get(dead, "checkpoints"));
	if (args.json) {
		cli_print_json(result);
		return CLI_OK;
	}
	struct picture p = { json_object_get(result, "nodes"), json_get_string(result, "head", NULL) };
	print_children(&p, NULL, "");
	return CLI_OK;
}

const struct cli_command cmd_tree = { "tree", "NAME", "its checkpoints, and where now is", run };
