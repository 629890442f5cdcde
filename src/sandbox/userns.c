/*
 * userns.c - enter the namespaces that a keeper lives in.
 *
 * Which ids are mapped:
 *	user with subordinate ids	0 = the user, 1.. = the ranges
 *	user without			0 = the user
 *	root (asked for)		0 = root, 1.. = root's ranges, or 1..65535
 *					as they are
 * Ranges can only be written from the namespace outside, by root or by the
 * set-uid tools newuidmap and newgidmap: a helper child, forked before the
 * namespace exists, does it. Own ids alone need nobody, but setgroups() must
 * be given up first.
 */
#include "sandbox/userns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <pwd.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/mount.h"
#include "sys/ns.h"
#include "sys/probe.h"
#include "sys/sandboxing.h"

enum {
	ID_RANGES_MAX = 16, /* lines of a map we look at */
	SUB_IDS_MIN = 1000, /* fewer do not hold a distribution's users */
	IDENTITY_IDS = 65535,
};

bool userns_needed(void)
{
	uint64_t caps;
	return sys_caps_effective(&caps) || !(caps >> CAP_SYS_ADMIN & 1);
}

static bool is_mapped(bool gids, uint32_t id)
{
	struct sys_id_range range[ID_RANGES_MAX];
	int n = sys_read_id_map(gids, range, ID_RANGES_MAX);
	for (int i = 0; i < n; i++)
		if (id >= range[i].inside && id - range[i].inside < range[i].count)
			return true;
	return false;
}

bool userns_uid_mapped(uid_t uid)
{
	return is_mapped(false, uid);
}

bool userns_gid_mapped(gid_t gid)
{
	return is_mapped(true, gid);
}

unsigned long userns_uid_count(void)
{
	struct sys_id_range range[ID_RANGES_MAX];
	int n = sys_read_id_map(false, range, ID_RANGES_MAX);
	unsigned long end = 0;
	/* ascending as we write them */
	for (int i = 0; i < n; i++)
		if (range[i].inside == end)
			end += range[i].count;
	return end ? end : 1;
}

/* A subordinate range of /etc/subuid or /etc/subgid. */
struct sub_range {
	unsigned long start;
	unsigned long count;
};

/* First range of the user, by name or number; count 0: none. */
static struct sub_range find_sub_range(const char *file, uid_t uid)
{
	struct sub_range found = {0, 0};
	const struct passwd *pw = getpwuid(uid);
	FILE *f = fopen(file, "re");
	if (!f)
		return found;
	char line[512], number[16];
	snprintf(number, sizeof(number), "%u", uid);
	while (!found.count && fgets(line, sizeof(line), f)) {
		char *start = strchr(line, ':');
		if (!start)
			continue;
		*start++ = '\0';
		if (strcmp(line, number) && (!pw || strcmp(line, pw->pw_name)))
			continue;
		struct sub_range r;
		if (sscanf(start, "%lu:%lu", &r.start, &r.count) == 2 && r.count >= SUB_IDS_MIN)
			found = r;
	}
	fclose(f);
	return found;
}

struct id_plan {
	uid_t uid; /* outside, before the namespace */
	gid_t gid;
	struct sub_range uids, gids; /* count 0: own id only */
	bool root;                   /* may write any map */
};

static void plan_ids(struct id_plan *p)
{
	*p = (struct id_plan){.uid = geteuid(), .gid = getegid()};
	uint64_t caps = 0;
	p->root = !sys_caps_effective(&caps) && caps >> CAP_SETUID & 1 && caps >> CAP_SETGID & 1;
	struct sub_range uids = find_sub_range("/etc/subuid", p->uid);
	struct sub_range gids = find_sub_range("/etc/subgid", p->uid);
	if (uids.count && gids.count && (p->root || sys_has_id_tools())) {
		p->uids = uids;
		p->gids = gids;
	} else if (p->root) {
		p->uids = p->gids = (struct sub_range){1, IDENTITY_IDS};
	}
}

static int write_map_as_root(pid_t pid, const struct id_plan *p)
{
	char text[128];
	snprintf(text, sizeof(text), "0 %u 1\n1 %lu %lu\n", p->uid, p->uids.start, p->uids.count);
	int r = sys_write_uid_map(pid, text);
	if (r)
		return r;
	snprintf(text, sizeof(text), "0 %u 1\n1 %lu %lu\n", p->gid, p->gids.start, p->gids.count);
	return sys_write_gid_map(pid, text);
}

/* Run newuidmap or newgidmap; its complaints go to our standard error. */
static int run_tool(const char *tool, pid_t pid, unsigned int own, const struct sub_range *range)
{
	char text[4][24];
	snprintf(text[0], sizeof(text[0]), "%d", pid);
	snprintf(text[1], sizeof(text[1]), "%u", own);
	snprintf(text[2], sizeof(text[2]), "%lu", range->start);
	snprintf(text[3], sizeof(text[3]), "%lu", range->count);
	pid_t child = fork();
	if (child < 0)
		return -errno;
	if (!child) {
		execlp(tool, tool, text[0], "0", text[1], "1", "1", text[2], text[3], (char *)NULL);
		_exit(127);
	}
	int status;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EPERM;
}

