/* Modes, times, links, holes and extended attributes of files. */
#include "guest.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

static void make(void)
{
	struct timespec times[2] = {{1000000, 123456789}, {2000000, 987654321}};
	guest_sys(mkdir("meta", 0710));
	int fd = (int)guest_sys(open("meta/file", O_CREAT | O_WRONLY, 0600));
	guest_eq(pwrite(fd, "end", 3, 1 << 20), 3);
	guest_sys(fchmod(fd, 04751));
	close(fd);
	guest_sys(link("meta/file", "meta/second"));
	guest_sys(symlink("no/such/place", "meta/link"));
	guest_sys(mkfifo("meta/fifo", 0600));
	guest_sys(chmod("meta/fifo", 0620));
	if (setxattr("meta/file", "user.note", "text", 4, 0) < 0)
		guest_check(errno == ENOTSUP || errno == EPERM);
	guest_sys(utimensat(AT_FDCWD, "meta/file", times, 0));
	guest_sys(mkdir("meta/sub", 0500));
	guest_sys(utimensat(AT_FDCWD, "meta/sub", times, 0));
}

static struct stat look(const char *path)
{
	struct stat st;
	guest_sys(lstat(path, &st));
	return st;
}

int main(int argc, char **argv)
{
	char text[32] = "";
	guest_start(argc, argv);
	make();
	bool has_xattr = getxattr("meta/file", "user.note", text, sizeof(text)) == 4;
	struct stat before = look("meta/file");
	guest_ready();
	guest_wait_go();
	struct stat st = look("meta/file");
	guest_eq(st.st_mode, S_IFREG | 04751);
	guest_eq(st.st_mtim.tv_sec, 2000000);
	guest_eq(st.st_mtim.tv_nsec, 987654321);
	guest_eq(st.st_nlink, 2);
	guest_eq(st.st_size, (1 << 20) + 3);
	guest_eq(st.st_uid, before.st_uid);
	guest_eq(look("meta/second").st_ino, st.st_ino);
	guest_eq(readlink("meta/link", text, sizeof(text)), 13);
	guest_eq(look("meta/fifo").st_mode, S_IFIFO | 0620);
	guest_eq(look("meta").st_mode & 0777, 0710);
	guest_eq(look("meta/sub").st_mode, S_IFDIR | 0500);
	guest_eq(look("meta/sub").st_mtim.tv_nsec, 987654321);
	if (has_xattr)
		guest_eq(getxattr("meta/file", "user.note", text, sizeof(text)), 4);
	/* the two names are one file */
	int fd = (int)guest_sys(open("meta/second", O_WRONLY | O_APPEND));
	guest_eq(write(fd, "more", 4), 4);
	guest_eq(look("meta/file").st_size, (1 << 20) + 7);
	return 0;
}
