/* Working directory (renamed under us), an open directory, and the umask. */
#include "guest.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void __attribute__((noreturn)) elsewhere(void)
{
	char path[PATH_MAX];
	guest_sys(chdir("/"));
	umask(077);
	guest_wait_go();
	guest_check(getcwd(path, sizeof(path)) && strcmp(path, "/") == 0);
	guest_eq(umask(0), 077);
	_exit(0);
}

int main(int argc, char **argv)
{
	char top[PATH_MAX], path[PATH_MAX], want[PATH_MAX + 16];
	int status;
	guest_start(argc, argv);
	guest_check(getcwd(top, sizeof(top)));
	guest_sys(mkdir("here", 0755));
	guest_sys(mkdir("here/inner", 0755));
	int dir = (int)guest_sys(open("here", O_RDONLY | O_DIRECTORY));
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0)
		elsewhere();
	guest_sys(chdir("here/inner"));
	guest_sys(rename("../../here", "../../there"));
	umask(027);
	guest_ready();
	guest_wait_go();
	snprintf(want, sizeof(want), "%s/there/inner", top);
	guest_check(getcwd(path, sizeof(path)));
	if (strcmp(path, want) != 0)
		guest_bad("working directory is %s, not %s", path, want);
	close((int)guest_sys(open("made", O_CREAT | O_WRONLY, 0666)));
	struct stat st;
	guest_sys(fstatat(dir, "inner/made", &st, 0));
	guest_eq(st.st_mode & 0777, 0640);
	guest_eq(umask(022), 027);
	guest_sys(fchdir(dir));
	guest_check(getcwd(path, sizeof(path)) && strcmp(strrchr(path, '/'), "/there") == 0);
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
	return 0;
}
