/*
 * A process that makes itself as hard to save as it can, one kind a run. It
 * says "ready", and at the go looks whether its state is what it made. What it
 * shall come to, saved or refused by name, is in tests/system/siege.py.
 */
#include "guest.h"

#include <fcntl.h>
#include <linux/prctl.h>
#include <mqueue.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { PAGE = 4096 };

static char **main_argv;

/* Children that share more than children do: what one does the other sees. */
static char child_stack[65536] __attribute__((aligned(16)));

static int child_waits(void *unused)
{
	(void)unused;
	while (!guest_go())
		guest_sleep_ms(5);
	dup2(STDOUT_FILENO, 77);
	if (chdir("/") == 0)
		syscall(SYS_exit_group, 0);
	syscall(SYS_exit_group, 1);
	return 0;
}

static void share(int flags)
{
	char cwd[256];
	pid_t pid = (pid_t)guest_sys(
		clone(child_waits, child_stack + sizeof(child_stack), flags | SIGCHLD, NULL));
	guest_ready();
	guest_wait_go();
	int status;
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
	guest_eq(fcntl(77, F_GETFD) >= 0, (flags & CLONE_FILES) != 0);
	guest_check(getcwd(cwd, sizeof(cwd)));
	guest_eq(!strcmp(cwd, "/"), (flags & CLONE_FS) != 0);
}

static void share_memory(void)
{
	share(CLONE_VM);
}

static void share_handlers(void)
{
	share(CLONE_VM | CLONE_SIGHAND);
}

static void share_files(void)
{
	share(CLONE_FILES);
}

static void share_cwd(void)
{
	share(CLONE_FS);
}

/* The parent sleeps in the kernel, uninterruptible but by SIGKILL. */
static void in_vfork(void)
{
	guest_ready();
	pid_t pid = (pid_t)guest_sys(clone(child_waits, child_stack + sizeof(child_stack),
					   CLONE_VM | CLONE_VFORK | SIGCHLD, NULL));
	int status;
	guest_eq(waitpid(pid, &status, 0), pid);
	guest_eq(status, 0);
}

static void no_descriptors(void)
{
	guest_ready();
	guest_sleep_ms(50); /* for the word to get out */
	guest_sys(syscall(SYS_close_range, 0, ~0u, 0));
	guest_wait_go();
	guest_eq(open("/dev/null", O_RDONLY), 0);
}

static const int low_limits[] = {
	RLIMIT_AS,     RLIMIT_DATA,  RLIMIT_STACK,   RLIMIT_NOFILE,
	RLIMIT_FSIZE,  RLIMIT_NPROC, RLIMIT_MEMLOCK, RLIMIT_SIGPENDING,
	RLIMIT_MSGQUEUE, RLIMIT_CORE,
};

static void limits_of_zero(void)
{
	const struct rlimit none = {0, 0};
	struct rlimit have;
	guest_ready();
	for (size_t i = 0; i < sizeof(low_limits) / sizeof(*low_limits); i++)
		guest_sys(setrlimit(low_limits[i], &none));
	guest_wait_go();
	for (size_t i = 0; i < sizeof(low_limits) / sizeof(*low_limits); i++) {
		guest_sys(getrlimit(low_limits[i], &have));
		guest_eq(have.rlim_max, 0);
	}
	guest_eq(open("/dev/null", O_RDONLY), -1);
}

