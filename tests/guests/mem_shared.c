/* Anonymous memory shared by parent and child: both count in it in turn. */
#include "turns.h"

#include <sys/mman.h>

enum { PAGE = 4096, LEN = 64 * PAGE };

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	char *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	guest_check(p != MAP_FAILED);
	struct turns *s = (struct turns *)p;
	guest_fill(p + PAGE, LEN - PAGE, 1);
	pid_t pid = fork();
	if (pid == 0) {
		turns_take_all(s);
		_exit(guest_filled(p + PAGE, LEN - PAGE, 1) ? 0 : 1);
	}
	turns_lead(s, pid);
	guest_check(guest_filled(p + PAGE, LEN - PAGE, 1));
	return 0;
}
