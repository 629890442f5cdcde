#include "wire/runtime.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "sys/file.h"
#include "sys/stream.h"

enum { INFO_MAX_BYTES = 1 << 20 };

int runtime_check_name(const char *name, struct err *e)
{
	size_t len = strlen(name);
	bool good = len > 0 && len < RUNTIME_NAME_BYTES && isalnum((unsigned char)name[0]);
	for (size_t i = 0; good && i < len; i++) {
		unsigned char c = (unsigned char)name[i];
		good = c < 0x80 && (isalnum(c) || strchr("_.-", c));
	}
	if (good)
		return 0;
	err_set(e, EINVAL, "'%.80s' cannot be the name of a sandbox", name);
	return err_remedy(e, "a name has 1 to %d letters, digits, '.', '_' or '-' and starts with "
			     "a letter or digit", RUNTIME_NAME_BYTES - 1);
}

static int path_too_long(struct err *e)
{
	return err_set(e, ENAMETOOLONG, "the path of the runtime or state directory is too long");
}

static int path_print(char *out, struct err *e, const char *fmt, const char *a)
{
	int n = snprintf(out, RUNTIME_PATH_BYTES, fmt, a);
	return n < RUNTIME_PATH_BYTES ? 0 : path_too_long(e);
}

static const char *env_path(const char *name)
{
	const char *v = getenv(name);
	return v && v[0] ? v : NULL;
}

int runtime_path(char out[RUNTIME_PATH_BYTES], struct err *e)
{
	const char *given = env_path("MULLIGAN_RUNTIME");
	if (given && given[0] != '/') {
		err_set(e, EINVAL, "MULLIGAN_RUNTIME='%s' is not an absolute path", given);
		return err_remedy(e, "set it to an absolute path or unset it");
	}
	if (given)
		return path_print(out, e, "%s", given);
	if (geteuid() == 0)
		return path_print(out, e, "%s", "/run/mulligan");
	const char *xdg = env_path("XDG_RUNTIME_DIR");
	if (xdg && !access(xdg, W_OK))
		return path_print(out, e, "%s/mulligan", xdg);
	snprintf(out, RUNTIME_PATH_BYTES, "/tmp/mulligan-%u", geteuid());
	return 0;
}

int runtime_state_path(char out[RUNTIME_PATH_BYTES], struct err *e)
{
	const char *given = env_path("MULLIGAN_STATE");
	if (given && given[0] != '/') {
		err_set(e, EINVAL, "MULLIGAN_STATE='%s' is not an absolute path", given);
		return err_remedy(e, "set it to an absolute path or unset it");
	}
	if (given)
		return path_print(out, e, "%s", given);
	if (geteuid() == 0)
		return path_print(out, e, "%s", "/var/lib/mulligan");
	const char *data = env_path("XDG_STATE_HOME");
	if (data)
		return path_print(out, e, "%s/mulligan", data);
	const char *home = env_path("HOME");
	if (home)
		return path_print(out, e, "%s/.local/state/mulligan", home);
	err_set(e, ENOENT, "no place for the state directory: HOME is not set");
	return err_remedy(e, "set MULLIGAN_STATE to a directory of yours");
}

int runtime_open(struct err *e)
{
	char path[RUNTIME_PATH_BYTES];
	int r = runtime_path(path, e);
	if (r)
		return r;
	if (mkdir(path, 0700) && errno != EEXIST) {
		err_set(e, errno, "make the runtime directory %s: %s", path, strerror(errno));
		return err_remedy(e, "set MULLIGAN_RUNTIME to a directory of yours");
	}
	scoped_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st)) {
		err_set(e, errno, "open the runtime directory %s: %s", path, strerror(errno));
		return err_path(e, path);
	}
	if (st.st_uid != geteuid() || (st.st_mode & 022)) {
		err_set(e, EPERM, "the runtime directory %s is %s", path,
			st.st_uid != geteuid() ? "owned by someone else" : "writable by others");
		err_remedy(e, "set MULLIGAN_RUNTIME to a directory that only you can write to");
		return err_path(e, path);
	}
	return take_fd(&fd);
}

int runtime_lock(int runtime_fd, struct err *e)
{
	scoped_fd int fd = openat(runtime_fd, ".lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
				  0600);
	if (fd < 0)
		return err_set(e, errno, "open the lock of the runtime directory: %s",
			       strerror(errno));
	int r;
	do
		r = flock(fd, LOCK_EX);
	while (r && errno == EINTR);
	if (r)
		return err_set(e, errno, "lock the runtime directory: %s", strerror(errno));
	return take_fd(&fd);
}

