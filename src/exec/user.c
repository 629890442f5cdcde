#include "exec/user.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/inroot.h"

enum {
	PASSWD_FIELDS = 7, /* name:password:uid:gid:gecos:home:shell */
	GROUP_FIELDS = 4,  /* name:password:gid:members */
	ID_NONE = -1,      /* (uint32_t)-1 means "no change" to setresuid */
};

static const char default_path[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/* A decimal id and nothing else. */
static bool parse_id(const char *text, uint32_t *id)
{
	uint64_t value = 0;
	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		value = value * 10 + (uint64_t)(*text - '0');
		if (value >= (uint32_t)ID_NONE)
			return false;
	}
	*id = (uint32_t)value;
	return true;
}

/*
 * Cut the next line out of *at and split it at colons into exactly n fields,
 * the last one taking the rest; lines with fewer are passed over. false: end.
 */
static bool next_entry(char **at, char **field, int n)
{
	while (*at && **at) {
		char *line = *at;
		char *end = strchr(line, '\n');
		if (end)
			*end++ = '\0';
		*at = end;
		int i = 0;
		while (i < n - 1 && line) {
			field[i++] = line;
			line = strchr(line, ':');
			if (line)
				*line++ = '\0';
		}
		if (line) {
			field[i] = line;
			return true;
		}
	}
	return false;
}

static void copy_text(char *to, size_t cap, const char *from)
{
	snprintf(to, cap, "%s", from);
}

/* Absent is as good as empty: a root file system may have neither. */
static int read_table(int root_fd, const char *path, char **text, struct err *e)
{
	size_t len;
	int r = sys_inroot_read(root_fd, path, USER_FILE_MAX, text, &len);
	if (r == -ENOENT || r == -ENOTDIR) {
		*text = strdup("");
		return *text ? 0 : err_set(e, ENOMEM, "read /%s of the sandbox", path);
	}
	if (r) {
		err_set(e, -r, "read /%s of the sandbox", path);
		return err_path(e, path);
	}
	return 0;
}

/* Find the entry by name, else by number; fills out. Whether there is one. */
static bool find_user(char *passwd, const char *name, const uint32_t *uid, struct user_account *out)
{
	char *f[PASSWD_FIELDS];
	while (next_entry(&passwd, f, PASSWD_FIELDS)) {
		uint32_t id, gid;
		if (!parse_id(f[2], &id) || !parse_id(f[3], &gid))
			continue;
		if (uid ? id != *uid : strcmp(f[0], name) != 0)
			continue;
		out->uid = id;
		out->gid = gid;
		copy_text(out->name, sizeof(out->name), f[0]);
		/* a path that does not fit is as good as none */
		if (f[5][0] == '/' && strlen(f[5]) < sizeof(out->home))
			copy_text(out->home, sizeof(out->home), f[5]);
		if (f[6][0] == '/' && strlen(f[6]) < sizeof(out->shell))
			copy_text(out->shell, sizeof(out->shell), f[6]);
		return true;
	}
	return false;
}

static bool is_member(const char *members, const char *name)
{
	size_t len = strlen(name);
	for (const char *m = members; len && *m;) {
		size_t n = strcspn(m, ",");
		if (n == len && memcmp(m, name, n) == 0)
			return true;
		m += n;
		m += *m == ',';
	}
	return false;
}

static bool find_group(char *groups, const char *name, uint32_t *gid)
{
	char *f[GROUP_FIELDS];
	while (next_entry(&groups, f, GROUP_FIELDS))
		if (strcmp(f[0], name) == 0 && parse_id(f[2], gid))
			return true;
	return false;
}

/* Supplementary groups of out->name; more than fit are an error. */
static int find_memberships(char *groups, struct user_account *out, struct err *e)
{
	char *f[GROUP_FIELDS];
	while (next_entry(&groups, f, GROUP_FIELDS)) {
		uint32_t gid;
		if (!is_member(f[3], out->name) || !parse_id(f[2], &gid) || gid == out->gid)
			continue;
		if (out->n_groups == USER_GROUPS_MAX)
			return err_set(e, E2BIG, "user '%s' is in more than %d groups", out->name,
				       USER_GROUPS_MAX);
		out->groups[out->n_groups++] = gid;
	}
	return 0;
}

static int resolve_group(int root_fd, const char *group, struct user_account *u, struct err *e)
{
	if (parse_id(group, &u->gid))
		return 0;
	scoped_free char *table = NULL;
	int r = read_table(root_fd, "etc/group", &table, e);
	if (r)
		return r;
	if (!find_group(table, group, &u->gid))
		return err_set(e, ENOENT, "no group '%s' in the sandbox's /etc/group", group);
	return 0;
}

/* An explicit group replaces the supplementary ones, as docker(1) does it. */
static int resolve_groups(int root_fd, const char *group, struct user_account *u, struct err *e)
{
	if (group)
		return resolve_group(root_fd, group, u, e);
	if (!u->name[0])
		return 0;
	scoped_free char *table = NULL;
	int r = read_table(root_fd, "etc/group", &table, e);
	return r ? r : find_memberships(table, u, e);
}

int user_resolve(int root_fd, const char *text, struct user_account *out, struct err *e)
{
	char name[USER_NAME_BYTES * 2];
	if (!text || !*text)
		text = "0";
	if (strlen(text) >= sizeof(name))
		return err_set(e, EINVAL, "the user's name is too long: '%.32s...'", text);
	copy_text(name, sizeof(name), text);
	char *group = strchr(name, ':');
	if (group)
		*group++ = '\0';
	if (!*name || (group && !*group))
		return err_set(e, EINVAL, "'%s' is no user: expected NAME or UID, then :GROUP",
			       text);

	struct user_account u = {.home = "/", .shell = "/bin/sh"};
	scoped_free char *passwd = NULL;
	int r = read_table(root_fd, "etc/passwd", &passwd, e);
	if (r)
		return r;
	uint32_t uid;
	bool is_number = parse_id(name, &uid);
	if (is_number)
		u.uid = uid;
	if (!find_user(passwd, name, is_number ? &uid : NULL, &u) && !is_number) {
		err_set(e, ENOENT, "no user '%s' in the sandbox's /etc/passwd", name);
		return err_remedy(e, "name one that is there, or give a number");
	}
	r = resolve_groups(root_fd, group, &u, e);
	if (r)
		return r;
	*out = u;
	return 0;
}

static bool env_has(const struct vec *env, const char *name)
{
	size_t len = strlen(name);
	vec_each (char *, v, env)
		if (strncmp(*v, name, len) == 0 && (*v)[len] == '=')
			return true;
	return false;
}

static int env_default(struct vec *env, const char *name, const char *value)
{
	if (!*value || env_has(env, name))
		return 0;
	char *text;
	if (asprintf(&text, "%s=%s", name, value) < 0)
		return -ENOMEM;
	char **slot = vec_add(env);
	if (!slot) {
		free(text);
		return -ENOMEM;
	}
	*slot = text;
	return 0;
}

int user_env(const struct user_account *u, struct vec *env)
{
	const struct {
		const char *name;
		const char *value;
	} defaults[] = {
		{"PATH", default_path}, {"HOME", u->home},   {"USER", u->name},
		{"LOGNAME", u->name},   {"SHELL", u->shell},
	};
	for (size_t i = 0; i < sizeof(defaults) / sizeof(*defaults); i++) {
		int r = env_default(env, defaults[i].name, defaults[i].value);
		if (r)
			return r;
	}
	return 0;
}
