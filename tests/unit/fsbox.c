#include "fsbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness/harness.h"
#include "sandbox/spares.h"
#include "store/tree.h"
#include "sys/file.h"
#include "sys/mount.h"

enum { OTHER_ID = 12345, NAME_BYTES = 160 };

static void write_file(const char *path, const char *text)
{
	int fd = t_sys(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
	t_eq(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void enter_userns(void)
{
	char map[64];
	uid_t uid = geteuid();
	gid_t gid = getegid();
	t_sys(unshare(CLONE_NEWUSER | CLONE_NEWNS));
	write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", uid);
	write_file("/proc/self/uid_map", map);
	snprintf(map, sizeof(map), "0 %u 1", gid);
	write_file("/proc/self/gid_map", map);
}

static void mount_kind(struct fsbox *b, const char *size)
{
	char options[64], command[512];
	if (!strcmp(b->fs, "tmpfs")) {
		snprintf(options, sizeof(options), "size=%s,mode=0700", size);
		t_sys(mount("tmpfs", b->dir, "tmpfs", 0, options));
	} else if (!strcmp(b->fs, "xfs")) {
		snprintf(command, sizeof(command),
			 "truncate -s 320M %s.img && mkfs.xfs -q %s.img && mount -o loop %s.img %s",
			 b->dir, b->dir, b->dir, b->dir);
		if (system(command))
			t_skip("no XFS image can be mounted here");
	}
}

static void make_root(struct fsbox *b)
{
	static const char *const dirs[] = {"",     "/etc", "/dev",  "/proc",    "/tmp",
					   "/old", "/vol", "/data", "/data/sub"};
	char path[NAME_BYTES + 32];
	snprintf(b->root, sizeof(b->root), "%s/root", b->dir);
	snprintf(b->volume, sizeof(b->volume), "%s/volume", b->dir);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", b->root, dirs[i]);
		t_sys(mkdir(path, 0755));
	}
	t_sys(mkdir(b->volume, 0755));
	snprintf(path, sizeof(path), "%s/inner", b->volume);
	t_sys(mkdir(path, 0755));
	snprintf(path, sizeof(path), "%s/v.txt", b->volume);
	write_file(path, "volume");
	snprintf(path, sizeof(path), "%s/data/low.txt", b->root);
	write_file(path, "low");
	snprintf(path, sizeof(path), "%s/data/sub/deep.txt", b->root);
	write_file(path, "deep");
	snprintf(path, sizeof(path), "%s/etc/hosts", b->root);
	write_file(path, "hosts");
}

static void run_body(struct fsbox *b, void (*body)(struct fsbox *b), const char *size)
{
	struct err e = ERR_INIT;
	bool root = geteuid() == 0;
	if (!root && strcmp(b->fs, "dir"))
		enter_userns();
	else if (root)
		t_sys(unshare(CLONE_NEWNS));
	if (root || strcmp(b->fs, "dir")) {
		t_sys(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
		mount_kind(b, size);
	}
	b->userns = !root || getenv("FSBOX_ROOTLESS");
	if (root && b->userns) {
		t_sys(chmod(t_tmpdir(), 0755));
		t_sys(chown(b->dir, OTHER_ID, OTHER_ID));
		t_become(OTHER_ID, OTHER_ID);
	}
	if (geteuid() != 0)
		enter_userns();
	t_sys(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	make_root(b);
	char state[NAME_BYTES];
	snprintf(state, sizeof(state), "%s/state", b->dir);
	t_ok_e(store_open(state, &b->store, &e), &e);
	spec_init(&b->spec);
	int fds = count_fds();
	body(b);
	t_eq(count_fds(), fds);
	t_eq(count_entries(b, "sandboxes"), 0);
	spec_deinit(&b->spec);
	store_close(b->store);
	t_ok(tree_remove(AT_FDCWD, state));
	_exit(0);
}

/* False: it was skipped there. */
static bool run_kind(const char *kind, void (*body)(struct fsbox *b), const char *size)
{
	struct fsbox b = {.fs = kind};
	snprintf(b.dir, sizeof(b.dir), "%s/%s", t_tmpdir(), kind);
	t_sys(mkdir(b.dir, 0755));
	pid_t pid = t_fork();
	if (pid == 0)
		run_body(&b, body, size);
	int status = t_wait(pid);
	if (status == T_SKIPPED)
		t_note("skipped on %s", kind);
	else if (status)
		t_fail("on %s: ended with %d", kind, status);
	return !status;
}

/* For the reason that the process of the last kind gave. */
static void __attribute__((noreturn)) skip_too(void)
{
	fflush(NULL);
	_exit(T_SKIPPED);
}

void fsbox_each(void (*body)(struct fsbox *b))
{
	bool ran = run_kind("dir", body, "");
	ran |= run_kind("tmpfs", body, "256m");
	if (geteuid() == 0)
		ran |= run_kind("xfs", body, "");
	if (!ran)
		skip_too();
}

void fsbox_small(void (*body)(struct fsbox *b), const char *size)
{
	if (!run_kind("tmpfs", body, size))
		skip_too();
}

int count_entries(const struct fsbox *b, const char *name)
{
	int fd = t_sys(openat(store_fd(b->store), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	DIR *dir = fdopendir(fd);
	int n = 0;
	struct dirent *d;
	while ((d = readdir(dir)))
		n += d->d_name[0] != '.';
	closedir(dir);
	return n;
}

int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* The guest's side. */

enum op {
	OP_OPEN,
	OP_CLOSE,
	OP_WRITE,
	OP_MAP,
	OP_POKE,
	OP_PUT,
	OP_MKDIR,
	OP_UNLINK,
	OP_RENAME,
	OP_LINK,
	OP_CHMOD,
	OP_CHDIR,
	OP_BIND,
	OP_EXISTS,
	OP_INO,
	OP_FD_INO,
	OP_GET,
};

struct order {
	enum op op;
	int slot;
	int number;
	char a[NAME_BYTES];
	char b[FSBOX_TEXT];
};

struct answer {
	int result;
	uint64_t ino;
	char text[FSBOX_TEXT];
};

static int plain(long r)
{
	return r < 0 ? -errno : (int)r;
}

static int put_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	ssize_t n = write(fd, text, strlen(text));
	int r = n < 0 ? -errno : 0;
	close(fd);
	return r;
}

static int get_text(int dir_fd, const char *path, char *text)
{
	int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, text, FSBOX_TEXT - 1);
	close(fd);
	text[n < 0 ? 0 : n] = '\0';
	return n < 0 ? -EIO : 0;
}

static int obey(const struct order *o, struct answer *a)
{
	static int fd[FSBOX_SLOTS];
	static char *map[FSBOX_SLOTS];
	struct stat st;
	int r;
	switch (o->op) {
	case OP_OPEN:
		r = open(o->a, o->number | O_CLOEXEC, 0644);
		fd[o->slot] = r;
		return r < 0 ? -errno : 0;
	case OP_CLOSE:
		return plain(close(fd[o->slot]));
	case OP_WRITE:
		return plain(write(fd[o->slot], o->b, strlen(o->b)));
	case OP_MAP:
		map[o->slot] = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd[o->slot], 0);
		return map[o->slot] == MAP_FAILED ? -errno : 0;
	case OP_POKE:
		memcpy(map[o->slot], o->b, strlen(o->b));
		return 0;
	case OP_PUT:
		return put_text(o->a, o->b);
	case OP_MKDIR:
		return plain(mkdir(o->a, 0755));
	case OP_UNLINK:
		return plain(remove(o->a));
	case OP_RENAME:
		return plain(rename(o->a, o->b));
	case OP_LINK:
		return plain(link(o->a, o->b));
	case OP_CHMOD:
		return plain(chmod(o->a, (mode_t)o->number));
	case OP_CHDIR:
		return plain(chdir(o->a));
	case OP_BIND:
		return plain(mount(o->a, o->b, NULL, MS_BIND, NULL));
	case OP_EXISTS:
		return lstat(o->a, &st) == 0;
	case OP_INO:
		r = plain(lstat(o->a, &st));
		a->ino = st.st_ino;
		return r;
	case OP_FD_INO:
		r = plain(fstat(fd[o->slot], &st));
		a->ino = st.st_ino;
		return r;
	case OP_GET:
		return get_text(AT_FDCWD, o->a, a->text);
	}
	return -ENOSYS;
}

static void mount_tree(const struct fsbox *b, const struct fs_tree *t)
{
	char mnt[NAME_BYTES], path[2 * NAME_BYTES];
	snprintf(mnt, sizeof(mnt), "%s/mnt", b->dir);
	mkdir(mnt, 0755);
	vec_each(struct fs_mount, m, &t->mounts)
	{
		snprintf(path, sizeof(path), "%s%s", mnt, strcmp(m->target, "/") ? m->target : "");
		t_ok(sys_move_mount(m->mnt_fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH));
	}
	snprintf(path, sizeof(path), "%s/dev", mnt);
	t_sys(mount("tmpfs", path, "tmpfs", 0, "size=1m"));
	snprintf(path, sizeof(path), "%s/dev/pts", mnt);
	t_sys(mkdir(path, 0755));
	t_sys(mount("tmpfs", path, "tmpfs", 0, "size=1m"));
	/* A file mounted over a file. */
	snprintf(path, sizeof(path), "%s/etc/hosts", mnt);
	char hosts[2 * NAME_BYTES];
	snprintf(hosts, sizeof(hosts), "%s/dev/hosts", mnt);
	write_file(hosts, "mounted");
	t_sys(mount(hosts, path, NULL, MS_BIND, NULL));
	t_sys(chdir(mnt));
	t_sys(syscall(SYS_pivot_root, ".", "."));
	t_sys(umount2(".", MNT_DETACH));
	t_sys(chdir("/"));
}

void guest_start(struct guest *g, const struct fsbox *b, const struct fs_tree *t)
{
	int pair[2];
	t_sys(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	g->pid = t_fork();
	if (g->pid == 0) {
		t_sys(unshare(CLONE_NEWNS));
		t_sys(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
		mount_tree(b, t);
		t_sys(dup2(pair[1], 3));
		t_sys(close_range(4, ~0u, 0));
		struct order o;
		struct answer a = {0};
		send(3, &a, sizeof(a), 0);
		while (recv(3, &o, sizeof(o), 0) == (ssize_t)sizeof(o)) {
			a = (struct answer){0};
			a.result = obey(&o, &a);
			send(3, &a, sizeof(a), 0);
		}
		_exit(0);
	}
	close(pair[1]);
	g->socket_fd = pair[0];
	struct answer a;
	t_eq(recv(g->socket_fd, &a, sizeof(a), 0), sizeof(a));
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", g->pid);
	g->mntns_fd = t_sys(open(path, O_RDONLY | O_CLOEXEC));
}

void guest_stop(struct guest *g)
{
	close(g->socket_fd);
	close(g->mntns_fd);
	t_join(g->pid);
}

void fsrun_begin(struct fsrun *r, const struct fsbox *b, struct fs_spares *spares,
		 const struct fs_snapshot *s)
{
	struct err e = ERR_INIT;
	t_ok_e(fs_tree_new(b->store, spares, b->root, &b->spec, s, &r->tree, &e), &e);
	guest_start(&r->guest, b, r->tree);
}

void fsrun_end(struct fsrun *r)
{
	guest_stop(&r->guest);
	fs_tree_recycle(r->tree);
	fs_tree_free(r->tree);
}

static struct answer tell(struct guest *g, enum op op, int slot, int number, const char *a,
			  const char *b)
{
	struct order o = {.op = op, .slot = slot, .number = number};
	struct answer answer;
	snprintf(o.a, sizeof(o.a), "%s", a ? a : "");
	snprintf(o.b, sizeof(o.b), "%s", b ? b : "");
	t_eq(send(g->socket_fd, &o, sizeof(o), 0), sizeof(o));
	t_eq(recv(g->socket_fd, &answer, sizeof(answer), 0), sizeof(answer));
	return answer;
}

int guest_open(struct guest *g, int slot, const char *path, int flags)
{
	return tell(g, OP_OPEN, slot, flags, path, NULL).result;
}

int guest_close(struct guest *g, int slot)
{
	return tell(g, OP_CLOSE, slot, 0, NULL, NULL).result;
}

int guest_write(struct guest *g, int slot, const char *text)
{
	return tell(g, OP_WRITE, slot, 0, NULL, text).result;
}

int guest_map(struct guest *g, int slot)
{
	return tell(g, OP_MAP, slot, 0, NULL, NULL).result;
}

int guest_poke(struct guest *g, int slot, const char *text)
{
	return tell(g, OP_POKE, slot, 0, NULL, text).result;
}

int guest_put(struct guest *g, const char *path, const char *text)
{
	return tell(g, OP_PUT, 0, 0, path, text).result;
}

int guest_mkdir(struct guest *g, const char *path)
{
	return tell(g, OP_MKDIR, 0, 0, path, NULL).result;
}

int guest_unlink(struct guest *g, const char *path)
{
	return tell(g, OP_UNLINK, 0, 0, path, NULL).result;
}

int guest_rename(struct guest *g, const char *from, const char *to)
{
	return tell(g, OP_RENAME, 0, 0, from, to).result;
}

int guest_link(struct guest *g, const char *from, const char *to)
{
	return tell(g, OP_LINK, 0, 0, from, to).result;
}

int guest_chmod(struct guest *g, const char *path, unsigned mode)
{
	return tell(g, OP_CHMOD, 0, (int)mode, path, NULL).result;
}

int guest_chdir(struct guest *g, const char *path)
{
	return tell(g, OP_CHDIR, 0, 0, path, NULL).result;
}

int guest_bind(struct guest *g, const char *from, const char *to)
{
	return tell(g, OP_BIND, 0, 0, from, to).result;
}

int guest_exists(struct guest *g, const char *path)
{
	return tell(g, OP_EXISTS, 0, 0, path, NULL).result;
}

uint64_t guest_ino(struct guest *g, const char *path)
{
	struct answer a = tell(g, OP_INO, 0, 0, path, NULL);
	t_eq(a.result, 0);
	return a.ino;
}

uint64_t guest_fd_ino(struct guest *g, int slot)
{
	struct answer a = tell(g, OP_FD_INO, slot, 0, NULL, NULL);
	t_eq(a.result, 0);
	return a.ino;
}

const char *guest_get(struct guest *g, const char *path)
{
	static char text[FSBOX_TEXT];
	struct answer a = tell(g, OP_GET, 0, 0, path, NULL);
	snprintf(text, sizeof(text), "%s", a.result ? strerror(-a.result) : a.text);
	return text;
}

const char *snapshot_get(const struct fsbox *b, const struct fs_snapshot *s, const char *path)
{
	static char text[FSBOX_TEXT];
	struct err e = ERR_INIT;
	struct fs_tree *t;
	t_ok_e(fs_tree_new(b->store, NULL, b->root, &b->spec, s, &t, &e), &e);
	struct fs_mount *best = vec_at(&t->mounts, 0);
	vec_each(struct fs_mount, m, &t->mounts)
	{
		size_t len = strlen(m->target);
		if (len > 1 && !strncmp(path, m->target, len) && path[len] == '/')
			best = m;
	}
	const char *rest = path + (strlen(best->target) > 1 ? strlen(best->target) : 0);
	int r = get_text(best->mnt_fd, rest + 1, text);
	if (r)
		snprintf(text, sizeof(text), "%s", strerror(-r));
	fs_tree_free(t);
	return text;
}

static void guest_lines(const struct guest *g, struct vec *lines)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d", g->pid);
	int fd = t_sys(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
	t_ok(sys_mountinfo(fd, lines));
	close(fd);
}

int guest_mounts(const struct guest *g)
{
	struct vec lines;
	guest_lines(g, &lines);
	int n = (int)lines.n;
	mount_lines_deinit(&lines);
	return n;
}

uint64_t guest_root_id(const struct guest *g)
{
	char path[64];
	uint64_t id;
	snprintf(path, sizeof(path), "/proc/%d/root", g->pid);
	int fd = t_sys(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
	t_ok(sys_mnt_id(fd, &id));
	close(fd);
	return id;
}
