/* Anonymous memory shared by parent and child: both count in it in turn. */
#include "guest.h"

#include <sys/mman.h>
#include <sys/wait.h>

enum { PAGE = 4096, LEN = 64 * PAGE };

struct shared {
	volatile uint64_t turn;
	volatile uint64_t sum;
	volatile bool stop;
};

static void take_turn(struct shared *s, unsigned who)
{
	if (s->turn % 2 != who) {
		usleep(200);
		return;
	}
	s->sum = guest_mix(s->sum, s->turn);
	__sync_synchronize();
	s->turn++;
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	char *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	guest_check(p != MAP_FAILED);
	struct shared *s = (struct shared *)p;
	guest_fill(p + PAGE, LEN - PAGE, 1);
	pid_t pid = fork();
	if (pid == 0) {
		while (!s->stop)
			take_turn(s, 1);
		_exit(guest_filled(p + PAGE, LEN - PAGE, 1) ? 0 : 1);
	}
	guest_check(pid > 0);
	guest_ready();
	while (!guest_go())
		take_turn(s, 0);
	s->stop = true;
	int status;
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
	uint64_t check = 0;
	for (uint64_t i = 0; i < s->turn; i++)
		check = guest_mix(check, i);
	guest_check(check == s->sum);
	guest_check(guest_filled(p + PAGE, LEN - PAGE, 1));
	return 0;
}
