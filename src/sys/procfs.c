/*
 * procfs.c - files of /proc/<pid> that hold one record, and lists of numbers.
 * Mappings are in procfs_maps.c, descriptors in procfs_fd.c.
 */
#include "sys/procfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "sys/fault.h"
#include "sys/procfs_internal.h"

enum {
	READ_BYTES = 4096,	/* most records are shorter */
	DENTS_BYTES = 32768,
};

int procfs_open(struct procfs *p, const char *path)
{
	int r = sys_fault("openat");
	if (r)
		return r;
	*p = PROCFS_INIT;
	p->fd = open(path ? path : "/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return p->fd < 0 ? -errno : 0;
}

void procfs_close(struct procfs *p)
{
	cleanup_fd(&p->fd);
	buf_deinit(&p->text);
}

void procfs_path(char *path, size_t cap, pid_t pid, pid_t tid,
		 const char *name)
{
	if (tid)
		snprintf(path, cap, "%d/task/%d/%s", pid, tid, name);
	else
		snprintf(path, cap, "%d/%s", pid, name);
}

int procfs_gone(int r)
{
	return r == -ENOENT ? -ESRCH : r;
}

int procfs_openat(struct procfs *p, pid_t pid, pid_t tid, const char *name,
		  int flags)
{
	int r = sys_fault("openat");
	if (r)
		return r;
	char path[PROCFS_PATH_BYTES];
	procfs_path(path, sizeof(path), pid, tid, name);
	int fd = openat(p->fd, path, flags | O_CLOEXEC);
	return fd < 0 ? procfs_gone(-errno) : fd;
}

/* Append to text until the end, or one read's worth where whole is false. */
static int read_text(int fd, struct buf *text, bool whole)
{
	for (;;) {
		size_t room_bytes = text->cap > text->len + READ_BYTES ?
					    text->cap - text->len - 1 :
					    READ_BYTES;
		char *room = buf_room(text, room_bytes);
		if (!room)
			return -ENOMEM;
		int r = sys_fault("read");
		if (r)
			return r;
		ssize_t n = read(fd, room, room_bytes);
		if (n < 0)
			return -errno;
		buf_grew(text, (size_t)n);
		if (n == 0 || (!whole && (size_t)n < room_bytes))
			return text->len > INT_MAX ? -EFBIG : (int)text->len;
	}
}

static int read_file(struct procfs *p, pid_t pid, pid_t tid, const char *name,
		     bool whole)
{
	scoped_fd int fd = procfs_openat(p, pid, tid, name, O_RDONLY);
	if (fd < 0)
		return fd;
	p->text.len = 0;
	p->text.failed = false;
	return read_text(fd, &p->text, whole);
}

int procfs_read(struct procfs *p, pid_t pid, pid_t tid, const char *name)
{
	return read_file(p, pid, tid, name, true);
}

/* A file whose single record the kernel hands over in one read. */
int procfs_read_record(struct procfs *p, pid_t pid, pid_t tid,
		       const char *name)
{
	int n = read_file(p, pid, tid, name, false);
	return n == 0 ? -ESRCH : n;	/* a reaped task reads as empty */
}

uint64_t procfs_number(const char **s, int base)
{
	const char *c = *s;
	while (*c == ' ' || *c == '\t')
		c++;
	bool negative = *c == '-';
	c += negative;
	uint64_t value = 0;
	for (;; c++) {
		unsigned int digit = *c >= '0' && *c <= '9' ? *c - '0' :
				     *c >= 'a' && *c <= 'f' ? *c - 'a' + 10 :
							      16;
		if (digit >= (unsigned int)base)
			break;
		value = value * (unsigned int)base + digit;
	}
	*s = c;
	return negative ? -value : value;
}

/* Fields of stat after the state, by their number in proc(5). */
enum {
	STAT_FIRST = 4,
	STAT_LAST = 52,
};

int procfs_stat(struct procfs *p, pid_t pid, pid_t tid,
		struct procfs_stat *out)
{
	int n = procfs_read_record(p, pid, tid, "stat");
	if (n < 0)
		return n;
	const char *text = p->text.data;
	const char *open = strchr(text, '(');
	const char *close = strrchr(text, ')');
	if (!open || !close || close < open || close[1] != ' ')
		return -EPROTO;
	*out = (struct procfs_stat){ .state = close[2] };
	const char *s = text;
	out->pid = (pid_t)procfs_number(&s, 10);
	snprintf(out->comm, sizeof(out->comm), "%.*s", (int)(close - open - 1),
		 open + 1);
	uint64_t f[STAT_LAST + 1] = { 0 };
	s = close + 3;
	for (int i = STAT_FIRST; i <= STAT_LAST; i++)
		f[i] = procfs_number(&s, 10);
	out->ppid = (pid_t)f[4];
	out->pgrp = (pid_t)f[5];
	out->session = (pid_t)f[6];
	out->tty_nr = (int)f[7];
	out->tpgid = (int)f[8];
	out->flags = (uint32_t)f[9];
	out->utime = f[14];
	out->stime = f[15];
	out->priority = (long)f[18];
	out->nice = (long)f[19];
	out->num_threads = (long)f[20];
	out->start_time = f[22];
	out->vsize = f[23];
	out->start_code = f[26];
	out->end_code = f[27];
	out->start_stack = f[28];
	out->exit_signal = (uint32_t)f[38];
	out->rt_priority = (unsigned int)f[40];
	out->policy = (unsigned int)f[41];
	out->start_data = f[45];
	out->end_data = f[46];
	out->start_brk = f[47];
	out->arg_start = f[48];
	out->arg_end = f[49];
	out->env_start = f[50];
	out->env_end = f[51];
	out->exit_code = (int)f[52];
	return 0;
}

static int parse_pids(const char *s, pid_t out[PROCFS_NS_DEPTH])
{
	int n = 0;
	while (*s != '\n' && *s && n < PROCFS_NS_DEPTH) {
		out[n++] = (pid_t)procfs_number(&s, 10);
		while (*s == '\t' || *s == ' ')
			s++;
	}
	return n;
}

enum field_kind { INT, DECIMAL, HEX, OCTAL, FLAG, CHAR, FOUR, PIDS };

#define AT(member) offsetof(struct procfs_status, member)

static const struct status_field {
	const char *key;
	enum field_kind kind;
	size_t at;
} status_fields[] = {
	/* in the kernel's order: the search goes on where it stopped */
	{ "Umask", OCTAL, AT(umask) },
	{ "State", CHAR, AT(state) },
	{ "Tgid", INT, AT(tgid) },
	{ "PPid", INT, AT(ppid) },
	{ "TracerPid", INT, AT(tracer_pid) },
	{ "Uid", FOUR, AT(uid) },
	{ "Gid", FOUR, AT(gid) },
	{ "NStgid", PIDS, AT(ns_tgid) },
	{ "NSpid", PIDS, AT(ns_pid) },
	{ "NSpgid", PIDS, AT(ns_pgid) },
	{ "NSsid", PIDS, AT(ns_sid) },
	{ "VmLck", DECIMAL, AT(locked_kb) },
	{ "VmSwap", DECIMAL, AT(swap_kb) },
	{ "Threads", INT, AT(threads) },
	{ "SigPnd", HEX, AT(sig_pending) },
	{ "ShdPnd", HEX, AT(sig_shared_pending) },
	{ "SigBlk", HEX, AT(sig_blocked) },
	{ "SigIgn", HEX, AT(sig_ignored) },
	{ "SigCgt", HEX, AT(sig_caught) },
	{ "CapInh", HEX, AT(cap_inh) },
	{ "CapPrm", HEX, AT(cap_prm) },
	{ "CapEff", HEX, AT(cap_eff) },
	{ "CapBnd", HEX, AT(cap_bnd) },
	{ "CapAmb", HEX, AT(cap_amb) },
	{ "NoNewPrivs", FLAG, AT(no_new_privs) },
	{ "Seccomp", INT, AT(seccomp) },
	{ "Seccomp_filters", INT, AT(seccomp_filters) },
};

enum { N_STATUS_FIELDS = sizeof(status_fields) / sizeof(status_fields[0]) };

static void parse_field(const struct status_field *field, const char *s,
			struct procfs_status *out)
{
	void *at = (char *)out + field->at;
	switch (field->kind) {
	case INT:
		*(int *)at = (int)procfs_number(&s, 10);
		break;
	case DECIMAL:
		*(uint64_t *)at = procfs_number(&s, 10);
		break;
	case HEX:
		*(uint64_t *)at = procfs_number(&s, 16);
		break;
	case OCTAL:
		*(mode_t *)at = (mode_t)procfs_number(&s, 8);
		break;
	case FLAG:
		*(bool *)at = procfs_number(&s, 10) != 0;
		break;
	case CHAR:
		*(char *)at = *s;
		break;
	case FOUR:
		for (int i = 0; i < 4; i++)
			((uint32_t *)at)[i] = (uint32_t)procfs_number(&s, 10);
		break;
	case PIDS:
		out->n_ns = parse_pids(s, at);
		break;
	}
}

const char *procfs_field(const char *text, const char *key)
{
	size_t len = strlen(key);
	for (const char *line = text; line && *line;) {
		if (!strncmp(line, key, len) && line[len] == ':') {
			line += len + 1;
			return line + strspn(line, " \t");
		}
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return NULL;
}

static uint64_t decimal_field(const char *text, const char *key)
{
	const char *value = procfs_field(text, key);
	return value ? procfs_number(&value, 10) : 0;
}

int procfs_status(struct procfs *p, pid_t pid, pid_t tid,
		  struct procfs_status *out)
{
	int n = procfs_read_record(p, pid, tid, "status");
	if (n < 0)
		return n;
	*out = (struct procfs_status){ 0 };
	/* the name may hold anything but a raw newline: skip that line */
	const char *s = strchr(p->text.data, '\n');
	for (size_t i = 0; s && i < N_STATUS_FIELDS; i++) {
		const char *value = procfs_field(s, status_fields[i].key);
		if (!value)
			continue;	/* an older kernel: stays 0 */
		parse_field(&status_fields[i], value, out);
		s = value;
	}
	if (!s || !out->tgid || !out->n_ns)
		return -EPROTO;
	out->voluntary_switches = decimal_field(s, "voluntary_ctxt_switches");
	out->involuntary_switches =
		decimal_field(s, "nonvoluntary_ctxt_switches");
	return 0;
}

int procfs_groups(struct procfs *p, pid_t pid, struct vec *out)
{
	int n = procfs_read_record(p, pid, 0, "status");
	if (n < 0)
		return n;
	const char *name_end = strchr(p->text.data, '\n');
	const char *s = name_end ? procfs_field(name_end + 1, "Groups") : NULL;
	if (!s)
		return -EPROTO;
	n = 0;
	while (*s >= '0' && *s <= '9') {
		gid_t *gid = vec_add(out);
		if (!gid)
			return -ENOMEM;
		*gid = (gid_t)procfs_number(&s, 10);
		s += *s == ' ';
		n++;
	}
	return n;
}

struct linux_dirent64 {
	uint64_t ino;
	int64_t off;
	uint16_t len;
	uint8_t type;
	char name[];
};

int procfs_dir_numbers(int dir_fd, struct vec *out)
{
	/* no heap: this runs while guests are stopped */
	char dents[DENTS_BYTES] __attribute__((aligned(8)));
	int count = 0;
	for (;;) {
		int r = sys_fault("getdents64");
		if (r)
			return r;
		long n = syscall(SYS_getdents64, dir_fd, dents, sizeof(dents));
		if (n < 0)
			return procfs_gone(-errno);
		if (n == 0)
			return count;
		for (long at = 0; at < n;) {
			const struct linux_dirent64 *d =
				(const void *)(dents + at);
			at += d->len;
			if (d->name[0] < '0' || d->name[0] > '9')
				continue;
			int *number = vec_add(out);
			if (!number)
				return -ENOMEM;
			const char *s = d->name;
			*number = (int)procfs_number(&s, 10);
			count++;
		}
	}
}

int procfs_tasks(struct procfs *p, pid_t pid, struct vec *out)
{
	scoped_fd int fd =
		procfs_openat(p, pid, 0, "task", O_RDONLY | O_DIRECTORY);
	return fd < 0 ? fd : procfs_dir_numbers(fd, out);
}

int procfs_children(struct procfs *p, pid_t pid, pid_t tid, struct vec *out)
{
	int n = procfs_read(p, pid, tid, "children");
	if (n < 0)
		return n;
	const char *s = p->text.data;
	int count = 0;
	for (; *s >= '0' && *s <= '9'; count++) {
		pid_t *child = vec_add(out);
		if (!child)
			return -ENOMEM;
		*child = (pid_t)procfs_number(&s, 10);
		s += *s == ' ';
	}
	return count;
}

int procfs_syscall(struct procfs *p, pid_t pid, pid_t tid,
		   struct procfs_syscall *out)
{
	int n = procfs_read_record(p, pid, tid, "syscall");
	if (n < 0)
		return n;
	*out = (struct procfs_syscall){ .nr = -1 };
	const char *s = p->text.data;
	out->running = *s == 'r';
	if (*s < '0' || *s > '9')
		return 0;	/* "running" or "-1 sp pc" */
	out->nr = (long)procfs_number(&s, 10);
	for (int i = 0; i < 6 && !strncmp(s, " 0x", 3); i++) {
		s += 3;
		out->arg[i] = procfs_number(&s, 16);
	}
	return 0;
}

int procfs_auxv(struct procfs *p, pid_t pid, uint64_t *words, size_t cap)
{
	int n = procfs_read_record(p, pid, 0, "auxv");
	if (n < 0)
		return n;
	size_t count = (size_t)n / sizeof(*words);
	if (count > cap)
		return -EMSGSIZE;
	memcpy(words, p->text.data, count * sizeof(*words));
	return (int)count;
}

uint64_t procfs_auxv_get(const uint64_t *words, size_t n, uint64_t type)
{
	for (size_t i = 0; i + 1 < n; i += 2)
		if (words[i] == type)
			return words[i + 1];
	return 0;
}

int procfs_schedstat(struct procfs *p, pid_t pid, pid_t tid, uint64_t *run_ns,
		     uint64_t *timeslices)
{
	int n = procfs_read_record(p, pid, tid, "schedstat");
	if (n < 0)
		return n;
	const char *s = p->text.data;
	*run_ns = procfs_number(&s, 10);
	procfs_number(&s, 10);	/* time waiting for a CPU */
	*timeslices = procfs_number(&s, 10);
	return 0;
}

int procfs_timerslack(struct procfs *p, pid_t tid, uint64_t *ns)
{
	int n = procfs_read_record(p, tid, 0, "timerslack_ns");
	if (n < 0)
		return n;
	const char *s = p->text.data;
	*ns = procfs_number(&s, 10);
	return 0;
}

int procfs_oom_score_adj(struct procfs *p, pid_t pid, int *value)
{
	int n = procfs_read_record(p, pid, 0, "oom_score_adj");
	if (n < 0)
		return n;
	const char *s = p->text.data;
	*value = (int)procfs_number(&s, 10);
	return 0;
}

static int hex_record(struct procfs *p, pid_t pid, const char *name, uint32_t *value)
{
	int n = procfs_read_record(p, pid, 0, name);
	if (n < 0)
		return n;
	const char *s = p->text.data;
	*value = (uint32_t)procfs_number(&s, 16);
	return 0;
}

int procfs_coredump_filter(struct procfs *p, pid_t pid, uint32_t *value)
{
	return hex_record(p, pid, "coredump_filter", value);
}

int procfs_personality(struct procfs *p, pid_t pid, uint32_t *value)
{
	return hex_record(p, pid, "personality", value);
}

/* Rows of /proc/<pid>/limits: name in 26 columns, soft, hard. */
static int limits_by_text(struct procfs *p, pid_t pid, struct rlimit out[RLIM_NLIMITS])
{
	static const char *const names[RLIM_NLIMITS] = {
		[RLIMIT_CPU] = "Max cpu time", [RLIMIT_FSIZE] = "Max file size",
		[RLIMIT_DATA] = "Max data size", [RLIMIT_STACK] = "Max stack size",
		[RLIMIT_CORE] = "Max core file size", [RLIMIT_RSS] = "Max resident set",
		[RLIMIT_NPROC] = "Max processes", [RLIMIT_NOFILE] = "Max open files",
		[RLIMIT_MEMLOCK] = "Max locked memory", [RLIMIT_AS] = "Max address space",
		[RLIMIT_LOCKS] = "Max file locks", [RLIMIT_SIGPENDING] = "Max pending signals",
		[RLIMIT_MSGQUEUE] = "Max msgqueue size", [RLIMIT_NICE] = "Max nice priority",
		[RLIMIT_RTPRIO] = "Max realtime priority",
		[RLIMIT_RTTIME] = "Max realtime timeout",
	};
	enum { NAME_COLUMNS = 26 };
	int r = procfs_read(p, pid, 0, "limits");
	if (r < 0)
		return r;
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		char soft[32], hard[32];
		const char *row = strstr(p->text.data, names[i]);
		if (!row || strlen(row) < NAME_COLUMNS ||
		    sscanf(row + NAME_COLUMNS, "%31s %31s", soft, hard) != 2)
			return -EPROTO;
		out[i].rlim_cur = *soft == 'u' ? RLIM_INFINITY : strtoull(soft, NULL, 10);
		out[i].rlim_max = *hard == 'u' ? RLIM_INFINITY : strtoull(hard, NULL, 10);
	}
	return 0;
}

int procfs_limits(struct procfs *p, pid_t pid, struct rlimit out[RLIM_NLIMITS])
{
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		int r = sys_fault("prlimit");
		if (r)
			return r;
		if (prlimit(pid, (enum __rlimit_resource)i, NULL, &out[i]) == 0)
			continue;
		/* other ids, and no CAP_SYS_RESOURCE: the text may be read */
		return errno == EPERM ? limits_by_text(p, pid, out) : -errno;
	}
	return 0;
}

int procfs_ns_ino(struct procfs *p, pid_t pid, pid_t tid, const char *ns,
		  uint64_t *ino)
{
	int r = sys_fault("statx");
	if (r)
		return r;
	char name[32], path[PROCFS_PATH_BYTES];
	snprintf(name, sizeof(name), "ns/%s", ns);
	procfs_path(path, sizeof(path), pid, tid, name);
	struct stat st;
	if (fstatat(p->fd, path, &st, 0))
		return procfs_gone(-errno);
	*ino = st.st_ino;
	return 0;
}
