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

/*
 * A member of this session, which has a leader, as a child of PID 1: who made
 * it has ended. In a group of its own whose leader was its maker, or in ours.
 */
static pid_t adopted_member(bool own_group)
{
	int fds[2];
	pid_t member;
	guest_sys(pipe(fds));
	pid_t maker = fork();
	guest_check(maker >= 0);
	if (maker == 0) {
		if (own_group)
			guest_sys(setpgid(0, 0));
		member = sleeper();
		_exit(write(fds[1], &member, sizeof(member)) != sizeof(member));
	}
	guest_eq(read(fds[0], &member, sizeof(member)), sizeof(member));
	close(fds[0]);
	close(fds[1]);
	guest_eq(waitpid(maker, NULL, 0), maker);
	while (ids_of(member).ppid == maker)
		guest_sleep_ms(1);
	guest_eq(ids_of(member).ppid, 1);
	guest_eq(ids_of(member).sid, getsid(0));
	return member;
}

int main(int argc, char **argv)
{
	struct ids all[7];
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
	all[5] = ids_of(adopted_member(true));
	all[6] = ids_of(adopted_member(false));
	/* the group's leader goes too: the group stays */
	guest_sys(kill(a, SIGKILL));
	guest_eq(waitpid(a, NULL, 0), a);
	guest_ready();
	guest_wait_go();
	for (int i = 1; i < 7; i++)
		check_same(all[i]);
	guest_sys(kill(-a, SIGTERM));
	guest_eq(waitpid(-a, &status, 0), b);
	guest_check(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	guest_sys(kill(-c, SIGTERM));
	guest_eq(waitpid(c, &status, 0), c);
	for (int i = 3; i < 7; i++)
		if (i != 4)
			guest_sys(kill(all[i].pid, SIGKILL));
	return 0;
}
