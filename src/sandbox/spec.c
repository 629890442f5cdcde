/*
 * spec.c - life of a spec, and the check of a whole one. Parsers of its parts
 * are in spec_text.c, the JSON form in spec_json.c.
 */
#include "sandbox/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "sys/file.h"

void spec_init(struct spec *s)
{
	*s = (struct spec){
		.volumes = VEC_INIT(struct volume),
		.tmpfs = VEC_INIT(char *),
		.env = VEC_INIT(char *),
		.labels = VEC_INIT(char *),
	};
}

static void free_strings(struct vec *v)
{
	vec_each(char *, s, v)
		free(*s);
	vec_deinit(v);
}

void spec_deinit(struct spec *s)
{
	vec_each(struct volume, v, &s->volumes) {
		free(v->src);
		free(v->dst);
	}
	vec_deinit(&s->volumes);
	free_strings(&s->tmpfs);
	free_strings(&s->env);
	free_strings(&s->labels);
	free(s->rootfs);
	free(s->workdir);
	free(s->user);
	free(s->hostname);
	spec_init(s);
}

static int copy_string(char **dst, const char *src)
{
	*dst = src ? strdup(src) : NULL;
	return src && !*dst ? -ENOMEM : 0;
}

static int copy_strings(struct vec *dst, const struct vec *src)
{
	vec_each(char *, s, src) {
		char **to = vec_add(dst);
		if (!to || copy_string(to, *s))
			return -ENOMEM;
	}
	return 0;
}

static int copy_volumes(struct vec *dst, const struct vec *src)
{
	vec_each(struct volume, v, src) {
		struct volume *to = vec_add(dst);
		if (!to || copy_string(&to->src, v->src) || copy_string(&to->dst, v->dst))
			return -ENOMEM;
		to->mode = v->mode;
	}
	return 0;
}

int spec_copy(struct spec *dst, const struct spec *src)
{
	struct spec s = *src;
	s.volumes = VEC_INIT(struct volume);
	s.tmpfs = VEC_INIT(char *);
	s.env = VEC_INIT(char *);
	s.labels = VEC_INIT(char *);
	s.rootfs = s.workdir = s.user = s.hostname = NULL;
	if (copy_volumes(&s.volumes, &src->volumes) || copy_strings(&s.tmpfs, &src->tmpfs) ||
	    copy_strings(&s.env, &src->env) || copy_strings(&s.labels, &src->labels) ||
	    copy_string(&s.rootfs, src->rootfs) || copy_string(&s.workdir, src->workdir) ||
	    copy_string(&s.user, src->user) || copy_string(&s.hostname, src->hostname)) {
		spec_deinit(&s);
		return -ENOMEM;
	}
	*dst = s;
	return 0;
}

static int check_base(const struct spec *s, struct err *e)
{
	if (s->base == BASE_HOST) {
		if (!s->rootfs)
			return 0;
		err_set(e, EINVAL, "both --host and --rootfs %s were given", s->rootfs);
		return err_remedy(e, "choose one base");
	}
	if (!s->rootfs || s->rootfs[0] != '/') {
		err_set(e, EINVAL, "--rootfs '%s' is not an absolute path",
			s->rootfs ? s->rootfs : "");
		return err_remedy(e, "give the directory's full path");
	}
	struct stat st;
	int r = sys_fstatat(AT_FDCWD, s->rootfs, &st, 0);
	if (r) {
		err_set(e, -r, "cannot look at the root filesystem '%s': %s", s->rootfs,
			strerror(-r));
		err_remedy(e, "--rootfs takes a directory that holds /bin, /usr ...");
		return err_path(e, s->rootfs);
	}
	if (!S_ISDIR(st.st_mode)) {
		err_set(e, ENOTDIR, "the root filesystem '%s' is not a directory", s->rootfs);
		err_remedy(e, "unpack it first and give the directory");
		return err_path(e, s->rootfs);
	}
	return 0;
}

