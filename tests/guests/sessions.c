/* Sessions and process groups, one of them without its leader. */
#include "guest.h"

#include <signal.h>
#include <sys/wait.h>

struct ids {
	pid_t pid, ppid, pgid, sid;
};

static struct ids ids_of(pid_t pid)
{
	char path[64];
	struct ids i = {0};
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	FILE *f = fopen(path, "re");
	guest_check(f &&
		    fscanf(f, "%d (%*[^)]) %*c %d %d %d", &i.pid, &i.ppid, &i.pgid, &i.sid) == 4);
	fclose(f);
	return i;
}

static void check_same(struct ids a)
{
	struct ids b = ids_of(a.pid);
	guest_eq(b.ppid, a.ppid);
	guest_eq(b.pgid, a.pgid);
	guest_eq(b.sid, a.sid);
}

static pid_t sleeper(void)
{
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

/* A session whose leader ends; its member, in the leader's group, lives on. */
static pid_t orphaned_member(void)
{
	int fds[2];
	pid_t member;
	guest_sys(pipe(fds));
	pid_t leader = fork();
	guest_check(leader >= 0);
	if (leader == 0) {
		guest_sys(setsid());
		member = sleeper();
		_exit(write(fds[1], &member, sizeof(member)) != sizeof(member));
	}
	guest_eq(read(fds[0], &member, sizeof(member)), sizeof(member));
	close(fds[0]);
	close(fds[1]);
	guest_eq(waitpid(leader, NULL, 0), leader);
	while (ids_of(member).ppid == leader)
		guest_sleep_ms(1);
	guest_eq(ids_of(member).sid, leader);
	return member;
}

int main(int argc, char **argv)
{
	struct ids all[5];
	int status;
	guest_start(argc, argv);
	pid_t a = sleeper(), b = sleeper(), c = sleeper();
	guest_sys(setpgid(a, a));
	guest_sys(setpgid(b, a));
	guest_sys(setpgid(c, c));
	all[0] = ids_of(a);
	all[1] = ids_of(b);
	all[2] = ids_of(c);
	all[3] = ids_of(orphaned_member());
	all[4] = ids_of(getpid());
	/* the group's leader goes too: the group stays */
	guest_sys(kill(a, SIGKILL));
	guest_eq(waitpid(a, NULL, 0), a);
	guest_ready();
	guest_wait_go();
	for (int i = 1; i < 5; i++)
		check_same(all[i]);
	guest_sys(kill(-a, SIGTERM));
	guest_eq(waitpid(-a, &status, 0), b);
	guest_check(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	guest_sys(kill(-c, SIGTERM));
	guest_eq(waitpid(c, &status, 0), c);
	guest_sys(kill(all[3].pid, SIGKILL));
	return 0;
}
