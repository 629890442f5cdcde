#include "sys/sandboxing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "sys/fault.h"

int sys_read_small(int dir_fd, const char *path, char *text, size_t text_bytes)
{
	int r = sys_fault("read");
	if (r)
		return r;
	scoped_fd int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, text, text_bytes - 1);
	if (n < 0)
		return -errno;
	if (n && text[n - 1] == '\n')
		n--;
	text[n] = '\0';
	return (int)n;
}

int sys_write_small(int dir_fd, const char *path, const char *text)
{
	int r = sys_fault("write");
	if (r)
		return r;
	scoped_fd int fd = openat(dir_fd, path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	size_t len = strlen(text);
	ssize_t n = write(fd, text, len);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

int sys_read_u64(int dir_fd, const char *path, uint64_t *value)
{
	char text[32];
	int r = sys_read_small(dir_fd, path, text, sizeof(text));
	if (r < 0)
		return r;
	if (!strcmp(text, "max")) {
		*value = UINT64_MAX;
		return 0;
	}
	return sscanf(text, "%" SCNu64, value) == 1 ? 0 : -EINVAL;
}

int sys_read_key(int dir_fd, const char *path, const char *key, uint64_t *value)
{
	char text[4096];
	int r = sys_read_small(dir_fd, path, text, sizeof(text));
	if (r < 0)
		return r;
	size_t len = strlen(key);
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, key, len) && line[len] == ' ')
			return sscanf(line + len, "%" SCNu64, value) == 1 ? 0 : -EINVAL;
	}
	return -ENOENT;
}

int sys_memory_total(uint64_t *bytes)
{
	int r = sys_fault("sysinfo");
	if (r)
		return r;
	struct sysinfo info;
	if (sysinfo(&info))
		return -errno;
	*bytes = (uint64_t)info.totalram * info.mem_unit;
	return 0;
}

bool sys_list_has(const char *list, const char *word)
{
	size_t n = strlen(word);
	for (const char *p = list; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (!strncmp(p, word, n) && (!p[n] || p[n] == ','))
			return true;
	}
	return false;
}

/* Undo the octal escapes of mountinfo (space, tab, newline, backslash). */
static void unescape(char *text)
{
	char *to = text;
	for (const char *p = text; *p; p++) {
		unsigned int c;
		if (p[0] == '\\' && sscanf(p + 1, "%3o", &c) == 1) {
			*to++ = (char)c;
			p += 3;
		} else {
			*to++ = *p;
		}
	}
	*to = '\0';
}

/* Path of this process in the hierarchy, from a line "id:controllers:path". */
static int own_path(FILE *f, bool v2, const char *controllers, char **out)
{
	scoped_free char *line = NULL;
	size_t cap = 0;
	rewind(f);
	while (getline(&line, &cap, f) > 0) {
		line[strcspn(line, "\n")] = '\0';
		char *list = strchr(line, ':');
		char *path = list ? strchr(list + 1, ':') : NULL;
		if (!path)
			continue;
		*path++ = '\0';
		list++;
		bool ours = v2 ? !list[0] : list[0] && !strcmp(list, controllers);
		if (!ours)
			continue;
		*out = strdup(path);
		return *out ? 0 : -ENOMEM;
	}
	return -ENOENT;
}

/*
 * The super options of a v1 hierarchy hold its controllers among others; as
 * /proc/self/cgroup spells them they are the ones both files name.
 */
static int v1_controllers(FILE *f, const char *options, char **out)
{
	scoped_free char *line = NULL;
	size_t cap = 0;
	rewind(f);
	while (getline(&line, &cap, f) > 0) {
		char *list = strchr(line, ':');
		char *end = list ? strchr(list + 1, ':') : NULL;
		if (!end || end == list + 1)
			continue;
		*end = '\0';
		list++;
		char first[64];
		snprintf(first, sizeof(first), "%.*s", (int)strcspn(list, ","), list);
		if (!sys_list_has(options, first))
			continue;
		*out = strdup(list);
		return *out ? 0 : -ENOMEM;
	}
	return -ENOENT;
}

/* Join top with the part of path that lies below the mount's root. */
static int join_own(const char *top, const char *root, const char *path, char **out)
{
	size_t n = strcmp(root, "/") ? strlen(root) : 0;
	if (strncmp(path, root, n) || (n && path[n] && path[n] != '/'))
		return -ENOENT; /* the mount does not show it */
	const char *rest = path + n;
	if (!strcmp(rest, "/"))
		rest = "";
	return asprintf(out, "%s%s", top, rest) < 0 ? -ENOMEM : 0;
}

/* Fields of a mountinfo line: "id parent dev root target opts - type src sopts" */
static int parse_line(char *line, FILE *self, struct vec *out)
{
	char root[4096], top[4096], type[64], options[1024];
	char *dash = strstr(line, " - ");
	if (!dash || sscanf(line, "%*d %*d %*s %4095s %4095s", root, top) != 2 ||
	    sscanf(dash, " - %63s %*s %1023s", type, options) != 2)
		return 0;
	bool v2 = !strcmp(type, "cgroup2");
	if (!v2 && strcmp(type, "cgroup"))
		return 0;
	unescape(root);
	unescape(top);
	scoped_free char *controllers = NULL, *path = NULL, *own = NULL;
	if (v2)
		controllers = strdup("");
	else if (v1_controllers(self, options, &controllers))
		return 0; /* a named hierarchy without controllers */
	if (!controllers)
		return -ENOMEM;
	int r = own_path(self, v2, controllers, &path);
	if (!r)
		r = join_own(top, root, path, &own);
	if (r)
		return r == -ENOENT ? 0 : r;
	struct sys_cgroup *c = vec_add(out);
	char *copy = strdup(top);
	if (!c || !copy) {
		free(copy);
		return -ENOMEM;
	}
	*c = (struct sys_cgroup){v2, take_ptr(controllers), copy, take_ptr(own)};
	return 0;
}

int sys_cgroups(struct vec *out)
{
	int r = sys_fault("open");
	if (r)
		return r;
	*out = VEC_INIT(struct sys_cgroup);
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	FILE *self = mounts ? fopen("/proc/self/cgroup", "re") : NULL;
	if (!self)
		r = errno == ENOENT && mounts ? 0 : -errno;
	scoped_free char *line = NULL;
	size_t cap = 0;
	while (self && !r && getline(&line, &cap, mounts) > 0) {
		line[strcspn(line, "\n")] = '\0';
		r = parse_line(line, self, out);
	}
	if (mounts)
		fclose(mounts);
	if (self)
		fclose(self);
	if (r)
		sys_cgroups_deinit(out);
	return r;
}

void sys_cgroups_deinit(struct vec *v)
{
	vec_each(struct sys_cgroup, c, v) {
		free(c->controllers);
		free(c->top);
		free(c->own);
	}
	vec_deinit(v);
}
