/*
 * Stopped children of several kinds: none of them runs before it is continued,
 * each is stopped by the signal that it was stopped by, and a stop is news for
 * the parent just once, as a signal and as something to wait for.
 */
#include "guest.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { THREADS = 3 };

struct shared {
	uint64_t steps;			/* of the process with threads */
	uint32_t threads;		/* it has them all */
	uint32_t below;			/* the child's child has been waited for */
	uint32_t verdict;		/* of the stopped parent: 1 good, 2 bad */
};

static struct shared *shared;
static volatile sig_atomic_t n_signals;

static void on_child(int sig)
{
	n_signals++;
}

static char state_of(pid_t pid, const char *task)
{
	char path[340], state = 0;
	snprintf(path, sizeof(path), "/proc/%d%s/stat", pid, task);
	FILE *f = fopen(path, "re");
	guest_check(f && fscanf(f, "%*d (%*[^)]) %c", &state) == 1);
	fclose(f);
	return state;
}

static void *step(void *arg)
{
	for (;;)
		__atomic_add_fetch(&shared->steps, 1, __ATOMIC_SEQ_CST);
	return arg;
}

static void __attribute__((noreturn)) idle(void)
{
	for (;;)
		guest_sleep_ms(1);
}

static void __attribute__((noreturn)) threads_main(void)
{
	pthread_t t;
	for (int i = 0; i < THREADS; i++)
		guest_eq(pthread_create(&t, NULL, step, NULL), 0);
	/* with a timer there is something to do at the gate */
	struct itimerval left = {.it_value = {1000, 0}};
	guest_sys(setitimer(ITIMER_REAL, &left, NULL));
	__atomic_store_n(&shared->threads, 1, __ATOMIC_SEQ_CST);
	idle();
}

/* No news is left for the parent: 1, else 2. */
static uint32_t no_news(pid_t pid, int signals)
{
	siginfo_t info = {0};
	if (waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOHANG) || info.si_pid || n_signals != signals)
		return 2;
	return 1;
}

/* It is stopped itself while it has a stopped child. */
static void __attribute__((noreturn)) parent_main(void)
{
	int status;
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		idle();
	}
	guest_sys(kill(pid, SIGSTOP));
	while (n_signals == 0)
		guest_sleep_ms(1);
	guest_eq(waitpid(pid, &status, WUNTRACED), pid);
	__atomic_store_n(&shared->below, (uint32_t)pid, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&shared->verdict, __ATOMIC_SEQ_CST))
		guest_sleep_ms(1);
	uint32_t verdict = no_news(pid, 1);
	__atomic_store_n(&shared->verdict, verdict + 1, __ATOMIC_SEQ_CST);
	idle();
}

static pid_t child(void (*main)(void))
{
	pid_t pid = fork();
	guest_check(pid >= 0);
	if (pid == 0) {
		/* a group of its own, so that it is not an orphaned one */
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		n_signals = 0;
		main();
	}
	setpgid(pid, pid);
	return pid;
}

static void stop(pid_t pid, int sig, bool told)
{
	int signals = n_signals;
	siginfo_t info = {0};
	guest_sys(kill(pid, sig));
	while (n_signals == signals)
		guest_sleep_ms(1);
	guest_sys(waitid(P_PID, (id_t)pid, &info, WSTOPPED | (told ? 0 : WNOWAIT)));
	guest_eq(info.si_status, sig);
}

static void wait_news(pid_t pid, int sig)
{
	int status;
	guest_eq(waitpid(pid, &status, WUNTRACED | WNOHANG), pid);
	guest_check(WIFSTOPPED(status));
	guest_eq(WSTOPSIG(status), sig);
	guest_eq(waitpid(pid, &status, WUNTRACED | WNOHANG), 0);
}

static void cont(pid_t pid)
{
	siginfo_t info = {0};
	guest_sys(kill(pid, SIGCONT));
	guest_sys(waitid(P_PID, (id_t)pid, &info, WCONTINUED));
	guest_eq(info.si_code, CLD_CONTINUED);
	/* not stopped half-way again */
	guest_sleep_ms(20);
	guest_check(state_of(pid, "") != 'T');
}

static void check_threads(pid_t pid, uint64_t steps)
{
	char task[300];
	snprintf(task, sizeof(task), "/proc/%d/task", pid);
	DIR *dir = opendir(task);
	guest_check(dir);
	int n = 0;
	for (struct dirent *d; (d = readdir(dir));) {
		if (d->d_name[0] == '.')
			continue;
		snprintf(task, sizeof(task), "/task/%s", d->d_name);
		guest_eq(state_of(pid, task), 'T');
		n++;
	}
	closedir(dir);
	guest_eq(n, THREADS + 1);
	guest_eq(__atomic_load_n(&shared->steps, __ATOMIC_SEQ_CST), steps);
	cont(pid);
	for (int i = 0; __atomic_load_n(&shared->steps, __ATOMIC_SEQ_CST) == steps; i++) {
		guest_check(i < 5000);
		guest_sleep_ms(1);
	}
}

static void check_parent(pid_t pid)
{
	guest_eq(state_of(pid, ""), 'T');
	guest_eq(state_of((pid_t)shared->below, ""), 'T');
	__atomic_store_n(&shared->verdict, 1, __ATOMIC_SEQ_CST);
	cont(pid);
	for (int i = 0; __atomic_load_n(&shared->verdict, __ATOMIC_SEQ_CST) == 1; i++) {
		guest_check(i < 5000);
		guest_sleep_ms(1);
	}
	guest_eq(shared->verdict, 2);
}

static void end(pid_t pid)
{
	guest_sys(kill(pid, SIGKILL));
	guest_eq(waitpid(pid, NULL, 0), pid);
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	guest_check(shared != MAP_FAILED);
	struct sigaction act = {.sa_handler = on_child, .sa_flags = SA_RESTART};
	guest_sys(sigaction(SIGCHLD, &act, NULL));
	pid_t told = child(idle), untold = child(idle), many = child(threads_main),
	      parent = child(parent_main);
	while (!__atomic_load_n(&shared->below, __ATOMIC_SEQ_CST) ||
	       !__atomic_load_n(&shared->threads, __ATOMIC_SEQ_CST))
		guest_sleep_ms(1);
	stop(told, SIGTSTP, true);
	stop(untold, SIGTTIN, false);
	stop(many, SIGTTOU, true);
	stop(parent, SIGSTOP, true);
	uint64_t steps = shared->steps;
	int signals = n_signals;
	guest_ready();
	guest_wait_go();
	guest_eq(n_signals, signals);
	guest_eq(state_of(told, ""), 'T');
	guest_eq(no_news(told, signals), 1);
	wait_news(untold, SIGTTIN);
	check_threads(many, steps);
	check_parent(parent);
	cont(told);
	stop(told, SIGTSTP, true);
	cont(told);
	kill((pid_t)shared->below, SIGKILL);
	end(told);
	end(untold);
	end(many);
	end(parent);
	return 0;
}
