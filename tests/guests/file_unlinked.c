/* Files without a name: unlinked while open, and a directory likewise. */
#include "guest.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { LEN = 1 << 16 };

int main(int argc, char **argv)
{
	static char bytes[LEN], now[LEN];
	struct stat st;
	guest_start(argc, argv);
	guest_fill(bytes, LEN, 1);
	int fd = (int)guest_sys(open("gone", O_CREAT | O_RDWR | O_TRUNC, 0600));
	guest_eq(write(fd, bytes, LEN), LEN);
	guest_eq(lseek(fd, 100, SEEK_SET), 100);
	int reader = (int)guest_sys(open("gone", O_RDONLY));
	guest_sys(unlink("gone"));
	/* the name lives on, with another file */
	int other = (int)guest_sys(open("gone", O_CREAT | O_RDWR | O_TRUNC, 0644));
	guest_eq(write(other, "other", 5), 5);
	guest_ready();
	unsigned n = 0;
	while (!guest_go()) {
		guest_eq(pwrite(fd, &n, sizeof(n), LEN + n % 100 * 4), sizeof(n));
		n++;
		guest_sleep_ms(2);
	}
	guest_sys(fstat(fd, &st));
	guest_eq(st.st_nlink, 0);
	guest_eq(st.st_mode & 07777, 0600);
	guest_eq(lseek(fd, 0, SEEK_CUR), 100);
	guest_eq(pread(fd, now, LEN, 0), LEN);
	guest_check(memcmp(now, bytes, LEN) == 0);
	guest_eq(pwrite(fd, "Z", 1, 0), 1);
	guest_eq(read(reader, now, 1), 1);
	guest_eq(now[0], 'Z');
	guest_eq(pread(other, now, 10, 0), 5);
	guest_check(memcmp(now, "other", 5) == 0);
	guest_sys(stat("gone", &st));
	guest_eq(st.st_size, 5);
	guest_eq(st.st_nlink, 1);
	return 0;
}
