/* Files, directories and links in /dev/shm, and memfds that are sealed. */
#include "guest.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define TOP "/dev/shm/files"

static void put(const char *path, const char *text, mode_t mode)
{
	int fd = (int)guest_sys(open(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
	guest_eq(write(fd, text, strlen(text)), strlen(text));
	guest_sys(fchmod(fd, mode));
	guest_sys(close(fd));
}

static void make_tree(void)
{
	const struct timespec old[2] = {{1000, 5}, {2000, 7}};
	guest_sys(mkdir(TOP, 0700));
	guest_sys(mkdir(TOP "/d", 0700));
	guest_sys(mkdir(TOP "/d/empty", 0711));
	put(TOP "/d/a", "alpha", 0604);
	guest_sys(link(TOP "/d/a", TOP "/b"));
	guest_sys(symlink("d/a", TOP "/link"));
	guest_sys(mkfifo(TOP "/fifo", 0620));
	int fd = (int)guest_sys(open(TOP "/sparse", O_WRONLY | O_CREAT, 0600));
	guest_sys(ftruncate(fd, 64 << 20));
	guest_eq(pwrite(fd, "end", 3, (64 << 20) - 3), 3);
	guest_sys(close(fd));
	guest_sys(utimensat(AT_FDCWD, TOP "/d/a", old, 0));
	guest_sys(chmod(TOP "/d", 02755));
	guest_sys(utimensat(AT_FDCWD, TOP "/d", old, 0));
}

static void check_tree(void)
{
	struct stat a, b, st;
	char text[16] = "";
	guest_sys(stat(TOP "/d/a", &a));
	guest_sys(stat(TOP "/b", &b));
	guest_eq(a.st_ino, b.st_ino);
	guest_eq(a.st_nlink, 2);
	guest_eq(a.st_mode, S_IFREG | 0604);
	guest_eq(a.st_mtim.tv_sec, 2000);
	guest_eq(a.st_mtim.tv_nsec, 7);
	guest_sys(stat(TOP "/d", &st));
	guest_eq(st.st_mode, S_IFDIR | 02755);
	guest_eq(st.st_mtim.tv_sec, 2000);
	guest_sys(stat(TOP "/d/empty", &st));
	guest_eq(st.st_mode, S_IFDIR | 0711);
	guest_sys(stat(TOP "/fifo", &st));
	guest_eq(st.st_mode & S_IFMT, S_IFIFO);
	guest_eq(readlink(TOP "/link", text, sizeof(text)), 3);
	guest_check(!strcmp(text, "d/a"));
	guest_sys(stat(TOP "/sparse", &st));
	guest_eq(st.st_size, 64 << 20);
	guest_check(st.st_blocks < 1000);
	int fd = (int)guest_sys(open(TOP "/link", O_RDONLY));
	guest_eq(read(fd, text, sizeof(text)), 5);
	guest_check(!memcmp(text, "alpha", 5));
	guest_sys(close(fd));
}

/* Outside a sandbox it would stay. */
static void remove_tree(void)
{
	static const char *const names[] = {"d/a", "b", "link", "fifo", "sparse"};
	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		char path[64];
		snprintf(path, sizeof(path), TOP "/%s", names[i]);
		guest_sys(unlink(path));
	}
	guest_sys(rmdir(TOP "/d/empty"));
	guest_sys(rmdir(TOP "/d"));
	guest_sys(rmdir(TOP));
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	make_tree();
	int sealed = (int)guest_sys(memfd_create("sealed", MFD_ALLOW_SEALING | MFD_CLOEXEC));
	guest_eq(write(sealed, "sealed", 6), 6);
	guest_sys(fcntl(sealed, F_ADD_SEALS,
			F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
	int again = dup(sealed);
	int open_file = (int)guest_sys(open(TOP "/d/a", O_RDWR | O_APPEND));
	guest_ready();
	guest_wait_go();
	check_tree();
	char text[16] = "";
	guest_eq(fcntl(sealed, F_GET_SEALS),
		 F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	guest_eq(fcntl(sealed, F_GETFD), FD_CLOEXEC);
	guest_eq(pread(again, text, 6, 0), 6);
	guest_check(!memcmp(text, "sealed", 6));
	guest_eq(lseek(again, 0, SEEK_CUR), 6);
	guest_check(pwrite(sealed, "x", 1, 0) < 0 && errno == EPERM);
	guest_eq(write(open_file, "!", 1), 1);
	struct stat st;
	guest_sys(stat(TOP "/b", &st));
	guest_eq(st.st_size, 6);
	remove_tree();
	return 0;
}