/* Is the lock of <name>/pid held by someone? 1, 0, or -errno. */
static int pid_locked(int pid_fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	if (fcntl(pid_fd, F_OFD_GETLK, &lock))
		return -errno;
	return lock.l_type != F_UNLCK;
}

static int open_entry(int runtime_fd, const char *name)
{
	int fd = openat(runtime_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Fill *out from <name>/pid. -ENOENT when the entry is gone. */
static int entry_read(int runtime_fd, const char *name, struct runtime_entry *out)
{
	scoped_fd int dir = open_entry(runtime_fd, name);
	if (dir < 0)
		return dir;
	*out = (struct runtime_entry){ .alive = false };
	snprintf(out->name, sizeof(out->name), "%s", name);
	scoped_fd int fd = openat(dir, "pid", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return 0;
	out->alive = pid_locked(fd) == 1;
	char text[32] = "";
	if (out->alive && pread(fd, text, sizeof(text) - 1, 0) > 0)
		out->pid = atoi(text);
	return 0;
}

/* Remove <name> with the few files that it can hold. */
static int remove_entry(int runtime_fd, const char *name)
{
	static const char *const files[] = { "sock", "info.json", "info.json.new", "log", "pid" };
	scoped_fd int dir = open_entry(runtime_fd, name);
	if (dir < 0)
		return dir;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (unlinkat(dir, files[i], 0) && errno != ENOENT)
			return -errno;
	return unlinkat(runtime_fd, name, AT_REMOVEDIR) ? -errno : 0;
}

static int claim_refused(const char *name, struct err *e)
{
	err_set(e, EEXIST, "a sandbox named '%s' exists already", name);
	return err_remedy(e, "choose another name, or `mulligan rm %s`", name);
}

/* Under the runtime lock: make <name>/ anew and lock its pid file. */
static int claim_locked(int runtime_fd, const char *name, struct runtime_place *p, struct err *e)
{
	struct runtime_entry old;
	int r = entry_read(runtime_fd, name, &old);
	if (!r && old.alive)
		return claim_refused(name, e);
	if (!r)
		r = remove_entry(runtime_fd, name);
	if (r && r != -ENOENT)
		return err_set(e, -r, "clear away what a dead sandbox '%s' left: %s", name,
			       strerror(-r));
	if (mkdirat(runtime_fd, name, 0700))
		return err_set(e, errno, "make the runtime directory of '%s': %s", name,
			       strerror(errno));
	p->dir_fd = open_entry(runtime_fd, name);
	if (p->dir_fd < 0)
		return err_set(e, -p->dir_fd, "open the runtime directory of '%s'", name);
	p->pid_fd = openat(p->dir_fd, "pid", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	if (p->pid_fd < 0 || fcntl(p->pid_fd, F_OFD_SETLK, &lock))
		return err_set(e, errno, "lock the name '%s': %s", name, strerror(errno));
	r = runtime_place_sign(p, e);
	if (r)
		return r;
	p->listen_fd = sys_stream_listen(p->dir_fd, "sock");
	if (p->listen_fd < 0)
		return err_set(e, -p->listen_fd, "listen on the socket of '%s': %s", name,
			       strerror(-p->listen_fd));
	return 0;
}

int runtime_claim(int runtime_fd, const char *name, struct runtime_place *out, struct err *e)
{
	*out = RUNTIME_PLACE_INIT;
	int r = runtime_check_name(name, e);
	if (r)
		return r;
	scoped_fd int lock = runtime_lock(runtime_fd, e);
	if (lock < 0)
		return lock;
	snprintf(out->name, sizeof(out->name), "%s", name);
	r = claim_locked(runtime_fd, name, out, e);
	if (r && out->dir_fd >= 0)
		remove_entry(runtime_fd, name);
	if (r)
		runtime_place_deinit(out);
	return r;
}

int runtime_place_sign(struct runtime_place *p, struct err *e)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%d\n", getpid());
	if (pwrite(p->pid_fd, text, (size_t)n, 0) != n || ftruncate(p->pid_fd, n))
		return err_set(e, EIO, "write the pid file of '%s'", p->name);
	return 0;
}

int runtime_place_info(struct runtime_place *p, const json_t *info, struct err *e)
{
	struct buf b = BUF_INIT;
	json_write(&b, info);
	buf_str(&b, "\n");
	int code = b.failed ? ENOMEM : 0;
	scoped_fd int fd = openat(p->dir_fd, "info.json.new",
				  O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (!code && fd < 0)
		code = errno;
	if (!code && write(fd, b.data, b.len) != (ssize_t)b.len)
		code = EIO;
	buf_deinit(&b);
	if (!code && renameat(p->dir_fd, "info.json.new", p->dir_fd, "info.json"))
		code = errno;
	return code ? err_set(e, code, "write info.json of '%s': %s", p->name, strerror(code)) : 0;
}

void runtime_place_deinit(struct runtime_place *p)
{
	cleanup_fd(&p->listen_fd);
	cleanup_fd(&p->dir_fd);
	cleanup_fd(&p->pid_fd);
}

void runtime_place_release(int runtime_fd, struct runtime_place *p)
{
	if (p->dir_fd < 0)
		return;
	struct err ignored;
	/* without the lock the worst is that a claimer sees us alive a moment longer */
	scoped_fd int lock = runtime_lock(runtime_fd, &ignored);
	remove_entry(runtime_fd, p->name);
	runtime_place_deinit(p);
}

static int by_name(const void *a, const void *b)
{
	const struct runtime_entry *x = a, *y = b;
	return strcmp(x->name, y->name);
}

/* .lock, and what is not ours or gone, is nothing. */
static int list_entry(int runtime_fd, const char *name, struct vec *list)
{
	struct runtime_entry entry;
	struct err ignored;
	if (runtime_check_name(name, &ignored) || entry_read(runtime_fd, name, &entry))
		return 0;
	struct runtime_entry *added = vec_add(list);
	if (added)
		*added = entry;
	return added ? 0 : -ENOMEM;
}

int runtime_list(int runtime_fd, struct vec *out, struct err *e)
{
	struct vec list = VEC_INIT(struct runtime_entry);
	scoped_dir DIR *dir = NULL;
	struct dirent *d;
	int r = sys_opendir_fd(runtime_fd, &dir);
	while (r == 0 && (r = sys_readdir(dir, &d)) > 0)
		r = list_entry(runtime_fd, d->d_name, &list);
	if (r < 0) {
		vec_deinit(&list);
		return err_set(e, -r, "read the runtime directory: %s", strerror(-r));
	}
	if (list.n)
		qsort(list.data, list.n, sizeof(struct runtime_entry), by_name);
	*out = list;
	return 0;
}

static int no_such_sandbox(const char *name, struct err *e)
{
	err_set(e, ENOENT, "no sandbox named '%s'", name);
	return err_remedy(e, "`mulligan ps` lists them");
}

int runtime_find(int runtime_fd, const char *name, struct runtime_entry *out, struct err *e)
{
	int r = runtime_check_name(name, e);
	if (r)
		return r;
	r = entry_read(runtime_fd, name, out);
	if (r == -ENOENT)
		return no_such_sandbox(name, e);
	return r ? err_set(e, -r, "look for the sandbox '%s': %s", name, strerror(-r)) : 0;
}

json_t *runtime_info(int runtime_fd, const char *name)
{
	scoped_fd int dir = open_entry(runtime_fd, name);
	if (dir < 0)
		return NULL;
	scoped_fd int fd = openat(dir, "info.json", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) || st.st_size > INFO_MAX_BYTES)
		return NULL;
	json_error_t bad;
	json_t *j = json_loadfd(fd, 0, &bad);
	if (j && !json_is_object(j)) {
		json_decref(j);
		j = NULL;
	}
	return j;
}

int runtime_clear(int runtime_fd, const char *name, struct err *e)
{
	scoped_fd int lock = runtime_lock(runtime_fd, e);
	if (lock < 0)
		return lock;
	struct runtime_entry entry;
	int r = runtime_find(runtime_fd, name, &entry, e);
	if (r)
		return r;
	if (entry.alive)
		return 0;
	r = remove_entry(runtime_fd, name);
	return r ? err_set(e, -r, "remove what the sandbox '%s' left: %s", name, strerror(-r)) : 1;
}

static int dead_keeper(const char *name, struct err *e)
{
	err_set(e, ECONNREFUSED, "the keeper of the sandbox '%s' died", name);
	return err_remedy(e, "`mulligan tree %s` lists checkpoints of which the files are kept, "
			     "`mulligan rm %s` removes what is left of it", name, name);
}

int runtime_connect(int runtime_fd, const char *name, struct err *e)
{
	scoped_fd int dir = open_entry(runtime_fd, name);
	if (dir == -ENOENT)
		return no_such_sandbox(name, e);
	if (dir < 0)
		return err_set(e, -dir, "open the runtime directory of '%s': %s", name,
			       strerror(-dir));
	int fd = sys_stream_connect(dir, "sock");
	if (fd >= 0)
		return fd;
	struct runtime_entry entry;
	if (entry_read(runtime_fd, name, &entry))
		return no_such_sandbox(name, e);
	if (!entry.alive)
		return dead_keeper(name, e);
	err_set(e, -fd, "connect to the keeper of '%s': %s", name, strerror(-fd));
	return err_remedy(e, "it may be starting or ending: try again");
}