/* The helper child: wait for the namespace, map its ids, say how it went. */
static int helper_main(int wait_fd, int answer_fd, pid_t parent, const struct id_plan *p)
{
	char go;
	if (read(wait_fd, &go, 1) != 1)
		return 1;
	int r;
	if (p->root) {
		r = write_map_as_root(parent, p);
	} else {
		r = run_tool("newuidmap", parent, p->uid, &p->uids);
		if (!r)
			r = run_tool("newgidmap", parent, p->gid, &p->gids);
	}
	return write(answer_fd, &r, sizeof(r)) == sizeof(r) ? 0 : 1;
}

struct helper {
	pid_t pid;
	int go_fd, answer_fd;
};

static int start_helper(struct helper *h, const struct id_plan *p)
{
	int go[2], answer[2];
	if (pipe2(go, O_CLOEXEC))
		return -errno;
	if (pipe2(answer, O_CLOEXEC)) {
		int r = -errno;
		close(go[0]);
		close(go[1]);
		return r;
	}
	pid_t parent = getpid();
	h->pid = fork();
	if (!h->pid) {
		close(go[1]);
		_exit(helper_main(go[0], answer[1], parent, p));
	}
	int r = h->pid < 0 ? -errno : 0;
	close(go[0]);
	close(answer[1]);
	h->go_fd = go[1];
	h->answer_fd = answer[0];
	return r;
}

/* Let it work (or, with go false, go away) and fetch its answer. */
static int finish_helper(struct helper *h, bool go)
{
	int answer = -EIO;
	if (go && write(h->go_fd, "g", 1) == 1 &&
	    read(h->answer_fd, &answer, sizeof(answer)) != sizeof(answer))
		answer = -EIO;
	close(h->go_fd);
	close(h->answer_fd);
	while (h->pid > 0 && waitpid(h->pid, NULL, 0) < 0 && errno == EINTR)
		;
	return answer;
}

static int map_own_ids(const struct id_plan *p)
{
	char text[64];
	snprintf(text, sizeof(text), "0 %u 1", p->uid);
	int r = sys_write_uid_map(getpid(), text);
	if (!r)
		r = sys_deny_setgroups();
	if (r)
		return r;
	snprintf(text, sizeof(text), "0 %u 1", p->gid);
	return sys_write_gid_map(getpid(), text);
}

/* Which knob forbids namespaces here? */
static int explain(struct err *e, int code, const char *what)
{
	uint64_t value;
	err_set(e, code, "%s: %s", what, strerror(code));
	if (!sys_read_u64(AT_FDCWD, "/proc/sys/user/max_user_namespaces", &value) && !value)
		return err_remedy(
			e,
			"user namespaces are off: as root, sysctl user.max_user_namespaces=15000");
	if (!sys_read_u64(AT_FDCWD, "/proc/sys/kernel/unprivileged_userns_clone", &value) && !value)
		return err_remedy(e, "ordinary users may not make user namespaces: as root, sysctl "
				     "kernel.unprivileged_userns_clone=1");
	if (!sys_read_u64(AT_FDCWD, "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
			  &value) &&
	    value)
		return err_remedy(
			e, "AppArmor restricts user namespaces: as root, install mulligan's "
			   "profile, or sysctl kernel.apparmor_restrict_unprivileged_userns=0");
	if (code == ENOSPC || code == EUSERS)
		return err_remedy(e, "too many user namespaces are in use, or they are nested too "
				     "deep: as root, raise user.max_user_namespaces");
	if (code == EPERM)
		return err_remedy(e, "a container's seccomp filter or a chroot may forbid it: "
				     "allow unshare() there, or run outside");
	if (code == ENOSYS || code == EINVAL)
		return err_remedy(e,
				  "this kernel was built without user namespaces (CONFIG_USER_NS)");
	return -code;
}

static int map_range(const struct id_plan *p, struct err *e)
{
	struct helper h = {.go_fd = -1, .answer_fd = -1};
	int r = start_helper(&h, p);
	if (r)
		return err_set(e, -r, "start a helper to map ids: %s", strerror(-r));
	r = sys_unshare(CLONE_NEWUSER);
	int mapped = finish_helper(&h, !r);
	if (r)
		return explain(e, -r, "make a user namespace");
	if (!mapped)
		return 0;
	explain(e, -mapped, "map a range of ids into the user namespace");
	if (!p->root)
		err_remedy(e,
			   "check the entries of uid %u in /etc/subuid and /etc/subgid, and that "
			   "newuidmap is set-uid; or remove them to run with one id",
			   p->uid);
	return mapped;
}

static int enter_userns(struct err *e)
{
	struct id_plan p;
	plan_ids(&p);
	if (p.uids.count) {
		int r = map_range(&p, e);
		if (r)
			return r;
	} else {
		int r = sys_unshare(CLONE_NEWUSER);
		if (r)
			return explain(e, -r, "make a user namespace");
		r = map_own_ids(&p);
		if (r)
			return explain(e, -r, "map uid and gid into the user namespace");
	}
	if (sys_setgroups_denied())
		return 0;
	int r = sys_drop_groups();
	return r ? explain(e, -r, "drop supplementary groups") : 0;
}

int userns_enter(bool in_userns, struct err *e)
{
	if (in_userns) {
		int r = enter_userns(e);
		if (r)
			return r;
	}
	/* one of its own for IPC: who enters another without root comes back only so */
	int r = sys_unshare(CLONE_NEWNS | CLONE_NEWIPC);
	if (r)
		return explain(e, -r, "make a mount and an IPC namespace");
	r = sys_mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	if (r)
		return explain(e, -r, "make the mounts private");
	return 0;
}
