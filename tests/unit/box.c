#include "box.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/harness.h"
#include "sandbox/init/confine_abi.h"
#include "sandbox/init/image.h"
#include "sandbox/init/proto.h"
#include "sys/sock.h"

enum { NOBODY = 65534 };

#define BIT(cap) (1ull << (cap))

uint64_t box_bounding(void)
{
	return BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FOWNER) | BIT(CAP_KILL) |
	       BIT(CAP_SETGID) | BIT(CAP_SETUID) | BIT(CAP_MKNOD);
}

/* All calls but acct(2), which fails with ENOTNAM: nothing else does. */
static const struct sock_filter filter[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_acct, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTNAM),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

static int memfd_of(const char *name, const void *bytes, size_t len)
{
	int fd = (int)t_sys(memfd_create(name, MFD_CLOEXEC));
	t_eq(write(fd, bytes, len), len);
	return fd;
}

static int confine_fd(void)
{
	struct {
		struct confine_abi abi;
		struct sock_filter filter[sizeof(filter) / sizeof(*filter)];
	} blob = {.abi = {
			  .magic = CONFINE_MAGIC,
			  .version = CONFINE_VERSION,
			  .flags = CONFINE_F_NO_NEW_PRIVS,
			  .n_insns = sizeof(filter) / sizeof(*filter),
			  .bounding = box_bounding(),
		  }};
	memcpy(blob.filter, filter, sizeof(filter));
	return memfd_of("confine", &blob, sizeof(blob));
}

static void write_file(const char *path, const char *text)
{
	int fd = (int)t_sys(open(path, O_WRONLY | O_CLOEXEC));
	t_eq(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void enter_user_namespace(void)
{
	char map[64];
	if (getuid() == 0)
		t_become(NOBODY, NOBODY);
	uid_t uid = getuid();
	gid_t gid = getgid();
	if (unshare(CLONE_NEWUSER))
		t_skip("no user namespaces for ordinary users: %s", strerror(errno));
	write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", (unsigned)uid);
	write_file("/proc/self/uid_map", map);
	snprintf(map, sizeof(map), "0 %u 1", (unsigned)gid);
	write_file("/proc/self/gid_map", map);
}

static void must(int r, const char *what)
{
	if (r < 0) {
		printf("box: %s: %s\n", what, strerror(errno));
		fflush(stdout);
		_exit(T_FAILED);
	}
}

/* PID 1, until it is init. */
static void become_init(int socket_fd, int image_fd, int blob_fd)
{
	static char *const argv[] = {"mulligan-init", NULL};
	static char *const envp[] = {NULL};
	must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private mounts");
	must(mount("proc", "/proc", "proc", 0, NULL), "mount /proc");
	must(mount("devpts", "/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=0620"),
	     "mount /dev/pts");
	int image = fcntl(image_fd, F_DUPFD_CLOEXEC, 20);
	int blob = fcntl(blob_fd, F_DUPFD_CLOEXEC, 20);
	int sock = fcntl(socket_fd, F_DUPFD_CLOEXEC, 20);
	must(dup2(sock, INIT_SOCKET_FD), "dup");
	must(dup2(blob, INIT_CONFINE_FD), "dup");
	/* what a puppet would leave: everything blocked, descriptors open */
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	signal(SIGHUP, SIG_IGN);
	must(dup2(1, 7), "dup");
	must((int)syscall(SYS_execveat, image, "", argv, envp, AT_EMPTY_PATH), "execveat");
}

void box_open_again(struct box *b)
{
	int pair[2];
	t_ok(sys_sock_pair(pair));
	int image_fd = memfd_of("init", init_image, init_image_len);
	int blob_fd = confine_fd();
	fflush(stdout);
	long pid =
		syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | SIGCHLD, 0, 0, 0, 0);
	t_sys(pid);
	if (pid == 0) {
		become_init(pair[1], image_fd, blob_fd);
		_exit(T_FAILED);
	}
	close(pair[1]);
	close(image_fd);
	close(blob_fd);
	b->init_pid = (pid_t)pid;
	b->socket_fd = pair[0];
}

void box_open(struct box *b)
{
	b->is_rootless = getuid() != 0 || getenv("BOX_ROOTLESS");
	if (b->is_rootless)
		enter_user_namespace();
	box_open_again(b);
}

void box_close(struct box *b)
{
	if (b->socket_fd >= 0)
		close(b->socket_fd);
	b->socket_fd = -1;
	t_join(b->init_pid);
}

void box_kill(struct box *b)
{
	t_sys(kill(b->init_pid, SIGKILL));
	t_eq(t_wait(b->init_pid), 128 + SIGKILL);
}
