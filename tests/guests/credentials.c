/* Users, groups and capabilities of a process that gave up root. */
#include "guest.h"

#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct caps {
	struct __user_cap_data_struct data[2];
};

static struct caps caps_now(void)
{
	struct caps c;
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	guest_sys(syscall(SYS_capget, &h, c.data));
	return c;
}

static void check_ids(uid_t r, uid_t e, uid_t s, gid_t g)
{
	uid_t ru, eu, su;
	gid_t rg, eg, sg, groups[8];
	guest_sys(getresuid(&ru, &eu, &su));
	guest_eq(ru, r);
	guest_eq(eu, e);
	guest_eq(su, s);
	guest_sys(getresgid(&rg, &eg, &sg));
	guest_eq(rg, g);
	guest_eq(eg, g);
	guest_eq(getgroups(8, groups), 2);
	guest_eq(groups[0], 1234);
	guest_eq(groups[1], 2345);
}

static void __attribute__((noreturn)) ordinary(void)
{
	guest_sys(setresuid(1001, 1001, 1001));
	struct caps before = caps_now(), now;
	int sig = 0;
	guest_sys(prctl(PR_SET_PDEATHSIG, SIGUSR1));
	guest_wait_go();
	check_ids(1001, 1001, 1001, 100);
	guest_sys(prctl(PR_GET_PDEATHSIG, &sig));
	guest_eq(sig, SIGUSR1);
	now = caps_now();
	guest_check(memcmp(&before, &now, sizeof(now)) == 0);
	guest_eq(now.data[0].effective, 0);
	guest_eq(setuid(0), -1);
	_exit(0);
}

int main(int argc, char **argv)
{
	gid_t groups[] = {1234, 2345};
	int status;
	guest_start(argc, argv);
	if (geteuid() != 0)
		guest_bad("this guest must start as root");
	guest_sys(setgroups(2, groups));
	guest_sys(setresgid(100, 100, 100));
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0)
		ordinary();
	guest_sys(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
	guest_sys(setresuid(1000, 1002, 0));
	struct caps before = caps_now(), now;
	guest_ready();
	guest_wait_go();
	check_ids(1000, 1002, 0, 100);
	now = caps_now();
	guest_check(memcmp(&before, &now, sizeof(now)) == 0);
	guest_check(now.data[0].permitted != 0);
	guest_eq(prctl(PR_GET_KEEPCAPS, 0, 0, 0, 0), 1);
	guest_sys(seteuid(0));
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
	return 0;
}
