/* cmd_cp.c - copy files into and out of a sandbox. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "sys/file.h"
#include "wire/rpc.h"
#include "wire/tar.h"

/* "NAME:PATH" in place; NULL: a path of the host ("./a:b" is one). */
static char *split_place(char *text)
{
	char *colon = strchr(text, ':');
	if (!colon || memchr(text, '/', (size_t)(colon - text)))
		return NULL;
	*colon = '\0';
	return colon + 1;
}

static char *last_name(const char *path)
{
	size_t len = strlen(path);
	while (len && path[len - 1] == '/')
		len--;
	size_t from = len;
	while (from && path[from - 1] != '/')
		from--;
	return strndup(path + from, len - from);
}

/* Receive frames until the reply; files go to u. */
static int receive_files(struct client *c, int id, struct tar_unpack *u, json_t **result,
			 struct err *e)
{
	bool ended = false;
	for (;;) {
		struct frame f;
		int r = client_next(c, &f, e);
		if (r < 0)
			return r;
		frame_close_fds(&f);
		if (f.kind == FRAME_FILES) {
			r = tar_unpack_feed(u, f.data, f.len_bytes, e);
			ended |= f.flags & FRAME_F_END;
		} else if (f.kind == FRAME_JSON) {
			int64_t replied;
			r = rpc_reply_parse(&f, &replied, result, e);
			if (!r && ended)
				r = tar_unpack_end(u, e);
			return r;
		}
		if (r)
			return r;
	}
}

static int open_target(const char *path, char **rename, struct err *e)
{
	*rename = NULL;
	int dir = sys_openat(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0);
	if (dir >= 0)
		return dir;
	size_t len = strlen(path);
	if ((dir != -ENOENT && dir != -ENOTDIR) || !len || path[len - 1] == '/')
		return err_set(e, -dir, "%s: %s", path, strerror(-dir));
	scoped_free char *last = last_name(path);
	scoped_free char *parent = last ? strndup(path, len - strlen(last)) : NULL;
	if (!parent)
		return err_set(e, ENOMEM, "no memory for a path");
	dir = sys_openat(AT_FDCWD, parent[0] ? parent : ".", O_PATH | O_DIRECTORY, 0);
	if (dir < 0)
		return err_set(e, -dir, "%s: %s", parent, strerror(-dir));
	*rename = take_ptr(last);
	return dir;
}

static int copy_out(struct client *c, const char *from, const char *to, json_t **result,
		    struct err *e)
{
	scoped_free char *rename = NULL;
	scoped_fd int dir = open_target(to, &rename, e);
	if (dir < 0)
		return dir;
	struct tar_unpack *u;
	int r = tar_unpack_new(dir, rename, &u, e);
	if (r)
		return r;
	scoped_json json_t *params = json_object();
	cli_set(params, "path", from);
	int id = client_send(c, "copy_out", params, NULL, 0, e);
	r = id < 0 ? id : receive_files(c, id, u, result, e);
	tar_unpack_free(u);
	return r;
}

static int send_files(struct client *c, struct tar_pack *p, struct err *e)
{
	struct buf out = BUF_INIT;
	int more = 1, r = 0;
	while (more > 0 && !r) {
		out.len = 0;
		more = tar_pack_some(p, &out, FRAME_CHUNK_BYTES, e);
		if (more >= 0)
			r = client_stream(c, FRAME_FILES, more ? 0 : FRAME_F_END, out.data,
					  out.len, e);
	}
	buf_deinit(&out);
	return more < 0 ? more : r;
}

static int copy_in(struct client *c, const char *from, const char *to, json_t **result,
		   struct err *e)
{
	scoped_fd int fd = sys_openat(AT_FDCWD, from, O_PATH, 0);
	if (fd < 0)
		return err_set(e, -fd, "%s: %s", from, strerror(-fd));
	scoped_free char *name = last_name(from);
	if (!name || !name[0] || !strcmp(name, ".") || !strcmp(name, ".."))
		return err_set(e, EINVAL, "'%s' has no name of its own to copy to", from);
	struct tar_pack *p;
	int r = tar_pack_new(fd, name, &p, e);
	if (r)
		return r;
	scoped_json json_t *params = json_object();
	cli_set(params, "path", to);
	int id = client_send(c, "copy_in", params, NULL, 0, e);
	r = id < 0 ? id : send_files(c, p, e);
	tar_pack_free(p);
	/* a keeper that refused has said why, whatever became of our bytes */
	struct frame f;
	struct err ignored = ERR_INIT;
	if (id < 0 || (r && r != -ECONNRESET))
		return r;
	while ((r = client_next(c, &f, r ? &ignored : e)) > 0) {
		int64_t replied;
		frame_close_fds(&f);
		if (f.kind == FRAME_JSON)
			return rpc_reply_parse(&f, &replied, result, e);
	}
	return r;
}

static int run(int argc, char **argv)
{
	struct cli_args args = { .min = 2, .max = 2 };
	cli_parse(&args, NULL, "NAME:PATH DST\nSRC NAME:PATH",
		  "Copy a file or directory out of a sandbox, or into it.\v"
		  "Into a directory that exists it is put below it; else it gets that name. Set-id "
		  "bits and owners are not kept.",
		  argc, argv);
	char *from = split_place(args.arg[0]), *to = split_place(args.arg[1]);
	if (!from == !to) {
		fprintf(stderr, "mulligan: one of the two places must be NAME:PATH\n");
		return CLI_USAGE;
	}
	struct client c;
	struct err e = ERR_INIT;
	scoped_json json_t *result = NULL;
	int r = client_open(&c, from ? args.arg[0] : args.arg[1], &e);
	if (!r)
		r = from ? copy_out(&c, from, args.arg[1], &result, &e) :
			   copy_in(&c, args.arg[0], to, &result, &e);
	client_deinit(&c);
	if (r)
		return cli_fail(&args, &e);
	long long skipped = json_get_int(result, "skipped", 0);
	if (args.json)
		cli_print_json(result);
	else if (skipped)
		fprintf(stderr, "mulligan: %lld sockets, devices or other mounts were not copied\n",
			skipped);
	return CLI_OK;
}

const struct cli_command cmd_cp = { "cp", "NAME:PATH DST | SRC NAME:PATH", "copy files in or out",
				    run };
