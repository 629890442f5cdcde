/* acts_files.c - names, contents and descriptors of files. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "actor.h"

#define PATH(i) act_word(a, i)
#define NUM(i) act_number(a, i)
#define FD(i) ((int)act_number(a, i))

static void do_open(struct act *a)
{
	act_result(a, open(PATH(0), FD(1), (mode_t)NUM(2)));
}

static void do_close(struct act *a)
{
	act_result(a, close(FD(0)));
}

static void do_dup(struct act *a)
{
	act_result(a, dup(FD(0)));
}

static void do_dup2(struct act *a)
{
	act_result(a, dup2(FD(0), FD(1)));
}

/* set file status flags */
static void do_setfl(struct act *a)
{
	act_result(a, fcntl(FD(0), F_SETFL, FD(1)));
}

static void do_setfd(struct act *a)
{
	act_result(a, fcntl(FD(0), F_SETFD, FD(1)));
}

static void do_lseek(struct act *a)
{
	act_result(a, lseek(FD(0), NUM(1), FD(2)));
}

static void do_ftruncate(struct act *a)
{
	act_result(a, ftruncate(FD(0), NUM(1)));
}

static void do_pwrite(struct act *a)
{
	size_t len;
	const char *bytes = act_data(a, 2, &len);
	act_result(a, pwrite(FD(0), bytes, len, NUM(1)));
}

static void do_pread(struct act *a)
{
	static char bytes[TEXT_BYTES];
	ssize_t n = pread(FD(0), bytes, (size_t)NUM(2), NUM(1));
	if (n < 0)
		act_result(a, n);
	else
		act_bytes(a, bytes, (size_t)n);
}

static void do_flock(struct act *a)
{
	act_result(a, flock(FD(0), FD(1) | LOCK_NB));
}

/* FD TYPE: a POSIX lock of the whole file */
static void do_lock(struct act *a)
{
	struct flock all = {.l_type = (short)NUM(1), .l_whence = SEEK_SET};
	act_result(a, fcntl(FD(0), F_SETLK, &all));
}

static void do_rename(struct act *a)
{
	act_result(a, rename(PATH(0), PATH(1)));
}

static void do_link(struct act *a)
{
	act_result(a, link(PATH(0), PATH(1)));
}

static void do_unlink(struct act *a)
{
	act_result(a, unlink(PATH(0)));
}

static void do_rmdir(struct act *a)
{
	act_result(a, rmdir(PATH(0)));
}

static void do_mkdir(struct act *a)
{
	act_result(a, mkdir(PATH(0), (mode_t)NUM(1)));
}

static void do_mkfifo(struct act *a)
{
	act_result(a, mkfifo(PATH(0), (mode_t)NUM(1)));
}

static void do_symlink(struct act *a)
{
	act_result(a, symlink(PATH(0), PATH(1)));
}

static void do_chmod(struct act *a)
{
	act_result(a, chmod(PATH(0), (mode_t)NUM(1)));
}

static void do_truncate(struct act *a)
{
	act_result(a, truncate(PATH(0), NUM(1)));
}

static void do_utime(struct act *a)
{
	struct timespec both[2] = {{.tv_sec = NUM(1), .tv_nsec = NUM(2)},
				   {.tv_sec = NUM(1), .tv_nsec = NUM(2)}};
	act_result(a, utimensat(AT_FDCWD, PATH(0), both, AT_SYMLINK_NOFOLLOW));
}

static void do_setxattr(struct act *a)
{
	act_result(a, lsetxattr(PATH(0), PATH(1), PATH(2), strlen(PATH(2)), 0));
}

static void do_removexattr(struct act *a)
{
	act_result(a, lremovexattr(PATH(0), PATH(1)));
}

static void do_chdir(struct act *a)
{
	act_result(a, chdir(PATH(0)));
}

