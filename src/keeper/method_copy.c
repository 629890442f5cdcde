/*
 * method_copy.c - files in and out of a running sandbox, as tar streams.
 *
 * Paths are resolved by openat2 inside the root of PID 1: whatever links the
 * guest made, nothing outside is reached, and nothing on /proc or /sys is
 * read or written on its behalf.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "keeper/dispatch.h"
#include "sys/inroot.h"
#include "sys/lookup.h"
#include "wire/tar.h"

struct copy {
	struct tar_pack *pack;
	struct tar_unpack *unpack;
};

static json_t *counts_json(const struct tar_counts *c)
{
	return json_pack("{s:I, s:I, s:I}", "files", (json_int_t)c->files, "bytes",
			 (json_int_t)c->bytes, "skipped", (json_int_t)c->skipped);
}

static void copy_free(struct copy *c)
{
	tar_pack_free(c->pack);
	tar_unpack_free(c->unpack);
	free(c);
}

static void copy_gone(struct request *rq)
{
	copy_free(rq->data);
}

static void copy_fail(struct request *rq, const struct err *e)
{
	copy_free(rq->data);
	request_fail(rq, e);
}

/* Send as much as the client takes now. */
static void copy_out_room(struct request *rq)
{
	struct copy *c = rq->data;
	struct buf out = BUF_INIT;
	while (request_has_room(rq)) {
		struct err e = ERR_INIT;
		out.len = 0;
		int r = tar_pack_some(c->pack, &out, FRAME_CHUNK_BYTES, &e);
		if (r < 0) {
			buf_deinit(&out);
			copy_fail(rq, &e);
			return;
		}
		request_send(rq, FRAME_FILES, r ? 0 : FRAME_F_END, out.data, out.len);
		if (r)
			continue;
		json_t *result = counts_json(tar_pack_counts(c->pack));
		copy_free(c);
		request_reply(rq, result);
		break;
	}
	buf_deinit(&out);
}

static void copy_in_data(struct request *rq, const struct frame *f)
{
	struct copy *c = rq->data;
	struct err e = ERR_INIT;
	if (f->kind != FRAME_FILES)
		return;
	int r = tar_unpack_feed(c->unpack, f->data, f->len_bytes, &e);
	if (!r && (f->flags & FRAME_F_END)) {
		r = tar_unpack_end(c->unpack, &e);
		if (!r) {
			json_t *result = counts_json(tar_unpack_counts(c->unpack));
			copy_free(c);
			request_reply(rq, result);
			return;
		}
	}
	if (r)
		copy_fail(rq, &e);
}

static int path_param(struct request *rq, const char **path, struct err *e)
{
	*path = json_get_string(rq->params, "path", "");
	if ((*path)[0] != '/') {
		err_set(e, EINVAL, "'%s' is not an absolute path", *path);
		return err_path(e, *path);
	}
	if (rq->box->state != BOX_RUNNING)
		return err_set(e, ESRCH, "nothing runs in the sandbox '%s'", rq->box->place.name);
	return 0;
}

static int lookup_failed(struct request *rq, const char *path, int code, struct err *e)
{
	err_set(e, code, "%s in the sandbox '%s': %s", path, rq->box->place.name, strerror(code));
	return err_path(e, path);
}

/* The last name in a path, without slashes behind it; "root" for "/". */
static char *last_name(const char *path)
{
	size_t len = strlen(path);
	while (len && path[len - 1] == '/')
		len--;
	size_t from = len;
	while (from && path[from - 1] != '/')
		from--;
	return len == from ? strdup("root") : strndup(path + from, len - from);
}

static int copy_begin(struct request *rq, struct copy *c, const struct request_events *events,
		      struct err *e)
{
	rq->data = c;
	int r = request_stream(rq, events, e);
	if (r)
		copy_free(c);
	return r;
}

int method_copy_out(struct request *rq, json_t **result, struct err *e)
{
	static const struct request_events events = { .room = copy_out_room, .gone = copy_gone };
	const char *path;
	int r = path_param(rq, &path, e);
	if (r)
		return r;
	scoped_fd int root = box_root_open(rq->box, e);
	if (root < 0)
		return root;
	scoped_fd int fd = sys_inroot_open(root, path, O_PATH);
	if (fd < 0)
		return lookup_failed(rq, path, -fd, e);
	scoped_free char *name = last_name(path);
	struct copy *c = calloc(1, sizeof(*c));
	if (!c || !name) {
		free(c);
		return err_set(e, ENOMEM, "no memory to copy files");
	}
	r = tar_pack_new(fd, name, &c->pack, e);
	if (r) {
		copy_free(c);
		return r;
	}
	r = copy_begin(rq, c, &events, e);
	if (r)
		return r;
	copy_out_room(rq);
	return HANDLER_LATER;
}

/*
 * Where a copy goes: path itself if it is a directory, else the directory it
 * is in; then *rename is its last name.
 */
static int target_open(struct request *rq, int root, const char *path, char **rename, struct err *e)
{
	const char *given = json_get_string(rq->params, "name", NULL);
	*rename = NULL;
	int dir = sys_inroot_open(root, path, O_PATH | O_DIRECTORY);
	if (dir >= 0) {
		*rename = given ? strdup(given) : NULL;
		return dir;
	}
	size_t len = strlen(path);
	bool must_be_directory = path[len - 1] == '/';
	if ((dir != -ENOENT && dir != -ENOTDIR) || must_be_directory)
		return lookup_failed(rq, path, -dir, e);
	char *last = last_name(path);
	scoped_free char *parent = strndup(path, len - strlen(last ? last : ""));
	if (!last || !parent) {
		free(last);
		return err_set(e, ENOMEM, "no memory for a path");
	}
	dir = sys_inroot_open(root, parent, O_PATH | O_DIRECTORY);
	if (dir < 0) {
		free(last);
		return lookup_failed(rq, parent, -dir, e);
	}
	*rename = last;
	return dir;
}

int method_copy_in(struct request *rq, json_t **result, struct err *e)
{
	static const struct request_events events = { .data = copy_in_data, .gone = copy_gone };
	const char *path;
	int r = path_param(rq, &path, e);
	if (r)
		return r;
	scoped_fd int root = box_root_open(rq->box, e);
	if (root < 0)
		return root;
	scoped_free char *rename = NULL;
	scoped_fd int dir = target_open(rq, root, path, &rename, e);
	if (dir < 0)
		return dir;
	if (rename && (strchr(rename, '/') || !strcmp(rename, "..") || !strcmp(rename, ".")))
		return err_set(e, EINVAL, "'%s' cannot be the name of a file", rename);
	r = sys_is_kernel_fs(dir);
	if (r)
		return lookup_failed(rq, path, r < 0 ? -r : EPERM, e);
	struct copy *c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(e, ENOMEM, "no memory to copy files");
	r = tar_unpack_new(dir, rename, &c->unpack, e);
	if (r) {
		copy_free(c);
		return r;
	}
	r = copy_begin(rq, c, &events, e);
	return r ? r : HANDLER_LATER;
}