static int check_volume(const struct volume *v, struct err *e)
{
	struct stat st;
	int r = sys_fstatat(AT_FDCWD, v->src, &st, 0);
	if (r) {
		err_set(e, -r, "volume source '%s': %s", v->src, strerror(-r));
		err_remedy(e, "create it, or correct the path");
		return err_path(e, v->src);
	}
	if (v->mode == VOLUME_COW && !S_ISDIR(st.st_mode)) {
		err_set(e, ENOTDIR,
			"volume source '%s' is not a directory: only a directory can be "
			"copy-on-write",
			v->src);
		err_remedy(e, "use :ro or :rw, or give its directory");
		return err_path(e, v->src);
	}
	return 0;
}

static int check_places(const struct spec *s, struct err *e)
{
	for (size_t i = 0; i < s->volumes.n + s->tmpfs.n; i++) {
		const char *a = i < s->volumes.n ? ((struct volume *)vec_at(&s->volumes, i))->dst
						 : *(char **)vec_at(&s->tmpfs, i - s->volumes.n);
		for (size_t k = 0; k < i; k++) {
			const char *b = k < s->volumes.n
						? ((struct volume *)vec_at(&s->volumes, k))->dst
						: *(char **)vec_at(&s->tmpfs, k - s->volumes.n);
			if (strcmp(a, b))
				continue;
			err_set(e, EEXIST, "two mounts at '%s'", a);
			err_remedy(e, "give each --volume and --tmpfs a place of its own");
			return err_path(e, a);
		}
	}
	return 0;
}

enum {
	MEMORY_MIN = 6 << 20, /* below, not even a shell starts */
	PIDS_MIN = 4,         /* init, a shell, a command */
	CPUS_MILLI_MIN = 10,  /* the kernel's quota is at least 1 ms of 100 */
};

static int check_limits(const struct spec *s, struct err *e)
{
	if (s->memory_bytes && s->memory_bytes < MEMORY_MIN) {
		err_set(e, EINVAL, "a memory limit of %llu bytes is too small to start anything",
			(unsigned long long)s->memory_bytes);
		return err_remedy(e, "give at least %dm", MEMORY_MIN >> 20);
	}
	if (s->pids_max && s->pids_max < PIDS_MIN) {
		err_set(e, EINVAL, "a limit of %u processes is too small to start anything",
			s->pids_max);
		return err_remedy(e, "give at least %d", PIDS_MIN);
	}
	if (s->cpus_milli && s->cpus_milli < CPUS_MILLI_MIN) {
		err_set(e, EINVAL, "%u thousandths of a CPU are less than the kernel can give",
			s->cpus_milli);
		return err_remedy(e, "give at least 0.01");
	}
	return 0;
}

/* A host name's letters: as in RFC 1123, and the underscore that people use. */
static int check_hostname(const char *text, struct err *e)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz"
				"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");
	if (text[0] && !text[n] && n <= 64 && text[0] != '-' && text[0] != '.')
		return 0;
	err_set(e, EINVAL, "'%.80s' cannot be a hostname", text);
	return err_remedy(e, "use letters, digits, '-', '_' and '.', at most 64");
}

static int check_workdir(const char *dir, struct err *e)
{
	if (dir[0] == '/')
		return 0;
	err_set(e, EINVAL, "the working directory '%s' is not an absolute path", dir);
	return err_remedy(e, "give the path as seen inside the sandbox");
}

int spec_check(const struct spec *s, struct err *e)
{
	int r = s->name[0] ? spec_check_name(s->name, e) : 0;
	if (!r)
		r = check_base(s, e);
	vec_each(struct volume, v, &s->volumes)
		if (!r)
			r = check_volume(v, e);
	if (!r)
		r = check_places(s, e);
	if (!r && s->hostname)
		r = check_hostname(s->hostname, e);
	if (!r && s->workdir)
		r = check_workdir(s->workdir, e);
	if (!r)
		r = check_limits(s, e);
	return r;
}
