#include "engine/engine.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "base/buf.h"
#include "parts/inotify.h"
#include "sandbox/init/image.h"
#include "sandbox/userns.h"
#include "sys/pipe.h"
#include "sys/proc.h"

static int bytes_memfd(const char *name, const void *bytes, size_t len, struct err *e)
{
	int fd = sys_memfd_with(name, bytes, len);
	return fd < 0 ? err_set(e, -fd, "write %s to a memfd: %s", name, strerror(-fd)) : fd;
}

static int make_confinement(struct engine *en, struct err *e)
{
	int r = confine_new(&en->confine, e);
	if (r)
		return r;
	struct buf blob = BUF_INIT;
	r = confine_init_blob(en->confine, limits_nproc(en->limits), en->nofile, &blob);
	if (r == 0 && blob.failed)
		r = -ENOMEM;
	if (r == 0)
		en->confine_fd = bytes_memfd("confinement", blob.data, blob.len, e);
	else
		err_set(e, -r, "build the default confinement: %s", strerror(-r));
	buf_deinit(&blob);
	return r ? r : en->confine_fd < 0 ? en->confine_fd : 0;
}

/*
 * Each checkpoint holds some descriptors, of its layers and its template: take
 * all that this process may have. Commands get what it was given.
 */
static int take_descriptors(struct engine *en, struct err *e)
{
	struct rlimit limit;
	int r = sys_prlimit(0, RLIMIT_NOFILE, NULL, &limit);
	if (r == 0) {
		en->nofile = limit.rlim_cur;
		limit.rlim_cur = limit.rlim_max;
		r = sys_prlimit(0, RLIMIT_NOFILE, &limit, NULL);
	}
	return r ? err_set(e, -r, "raise the limit of open files: %s", strerror(-r)) : 0;
}

int engine_init(struct engine *en, struct store *store, const struct spec *spec, const char *root,
		const char *scratch, struct err *e)
{
	*en = (struct engine){ .store = store,
			       .init_image_fd = -1,
			       .confine_fd = -1,
			       .next_template_fd = ENGINE_TEMPLATE_FDS,
			       .left = VEC_INIT(struct inotify_left),
			       .keep_groups = userns_uid_count() == 1 };
	fs_spares_init(&en->spares, store);
	/* what a command starts with: the default filter */
	en->puppet.own_filters = 1;
	en->root = strdup(root);
	en->freezer = freezer_new();
	int r = en->root && en->freezer ? spec_copy(&en->spec, spec) : -ENOMEM;
	if (r)
		r = err_set(e, -r, "out of memory");
	struct procfs_status self;
	if (r == 0) {
		r = procfs_status(freezer_procfs(en->freezer), getpid(), 0, &self);
		if (r)
			err_set(e, -r, "read /proc/self/status: %s", strerror(-r));
		else
			en->bounding = self.cap_bnd;
	}
	if (r == 0)
		r = limits_create(spec, &en->limits, e);
	if (r == 0)
		r = mounts_new(&en->spec, scratch, &en->mounts, e);
	if (r == 0)
		r = take_descriptors(en, e);
	if (r == 0)
		r = make_confinement(en, e);
	if (r == 0) {
		en->init_image_fd = bytes_memfd("mulligan-init", init_image, init_image_len, e);
		r = en->init_image_fd < 0 ? en->init_image_fd : 0;
	}
	if (r)
		engine_deinit(en);
	return r;
}

void engine_deinit(struct engine *en)
{
	cleanup_fd(&en->init_image_fd);
	cleanup_fd(&en->confine_fd);
	(void)inotify_close_left(&en->left, true);
	fs_spares_clear(&en->spares);
	if (en->mounts)
		mounts_free(en->mounts);
	if (en->confine)
		confine_free(en->confine);
	if (en->limits)
		limits_destroy(en->limits);
	if (en->freezer)
		freezer_free(en->freezer);
	free(en->root);
	spec_deinit(&en->spec);
}
