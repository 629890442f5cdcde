#include "wire/rpc.h"

#include <errno.h>
#include <string.h>

#include "wire/errjson.h"

static void rpc_add(struct buf *b, json_t *doc)
{
	struct buf text = BUF_INIT;
	json_write(&text, doc);
	json_decref(doc);
	if (text.failed)
		b->failed = true;
	else if (text.len <= FRAME_MAX_BYTES)
		frame_add(b, FRAME_JSON, 0, text.data, text.len);
	else
		b->failed = true;
	buf_deinit(&text);
}

int rpc_request_parse(struct rpc_request *out, const struct frame *f, struct err *e)
{
	*out = (struct rpc_request){ .id = 0 };
	json_error_t bad;
	scoped_json json_t *doc = json_loadb(f->data, f->len_bytes, JSON_REJECT_DUPLICATES, &bad);
	if (!doc)
		return err_set(e, EBADMSG, "the request is not JSON: %s", bad.text);
	out->id = json_get_int(doc, "id", 0);
	const char *method = json_get_string(doc, "method", NULL);
	if (!method)
		return err_set(e, EBADMSG, "the request names no method");
	int64_t version = json_get_int(doc, "version", FRAME_VERSION);
	if (version != FRAME_VERSION)
		return err_set(e, EPROTO,
			       "the request is of protocol version %lld, this keeper speaks %d",
			       (long long)version, FRAME_VERSION);
	json_t *params = json_object_get(doc, "params");
	if (!params) {
		json_object_set_new(doc, "params", json_object());
		params = json_object_get(doc, "params");
	}
	if (!json_is_object(params))
		return err_set(e, EBADMSG, "params of '%s' is not an object", method);
	out->method = method;
	out->params = params;
	out->doc = take_ptr(doc);
	return 0;
}

void rpc_request_deinit(struct rpc_request *r)
{
	json_decref(r->doc);
	*r = (struct rpc_request){ 0 };
}

void rpc_add_request(struct buf *b, int64_t id, const char *method, json_t *params)
{
	json_t *doc = json_object();
	json_object_set_new(doc, "id", json_integer(id));
	json_object_set_new(doc, "method", json_string(method));
	if (params)
		json_object_set(doc, "params", params);
	json_object_set_new(doc, "version", json_integer(FRAME_VERSION));
	rpc_add(b, doc);
}

void rpc_add_result(struct buf *b, int64_t id, json_t *result)
{
	json_t *doc = json_object();
	json_object_set_new(doc, "id", json_integer(id));
	if (result)
		json_object_set(doc, "result", result);
	else
		json_object_set_new(doc, "result", json_object());
	rpc_add(b, doc);
}

void rpc_add_error(struct buf *b, int64_t id, const struct err *e)
{
	json_t *doc = json_object();
	json_object_set_new(doc, "id", json_integer(id));
	json_object_set_new(doc, "error", err_to_json(e));
	rpc_add(b, doc);
}

int rpc_reply_parse(const struct frame *f, int64_t *id, json_t **result, struct err *e)
{
	json_error_t bad;
	*id = 0;
	scoped_json json_t *doc = json_loadb(f->data, f->len_bytes, 0, &bad);
	if (!doc)
		return err_set(e, EBADMSG, "the keeper's reply is not JSON: %s", bad.text);
	*id = json_get_int(doc, "id", 0);
	const json_t *error = json_object_get(doc, "error");
	if (error)
		return err_from_json(e, error);
	json_t *found = json_object_get(doc, "result");
	if (!json_is_object(found))
		return err_set(e, EBADMSG, "the keeper's reply has neither result nor error");
	*result = json_incref(found);
	return 0;
}
