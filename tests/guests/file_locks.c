/* flock, record locks and open-file-description locks that keep others out. */
#include "guest.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>

static struct flock range(short type, off_t start, off_t len)
{
	return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
}

/* What another process finds: all three locked, the free range free. */
static void __attribute__((noreturn)) outsider(pid_t owner)
{
	int a = (int)guest_sys(open("flocked", O_RDWR));
	int b = (int)guest_sys(open("recorded", O_RDWR));
	int c = (int)guest_sys(open("described", O_RDWR));
	guest_eq(flock(a, LOCK_SH | LOCK_NB), -1);
	guest_eq(errno, EWOULDBLOCK);
	struct flock l = range(F_WRLCK, 10, 5);
	guest_sys(fcntl(b, F_GETLK, &l));
	guest_eq(l.l_type, F_WRLCK);
	guest_eq(l.l_pid, owner);
	guest_eq(l.l_start, 10);
	guest_eq(l.l_len, 20);
	l = range(F_WRLCK, 100, 5);
	guest_sys(fcntl(b, F_GETLK, &l));
	guest_eq(l.l_type, F_UNLCK);
	l = range(F_RDLCK, 50, 1); /* a read lock lets readers in */
	guest_sys(fcntl(b, F_SETLK, &l));
	l = range(F_WRLCK, 0, 0);
	guest_sys(fcntl(c, F_OFD_GETLK, &l));
	guest_eq(l.l_type, F_WRLCK);
	guest_eq(l.l_pid, -1);
	_exit(0);
}

static void check_outside(void)
{
	pid_t owner = getpid(), pid = fork();
	int status;
	guest_check(pid >= 0);
	if (pid == 0)
		outsider(owner);
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	int a = (int)guest_sys(open("flocked", O_CREAT | O_RDWR, 0644));
	int b = (int)guest_sys(open("recorded", O_CREAT | O_RDWR, 0644));
	int c = (int)guest_sys(open("described", O_CREAT | O_RDWR, 0644));
	struct flock l = range(F_WRLCK, 10, 20), r = range(F_RDLCK, 50, 10);
	guest_sys(flock(a, LOCK_EX));
	guest_sys(fcntl(b, F_SETLK, &l));
	guest_sys(fcntl(b, F_SETLK, &r));
	struct flock o = range(F_WRLCK, 0, 0);
	guest_sys(fcntl(c, F_OFD_SETLK, &o));
	check_outside();
	guest_ready();
	guest_wait_go();
	check_outside();
	guest_sys(flock(a, LOCK_UN));
	int again = (int)guest_sys(open("flocked", O_RDWR));
	guest_sys(flock(again, LOCK_EX | LOCK_NB));
	guest_eq(flock(a, LOCK_EX | LOCK_NB), -1);
	return 0;
}