static void map_at(uintptr_t at)
{
	char *p = mmap((void *)at, PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	guest_eq((uintptr_t)p, at);
	guest_fill(p, PAGE, at);
	guest_ready();
	guest_wait_go();
	guest_check(guest_filled(p, PAGE, at));
}

static void map_first(void)
{
	map_at(0x400000000000);
}

static void map_reserved(void)
{
	map_at(0x400280001000);
}

static void map_staging(void)
{
	map_at(0x410000000000);
}

static void map_shared_range(void)
{
	map_at(0x530000000000);
}

static void map_last(void)
{
	map_at(0x7fffffffe000);
}

/* Spoil, or unmap, whatever is mapped where nothing of ours is. */
static void attack_range(bool unmap)
{
	const unsigned long low = 0x400000000000, high = 0x550000000000;
	static char text[1 << 16];
	size_t len = 0;
	ssize_t n;
	int fd = (int)guest_sys(open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
	while ((n = guest_sys(read(fd, text + len, sizeof(text) - 1 - len))) > 0)
		len += (size_t)n;
	close(fd);
	text[len] = 0;
	for (char *line = text; line && *line; line = strchr(line, '\n'), line += line != NULL) {
		unsigned long from, to;
		guest_eq(sscanf(line, "%lx-%lx", &from, &to), 2);
		if (from < low || to > high)
			continue;
		/* a page of a shared file cannot be made writable */
		if (mprotect((void *)from, to - from, PROT_READ | PROT_WRITE | PROT_EXEC) == 0)
			memset((void *)from, 0xcc, to - from);
		if (unmap)
			guest_sys(munmap((void *)from, to - from));
	}
}

static void beat_range(bool unmap)
{
	guest_ready();
	while (!guest_go()) {
		attack_range(unmap);
		guest_sleep_ms(20);
	}
	attack_range(unmap);
}

static void overwrite_leftovers(void)
{
	beat_range(false);
}

static void unmap_leftovers(void)
{
	beat_range(true);
}

/* Find a mapping by its name in /proc/self/maps. */
static size_t find_mapping(const char *name, char **at)
{
	char line[4096];
	size_t len = 0;
	FILE *maps = fopen("/proc/self/maps", "re");
	guest_check(maps);
	while (!len && fgets(line, sizeof(line), maps)) {
		unsigned long from, to;
		if (!strstr(line, name) || sscanf(line, "%lx-%lx", &from, &to) != 2)
			continue;
		*at = (char *)from;
		len = to - from;
	}
	fclose(maps);
	return len;
}

/* Without libc's clock functions, which would use the vdso. */
static void sleep_raw(long ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
	while (syscall(SYS_nanosleep, &ts, &ts) < 0)
		;
}

static void vdso_gone(void)
{
	char *at;
	size_t len = find_mapping("[vdso]", &at);
	guest_check(len);
	guest_sys(munmap(at, len));
	guest_ready();
	while (!guest_go())
		sleep_raw(5);
	guest_eq(find_mapping("[vdso]", &at), 0);
}

static void vdso_moved(void)
{
	char *at, *now;
	size_t len = find_mapping("[vdso]", &at);
	guest_check(len);
	char *to = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	guest_check(mremap(at, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	guest_ready();
	while (!guest_go())
		sleep_raw(5);
	guest_eq(find_mapping("[vdso]", &now), len);
	guest_check(now == to);
}

static const char odd_comm[] = ") R 1\n1 (\n\n";

static void odd_comm_name(void)
{
	char have[16];
	pid_t pid = (pid_t)guest_sys(fork());
	guest_sys(prctl(PR_SET_NAME, odd_comm));
	if (!pid) {
		guest_wait_go();
		_exit(0);
	}
	guest_ready();
	guest_wait_go();
	guest_sys(prctl(PR_GET_NAME, have));
	guest_eq(strcmp(have, odd_comm), 0);
	guest_eq(waitpid(pid, NULL, 0), pid);
}

/* Sleep and look for the go with a stack pointer, FS and GS that lead nowhere. */
static void odd_registers(void)
{
	unsigned long fs, odd = 0x123450, have_gs = 0, old_sp;
	guest_sys(syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, &fs));
	guest_ready();
	const struct timespec pause = {0, 5000000};
	const char *go = guest_go_path;
	guest_sys(syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, odd));
	__asm__ volatile("mov %%rsp, %[old]\n"
			 "mov $158, %%eax\n"
			 "mov $0x1002, %%edi\n" /* ARCH_SET_FS */
			 "xor %%esi, %%esi\n"
			 "syscall\n"
			 "mov $0x10, %%esp\n"
			 "1: mov $35, %%eax\n"
			 "mov %[pause], %%rdi\n"
			 "xor %%esi, %%esi\n"
			 "syscall\n"
			 "mov $21, %%eax\n"
			 "mov %[go], %%rdi\n"
			 "xor %%esi, %%esi\n"
			 "syscall\n"
			 "test %%eax, %%eax\n"
			 "jnz 1b\n"
			 "cmp $0x10, %%rsp\n"
			 "je 2f\n"
			 "ud2\n"
			 "2: mov %[old], %%rsp\n"
			 "mov $158, %%eax\n"
			 "mov $0x1002, %%edi\n"
			 "mov %[fs], %%rsi\n"
			 "syscall\n"
			 : [old] "=&r"(old_sp)
			 : [pause] "r"(&pause), [go] "r"(go), [fs] "r"(fs)
			 : "rax", "rdi", "rsi", "rcx", "r11", "memory", "cc");
	guest_sys(syscall(SYS_arch_prctl, 0x1004 /* ARCH_GET_GS */, &have_gs));
	guest_eq(have_gs, odd);
}

/* Addresses that the kernel keeps for us lead nowhere. */
static void odd_pointers(void)
{
	stack_t alt = {.ss_sp = (void *)0x10000, .ss_size = 1 << 20}, have;
	void *head;
	size_t len;
	guest_sys(sigaltstack(&alt, NULL));
	guest_sys(syscall(SYS_set_robust_list, (void *)0x20001, 24));
	guest_check(syscall(SYS_set_tid_address, (void *)0x30001) == getpid());
	guest_ready();
	guest_wait_go();
	guest_sys(sigaltstack(NULL, &have));
	guest_check(have.ss_sp == alt.ss_sp && have.ss_size == alt.ss_size);
	guest_sys(syscall(SYS_get_robust_list, 0, &head, &len));
	guest_check(head == (void *)0x20001);
}

static void no_tsc(void)
{
	int have;
	guest_sys(prctl(PR_SET_TSC, PR_TSC_SIGSEGV));
	guest_ready();
	while (!guest_go())
		sleep_raw(5);
	guest_sys(prctl(PR_GET_TSC, &have));
	guest_eq(have, PR_TSC_SIGSEGV);
}

static void not_dumpable(void)
{
	guest_sys(prctl(PR_SET_DUMPABLE, 0));
	guest_ready();
	guest_wait_go();
	guest_eq(prctl(PR_GET_DUMPABLE), 0);
}

/* The working directory's path is longer than PATH_MAX. */
static void deep_directory(void)
{
	char name[201];
	memset(name, 'd', 200);
	name[200] = 0;
	guest_sys(mkdir("deep", 0755));
	guest_sys(chdir("deep"));
	for (int i = 0; i < 40; i++) {
		guest_sys(mkdir(name, 0755));
		guest_sys(chdir(name));
	}
	int fd = (int)guest_sys(open("file", O_RDWR | O_CREAT, 0644));
	guest_eq(write(fd, "deep", 4), 4);
	guest_ready();
	guest_wait_go();
	char have[8] = "";
	guest_eq(pread(fd, have, 8, 0), 4);
	guest_eq(memcmp(have, "deep", 4), 0);
	guest_sys(access("file", F_OK));
	guest_sys(access("../../../file", F_OK) == -1 && errno == ENOENT ? 0 : -1);
}

static const char *const odd_names[] = {
	"new\nline", "gone (deleted)", "back\\012slash", "\xff\xfe", "  ", "a\tb \\040", "-rf",
	"7f0000000000-7f0000001000 rw-p 00000000 00:00 0",
};

enum { N_NAMES = sizeof(odd_names) / sizeof(*odd_names) };

static void odd_file_names(void)
{
	int fd[N_NAMES];
	char *map[N_NAMES];
	guest_sys(mkdir("dir\n(deleted)", 0755));
	guest_sys(chdir("dir\n(deleted)"));
	for (size_t i = 0; i < N_NAMES; i++) {
		fd[i] = (int)guest_sys(open(odd_names[i], O_RDWR | O_CREAT | O_EXCL, 0644));
		guest_sys(ftruncate(fd[i], PAGE));
		map[i] = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, i % 2 ? MAP_SHARED : MAP_PRIVATE,
			      fd[i], 0);
		guest_check(map[i] != MAP_FAILED);
		guest_fill(map[i], PAGE, i);
		guest_eq(pwrite(fd[i], &i, sizeof(i), 0), sizeof(i));
		guest_fill(map[i], PAGE, i);
	}
	guest_ready();
	guest_wait_go();
	for (size_t i = 0; i < N_NAMES; i++) {
		struct stat a, b;
		guest_check(guest_filled(map[i], PAGE, i));
		guest_sys(fstat(fd[i], &a));
		guest_sys(stat(odd_names[i], &b));
		guest_eq(a.st_ino, b.st_ino);
		guest_eq(a.st_size, PAGE);
	}
}

/* The program itself has such a name. */
static void odd_program(void)
{
	const char name[] = "/w/pro\ngram (deleted)";
	if (strcmp(main_argv[0], name) != 0) {
		char buf[65536];
		ssize_t n;
		int in = (int)guest_sys(open("/proc/self/exe", O_RDONLY));
		int out = (int)guest_sys(open(name, O_WRONLY | O_CREAT | O_TRUNC, 0755));
		while ((n = guest_sys(read(in, buf, sizeof(buf)))) > 0)
			guest_eq(write(out, buf, (size_t)n), n);
		close(in);
		close(out);
		main_argv[0] = (char *)name;
		execv(name, main_argv);
		guest_bad("execv: %s", strerror(errno));
	}
	guest_ready();
	guest_wait_go();
	char exe[256] = "";
	guest_sys(readlink("/proc/self/exe", exe, sizeof(exe) - 1));
	guest_eq(strcmp(exe, name), 0);
}

/* As much environment and as many arguments as the kernel takes. */
static void huge_environment(void)
{
	enum { EACH = 120 << 10, N = 15 };
	static char *env[N + 1];
	if (!getenv("HUGE0")) {
		for (int i = 0; i < N; i++) {
			env[i] = malloc(EACH);
			memset(env[i], 'a' + i, EACH - 1);
			env[i][EACH - 1] = 0;
			memcpy(env[i], (char[]){'H', 'U', 'G', 'E', (char)('0' + i), '='}, 6);
		}
		execve("/proc/self/exe", main_argv, env);
		guest_bad("execve: %s", strerror(errno));
	}
	guest_ready();
	guest_wait_go();
	for (int i = 0; i < N; i++) {
		const char name[] = {'H', 'U', 'G', 'E', (char)('0' + i), 0};
		const char *value = getenv(name);
		guest_check(value);
		guest_eq(strspn(value, (char[]){(char)('a' + i), 0}), EACH - 7);
	}
}

static void many_descriptors(void)
{
	enum { N = 900 };
	static int fd[N];
	for (int i = 0; i < N; i += 3) {
		char name[32];
		snprintf(name, sizeof(name), "file%d", i);
		fd[i] = (int)guest_sys(open(name, O_RDWR | O_CREAT, 0644));
		guest_sys(lseek(fd[i], i, SEEK_SET));
		guest_sys(pipe(fd + i + 1));
		guest_eq(write(fd[i + 2], &i, sizeof(i)), sizeof(i));
	}
	guest_ready();
	guest_wait_go();
	for (int i = 0; i < N; i += 3) {
		int have = -1;
		guest_eq(lseek(fd[i], 0, SEEK_CUR), i);
		guest_eq(read(fd[i + 1], &have, sizeof(have)), sizeof(have));
		guest_eq(have, i);
	}
}

static void many_mappings(void)
{
	enum { N = 12000 };
	char *p = mmap(NULL, (size_t)N * 2 * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	guest_check(p != MAP_FAILED);
	for (int i = 0; i < N; i++) {
		if (i % 64 == 0)
			memset(p + (size_t)i * 2 * PAGE, i / 64 + 1, PAGE);
		guest_sys(mprotect(p + ((size_t)i * 2 + 1) * PAGE, PAGE, PROT_READ));
	}
	guest_ready();
	guest_wait_go();
	for (int i = 0; i < N; i += 64)
		guest_eq(p[(size_t)i * 2 * PAGE], (char)(i / 64 + 1));
}

/* The first thread is gone, the process lives on. */
static void *outlive_leader(void *unused)
{
	(void)unused;
	guest_sleep_ms(50);
	guest_ready();
	guest_wait_go();
	guest_check(getpid() != gettid());
	exit(0);
}

static void leader_gone(void)
{
	pthread_t t;
	guest_eq(pthread_create(&t, NULL, outlive_leader, NULL), 0);
	pthread_exit(NULL);
}

static void *short_life(void *n)
{
	__atomic_add_fetch((unsigned *)n, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void thread_storm(void)
{
	unsigned ended = 0, made = 0;
	guest_ready();
	while (!guest_go()) {
		pthread_t t[4];
		for (int i = 0; i < 4; i++)
			guest_eq(pthread_create(t + i, NULL, short_life, &ended), 0);
		for (int i = 0; i < 4; i++)
			guest_eq(pthread_join(t[i], NULL), 0);
		made += 4;
	}
	guest_eq(ended, made);
}

static void fork_storm(void)
{
	guest_ready();
	while (!guest_go()) {
		pid_t pid[3];
		for (int i = 0; i < 3; i++) {
			pid[i] = (pid_t)guest_sys(fork());
			if (!pid[i])
				_exit(i);
		}
		for (int i = 0; i < 3; i++) {
			int status;
			guest_eq(waitpid(pid[i], &status, 0), pid[i]);
			guest_eq(status, i << 8);
		}
	}
}

/* Executes itself over and over. */
static void exec_storm(void)
{
	if (!getenv("STORM")) {
		guest_ready();
		setenv("STORM", "1", 1);
	}
	if (!guest_go()) {
		execv("/proc/self/exe", main_argv);
		guest_bad("execv: %s", strerror(errno));
	}
}

/* A child that is stopped and continued as fast as it goes. */
static void stop_storm(void)
{
	pid_t pid = (pid_t)guest_sys(fork());
	if (!pid)
		for (;;)
			;
	guest_ready();
	while (!guest_go())
		for (int i = 0; i < 50; i++) {
			int status;
			guest_sys(kill(pid, SIGSTOP));
			guest_eq(waitpid(pid, &status, WUNTRACED), pid);
			guest_check(WIFSTOPPED(status));
			guest_sys(kill(pid, SIGCONT));
		}
	guest_sys(kill(pid, SIGKILL));
	guest_eq(waitpid(pid, NULL, 0), pid);
}

static volatile sig_atomic_t beats;

static void count_beat(int sig)
{
	(void)sig;
	beats++;
}

static void signal_storm(void)
{
	/* one at a time: nested without bound they overflow the stack by themselves */
	struct sigaction act = {.sa_handler = count_beat};
	guest_sys(sigaction(SIGUSR1, &act, NULL));
	pid_t parent = getppid(), child = (pid_t)guest_sys(fork());
	if (!child) {
		while (!guest_go())
			for (int i = 0; i < 100; i++)
				kill(getppid(), SIGUSR1);
		_exit(0);
	}
	guest_ready();
	while (!guest_go())
		for (int i = 0; i < 1000; i++)
			guest_eq(syscall(SYS_getppid), parent);
	while (waitpid(child, NULL, 0) < 0)
		guest_eq(errno, EINTR);
	guest_check(beats);
}

/* Objects of the IPC namespace, which no process holds. */
static void sysv_semaphore(void)
{
	int id = (int)guest_sys(semget(0x4242, 1, IPC_CREAT | 0600));
	guest_sys(semctl(id, 0, SETVAL, 7));
	guest_ready();
	guest_wait_go();
	guest_eq(semctl(id, 0, GETVAL), 7);
	guest_sys(semctl(id, 0, IPC_RMID));
}

static void sysv_queue(void)
{
	struct {
		long type;
		char text[4];
	} m = {1, "abc"};
	int id = (int)guest_sys(msgget(0x4242, IPC_CREAT | 0600));
	guest_sys(msgsnd(id, &m, sizeof(m.text), 0));
	guest_ready();
	guest_wait_go();
	guest_eq(msgrcv(id, &m, sizeof(m.text), 0, IPC_NOWAIT), sizeof(m.text));
	guest_sys(msgctl(id, IPC_RMID, NULL));
}

static void sysv_memory(void)
{
	int id = (int)guest_sys(shmget(0x4242, PAGE, IPC_CREAT | 0600));
	char *p = shmat(id, NULL, 0);
	strcpy(p, "kept");
	guest_sys(shmdt(p));
	guest_ready();
	guest_wait_go();
	p = shmat(id, NULL, 0);
	guest_check(p != (void *)-1);
	guest_eq(strcmp(p, "kept"), 0);
	guest_sys(shmctl(id, IPC_RMID, NULL));
}

static void posix_queue(void)
{
	struct mq_attr attr = {.mq_maxmsg = 2, .mq_msgsize = 8};
	char have[8];
	int fd = mq_open("/hostile", O_RDWR | O_CREAT, 0600, &attr);
	if (fd < 0)
		guest_bad("mq_open: %s", strerror(errno));
	guest_sys(mq_send(fd, "abc", 4, 0));
	mq_close(fd); /* it lives on in the namespace */
	guest_ready();
	guest_wait_go();
	fd = (int)guest_sys(mq_open("/hostile", O_RDWR));
	guest_eq(mq_receive(fd, have, 8, NULL), 4);
	guest_sys(mq_unlink("/hostile"));
}

/* What a descriptor owes to others. */
static void file_lease(void)
{
	int fd = (int)guest_sys(open("leased", O_RDWR | O_CREAT, 0600));
	guest_sys(fcntl(fd, F_SETLEASE, F_WRLCK));
	guest_ready();
	guest_wait_go();
	guest_eq(fcntl(fd, F_GETLEASE), F_WRLCK);
}

static void directory_notify(void)
{
	struct sigaction act = {.sa_handler = count_beat};
	guest_sys(sigaction(SIGIO, &act, NULL));
	int fd = (int)guest_sys(open(".", O_RDONLY | O_DIRECTORY));
	guest_sys(fcntl(fd, F_NOTIFY, DN_CREATE | DN_MULTISHOT));
	guest_ready();
	guest_wait_go();
	sig_atomic_t before = beats;
	close((int)guest_sys(open("notified", O_CREAT | O_WRONLY, 0600)));
	guest_check(beats > before);
}

static void async_owner(void)
{
	int fds[2];
	guest_sys(pipe(fds));
	guest_sys(signal(SIGUSR2, count_beat) == SIG_ERR ? -1 : 0);
	guest_sys(fcntl(fds[0], F_SETOWN, getpid()));
	guest_sys(fcntl(fds[0], F_SETSIG, SIGUSR2));
	guest_sys(fcntl(fds[0], F_SETFL, O_ASYNC));
	guest_ready();
	guest_wait_go();
	guest_eq(fcntl(fds[0], F_GETOWN), getpid());
	guest_eq(fcntl(fds[0], F_GETSIG), SIGUSR2);
	guest_check(fcntl(fds[0], F_GETFL) & O_ASYNC);
	guest_eq(write(fds[1], "x", 1), 1);
	guest_check(beats);
}

/* Settings of a process that narrow what it may do, or how it is run. */
static volatile char sud_switch; /* SYSCALL_DISPATCH_FILTER_ALLOW */

static void let_call(int sig)
{
	(void)sig;
	sud_switch = 0;
	beats++;
}

static void dispatched_calls(void)
{
	struct sigaction act = {.sa_handler = let_call};
	guest_sys(sigaction(SIGSYS, &act, NULL));
	guest_sys(prctl(59 /* PR_SET_SYSCALL_USER_DISPATCH */, 1, 0, 0, &sud_switch));
	guest_ready();
	guest_wait_go();
	sud_switch = 1; /* _BLOCK: the next call is SIGSYS instead */
	syscall(SYS_getppid);
	guest_eq(beats, 1);
}

static void blocked_calls(void)
{
	guest_ready();
	guest_sys(prctl(59, 1, 0, 0, &sud_switch));
	for (;;) {
		sud_switch = 1;
		for (volatile int i = 0; i < 100000000; i++)
			;
		sud_switch = 0;
		if (guest_go())
			_exit(0);
	}
}

static void no_write_exec(void)
{
	guest_sys(prctl(65 /* PR_SET_MDWE */, 1, 0, 0, 0));
	guest_ready();
	guest_wait_go();
	guest_eq(prctl(66 /* PR_GET_MDWE */, 0, 0, 0, 0), 1);
}

static void scheduling(void)
{
	struct sched_param p = {0};
	cpu_set_t one, have;
	guest_sys(sched_setscheduler(0, SCHED_BATCH, &p));
	guest_sys(setpriority(PRIO_PROCESS, 0, 7));
	guest_sys(syscall(SYS_ioprio_set, 1, 0, 3 << 13));
	guest_sys(prctl(PR_SET_TIMERSLACK, 12345));
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	guest_sys(sched_setaffinity(0, sizeof(one), &one));
	guest_ready();
	guest_wait_go();
	guest_eq(sched_getscheduler(0), SCHED_BATCH);
	guest_eq(getpriority(PRIO_PROCESS, 0), 7);
	guest_eq(syscall(SYS_ioprio_get, 1, 0), 3 << 13);
	guest_eq(prctl(PR_GET_TIMERSLACK), 12345);
	guest_sys(sched_getaffinity(0, sizeof(have), &have));
	guest_check(CPU_EQUAL(&have, &one));
}

static void kill_me_first(void)
{
	char have[16] = "";
	int fd = (int)guest_sys(open("/proc/self/oom_score_adj", O_RDWR));
	guest_eq(write(fd, "900", 3), 3);
	close(fd);
	guest_ready();
	guest_wait_go();
	fd = (int)guest_sys(open("/proc/self/oom_score_adj", O_RDONLY));
	guest_sys(read(fd, have, sizeof(have) - 1));
	guest_eq(atoi(have), 900);
}

static void odd_personality(void)
{
	guest_sys(personality(ADDR_NO_RANDOMIZE));
	guest_ready();
	guest_wait_go();
	guest_eq(personality(0xffffffff), ADDR_NO_RANDOMIZE);
}

static void locked_future(void)
{
	guest_sys(mlockall(MCL_FUTURE));
	guest_ready();
	guest_wait_go();
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	guest_check(p != MAP_FAILED);
	char line[256];
	bool locked = false, here = false;
	FILE *smaps = fopen("/proc/self/smaps", "re");
	while (fgets(line, sizeof(line), smaps)) {
		unsigned long from, to;
		if (sscanf(line, "%lx-%lx", &from, &to) == 2)
			here = from <= (unsigned long)p && (unsigned long)p < to;
		else if (here && !strncmp(line, "VmFlags:", 8))
			locked = strstr(line, " lo") != NULL;
	}
	guest_check(locked);
}

static void in_chroot(void)
{
	struct stat a, b;
	guest_sys(mkdir("jail", 0755));
	guest_sys(mkdir("jail/inside", 0755));
	int outside = (int)guest_sys(open(".", O_RDONLY | O_DIRECTORY));
	guest_sys(stat("jail", &a));
	int fd = (int)guest_sys(open("/proc/self/oom_score_adj", O_WRONLY));
	guest_eq(write(fd, "700", 3), 3);
	close(fd);
	guest_sys(chroot("jail"));
	guest_sys(chdir("/inside"));
	guest_ready();
	while (faccessat(outside, "go", F_OK, 0))
		guest_sleep_ms(5);
	guest_sys(stat("/", &b));
	guest_eq(a.st_ino, b.st_ino);
	guest_sys(access("/inside", F_OK));
}

/* What the user may have of the machine, used up. */
static void use_up_signals(void)
{
	struct rlimit limit;
	sigset_t set;
	sigfillset(&set);
	guest_sys(sigprocmask(SIG_BLOCK, &set, NULL));
	guest_sys(getrlimit(RLIMIT_SIGPENDING, &limit));
	for (rlim_t i = 0; i < limit.rlim_max; i++)
		if (sigqueue(getpid(), SIGRTMIN, (union sigval){(int)i}))
			break;
	guest_ready();
	guest_wait_go();
}

static void use_up_pipes(void)
{
	int fds[2];
	for (int k = 0; k < 8; k++) {
		pid_t pid = (pid_t)guest_sys(fork());
		if (!pid) {
			for (int i = 0; i < 500 && pipe(fds) == 0; i++)
				fcntl(fds[0], F_SETPIPE_SZ, 1 << 20);
			guest_wait_go();
			_exit(0);
		}
	}
	guest_sleep_ms(200);
	guest_ready();
	guest_wait_go();
	while (wait(NULL) > 0)
		;
}

static const struct {
	const char *name;
	void (*run)(void);
} kinds[] = {
	{"async-owner", async_owner},
	{"blocked-calls", blocked_calls},
	{"chroot", in_chroot},
	{"deep-directory", deep_directory},
	{"directory-notify", directory_notify},
	{"dispatched-calls", dispatched_calls},
	{"exec-storm", exec_storm},
	{"file-lease", file_lease},
	{"fork-storm", fork_storm},
	{"huge-environment", huge_environment},
	{"leader-gone", leader_gone},
	{"limits-of-zero", limits_of_zero},
	{"locked-future", locked_future},
	{"many-descriptors", many_descriptors},
	{"many-mappings", many_mappings},
	{"map-first", map_first},
	{"map-last", map_last},
	{"map-reserved", map_reserved},
	{"map-shared-range", map_shared_range},
	{"map-staging", map_staging},
	{"no-descriptors", no_descriptors},
	{"no-tsc", no_tsc},
	{"no-write-exec", no_write_exec},
	{"not-dumpable", not_dumpable},
	{"odd-comm", odd_comm_name},
	{"odd-file-names", odd_file_names},
	{"odd-personality", odd_personality},
	{"odd-pointers", odd_pointers},
	{"odd-program", odd_program},
	{"odd-registers", odd_registers},
	{"oom-first", kill_me_first},
	{"overwrite-leftovers", overwrite_leftovers},
	{"posix-queue", posix_queue},
	{"scheduling", scheduling},
	{"share-cwd", share_cwd},
	{"share-files", share_files},
	{"share-handlers", share_handlers},
	{"share-memory", share_memory},
	{"signal-storm", signal_storm},
	{"stop-storm", stop_storm},
	{"sysv-memory", sysv_memory},
	{"sysv-queue", sysv_queue},
	{"sysv-semaphore", sysv_semaphore},
	{"thread-storm", thread_storm},
	{"unmap-leftovers", unmap_leftovers},
	{"use-up-pipes", use_up_pipes},
	{"use-up-signals", use_up_signals},
	{"vdso-gone", vdso_gone},
	{"vdso-moved", vdso_moved},
	{"vfork", in_vfork},
};

int main(int argc, char **argv)
{
	unsigned k = 0;
	main_argv = argv;
	guest_start(argc, argv);
	const char *kind = argc > 2 ? argv[2] : "";
	while (k < sizeof(kinds) / sizeof(*kinds) && strcmp(kinds[k].name, kind) != 0)
		k++;
	if (k == sizeof(kinds) / sizeof(*kinds))
		guest_bad("no kind '%s'", kind);
	kinds[k].run();
	return 0;
}