/* The sum of a file's contents, read anew. */
static uint32_t sum_of(const char *path)
{
	char bytes[4096];
	uint32_t crc = 0;
	int fd = open(path, O_RDONLY | O_NOFOLLOW);
	for (ssize_t n; fd >= 0 && (n = read(fd, bytes, sizeof(bytes))) > 0;)
		crc = crc32_of(crc, bytes, (size_t)n);
	if (fd >= 0)
		close(fd);
	return crc;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void say_xattrs(struct act *a, const char *path)
{
	char names[1024], value[256], *sorted[32];
	size_t count = 0;
	ssize_t len = llistxattr(path, names, sizeof(names));
	for (ssize_t at = 0; at < len && count < 32; at += (ssize_t)strlen(names + at) + 1)
		sorted[count++] = names + at;
	qsort(sorted, count, sizeof(*sorted), by_text);
	for (size_t i = 0; i < count; i++) {
		ssize_t n = lgetxattr(path, sorted[i], value, sizeof(value));
		act_say(a, ",%s=%.*s", sorted[i], n < 0 ? 0 : (int)n, value);
	}
}

/* "PATH;MODE;LINKS;MTIME;WHAT[,ATTRIBUTE=VALUE..]"; no links of directories */
static void say_tree(struct act *a, const char *path)
{
	struct stat st;
	if (lstat(path, &st)) {
		act_say(a, " %s;%d", path, -errno);
		return;
	}
	act_say(a, " %s;%o;%ld;%lld.%09ld;", path, st.st_mode,
		S_ISDIR(st.st_mode) ? 0L : (long)st.st_nlink, (long long)st.st_mtim.tv_sec,
		st.st_mtim.tv_nsec);
	if (S_ISREG(st.st_mode)) {
		act_say(a, "%lld:%08x", (long long)st.st_size, sum_of(path));
	} else if (S_ISLNK(st.st_mode)) {
		char to[256];
		ssize_t n = readlink(path, to, sizeof(to));
		act_say(a, "%.*s", n < 0 ? 0 : (int)n, to);
	}
	say_xattrs(a, path);
	struct dirent **entry;
	int n = S_ISDIR(st.st_mode) ? scandir(path, &entry, NULL, alphasort) : 0;
	for (int i = 0; i < n; i++) {
		char below[512];
		snprintf(below, sizeof(below), "%s/%s", path, entry[i]->d_name);
		if (strcmp(entry[i]->d_name, ".") && strcmp(entry[i]->d_name, ".."))
			say_tree(a, below);
		free(entry[i]);
	}
	if (n > 0)
		free(entry);
}

static void do_tree(struct act *a)
{
	say_tree(a, act_word(a, 0));
}

static long eventfd_count(int fd)
{
	char path[64], line[128];
	unsigned long count;
	long found = -1;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "eventfd-count: %lx", &count) == 1)
			found = (long)count;
	if (f)
		fclose(f);
	return found;
}

/*
 * " fN:TYPE:FDFLAGS:FLAGS:EXTRA" of each open number from 3 on. Not the number
 * of links: overlayfs tells the lower file's of one that was unlinked.
 */
void say_files(struct act *a)
{
	for (int fd = 3; fd < FDS; fd++) {
		struct stat st;
		int cloexec = fcntl(fd, F_GETFD);
		if (cloexec < 0)
			continue;
		if (fstat(fd, &st))
			abort();
		int flags = fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK);
		act_say(a, " f%d:%o:%d:%o:", fd, st.st_mode & S_IFMT, cloexec, flags);
		if (S_ISREG(st.st_mode))
			act_say(a, "%ld,%o,%ld", (long)lseek(fd, 0, SEEK_CUR), st.st_mode & 07777,
				(long)st.st_size);
		else if (!(st.st_mode & S_IFMT))
			act_say(a, "%ld", eventfd_count(fd));
	}
}

const struct act_row file_acts[] = {
	{ "open", do_open },
	{ "close", do_close },
	{ "dup", do_dup },
	{ "dup2", do_dup2 },
	{ "setfl", do_setfl },
	{ "setfd", do_setfd },
	{ "lseek", do_lseek },
	{ "ftruncate", do_ftruncate },
	{ "pwrite", do_pwrite },
	{ "pread", do_pread },
	{ "flock", do_flock },
	{ "lock", do_lock },
	{ "rename", do_rename },
	{ "link", do_link },
	{ "unlink", do_unlink },
	{ "rmdir", do_rmdir },
	{ "mkdir", do_mkdir },
	{ "mkfifo", do_mkfifo },
	{ "symlink", do_symlink },
	{ "chmod", do_chmod },
	{ "truncate", do_truncate },
	{ "utime", do_utime },
	{ "setxattr", do_setxattr },
	{ "removexattr", do_removexattr },
	{ "chdir", do_chdir },
	{ "tree", do_tree },
	{ 0 },
};
