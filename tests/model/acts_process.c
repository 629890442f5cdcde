/* acts_process.c - processes, their threads and signals. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "actor.h"

/* A thread that counts in memory of its own, or reads on request. */
struct helper {
	pthread_t thread;
	bool is_there;
	_Atomic uint32_t asked, done;	/* futexes; equal while it waits */
	pid_t tid;
	long add;			/* the request */
	bool ends;
	int read_fd;			/* -1: none */
	size_t read_len;
	long total;			/* the answer */
	ssize_t got;
	int error;
	char bytes[256];
};

static struct helper helpers[HELPERS];
static __thread long counted;
static uint64_t n_signals, signal_sum;

void helpers_forget(void)
{
	memset(helpers, 0, sizeof(helpers));
}

static void helper_obey(struct helper *h)
{
	if (h->read_fd < 0) {
		counted += h->add;
		h->total = counted;
		return;
	}
	h->got = read(h->read_fd, h->bytes, h->read_len);
	h->error = errno;
}

static void *helper_run(void *arg)
{
	struct helper *h = arg;
	h->tid = (pid_t)syscall(SYS_gettid);
	for (uint32_t seen = 0;;) {
		atomic_store(&h->done, ++seen);
		futex_wake(&h->done);
		futex_wait(&h->asked, seen);
		if (h->ends)
			break;
		helper_obey(h);
	}
	return NULL;
}

static void helper_await(struct helper *h)
{
	uint32_t done;
	while ((done = atomic_load(&h->done)) != atomic_load(&h->asked))
		futex_wait(&h->done, done);
}

static struct helper *helper_of(const struct act *a)
{
	return &helpers[act_number(a, 0)];
}

static void helper_ask(struct helper *h)
{
	atomic_fetch_add(&h->asked, 1);
	futex_wake(&h->asked);
}

/* HELPER: its tid */
static void do_thread(struct act *a)
{
	struct helper *h = helper_of(a);
	sigset_t all, was;
	memset(h, 0, sizeof(*h));
	atomic_store(&h->asked, 1);
	h->read_fd = -1;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &was);
	int r = pthread_create(&h->thread, NULL, helper_run, h);
	pthread_sigmask(SIG_SETMASK, &was, NULL);
	if (r)
		abort();
	helper_await(h);
	h->is_there = true;
	act_say(a, " %d", h->tid);
}

/* HELPER NUMBER: its sum, of the numbers that it was given */
static void do_count(struct act *a)
{
	struct helper *h = helper_of(a);
	h->read_fd = -1;
	h->add = act_number(a, 1);
	helper_ask(h);
	helper_await(h);
	act_say(a, " %ld", h->total);
}

/* HELPER FD LENGTH: begin to read, however long it may take */
static void do_begin_read(struct act *a)
{
	struct helper *h = helper_of(a);
	h->read_fd = (int)act_number(a, 1);
	h->read_len = (size_t)act_number(a, 2);
	helper_ask(h);
	act_say(a, " 0");
}

/* HELPER: what it has read */
static void do_end_read(struct act *a)
{
	struct helper *h = helper_of(a);
	helper_await(h);
	if (h->got < 0)
		act_say(a, " %d", -h->error);
	else
		act_bytes(a, h->bytes, (size_t)h->got);
}

static void do_end_thread(struct act *a)
{
	struct helper *h = helper_of(a);
	h->ends = true;
	helper_ask(h);
	int r = pthread_join(h->thread, NULL);
	h->is_there = false;
	act_say(a, " %d", r);
}

/* " tI:TID" of each, with the sum of those that do not read */
void say_helpers(struct act *a)
{
	for (int i = 0; i < HELPERS; i++) {
		struct helper *h = &helpers[i];
		if (!h->is_there)
			continue;
		act_say(a, " t%d:%d:", i, h->tid);
		if (atomic_load(&h->asked) != atomic_load(&h->done)) {
			act_say(a, "reads");
			continue;
		}
		h->read_fd = -1;
		h->add = 0;
		helper_ask(h);
		helper_await(h);
		act_say(a, "%ld", h->total);
	}
}

/* SLOT: a child for it; its pid */
static void do_fork(struct act *a)
{
	int slot = (int)act_number(a, 0);
	uint32_t seen = atomic_load(&slots[slot].asked);
	pid_t pid = fork();
	if (pid == 0) {
		helpers_forget();
		serve(slot, seen);
	}
	if (pid > 0)
		slots[slot].pid = pid;
	act_result(a, pid);
}

static void do_exit(struct act *a)
{
	_exit((int)act_number(a, 0));
}

/* The program anew, in this process; answers by itself. */
static void do_exec(struct act *a)
{
	char slot[16];
	snprintf(slot, sizeof(slot), "%d", own_slot);
	act_result(a, execl(own_path, own_path, slot, NULL));
}

/* PID: its wait status */
static void do_wait(struct act *a)
{
	int status = 0;
	pid_t pid = wait4((pid_t)act_number(a, 0), &status, __WALL, NULL);
	if (pid < 0)
		act_result(a, -1);
	else
		act_say(a, " %d %d", pid, status);
}

static uint64_t mix(uint64_t sum, uint64_t value)
{
	return (sum ^ value) * 0x9e3779b97f4a7c15u + 1;
}

static void on_signal(int number, siginfo_t *info, void *context)
{
	(void)context;
	uint64_t value = info->si_code == SI_QUEUE ? (uint64_t)info->si_value.sival_int : 0;
	n_signals++;
	signal_sum = mix(signal_sum, (uint64_t)number << 32 | value);
}

/* SIGNAL HOW: 0 the default, 1 ignored, 2 counted */
static void do_handle(struct act *a)
{
	struct sigaction act = {.sa_flags = SA_SIGINFO | SA_RESTART};
	long how = act_number(a, 1);
	if (how == 2) {
		act.sa_sigaction = on_signal;
		sigfillset(&act.sa_mask);
	} else {
		act.sa_flags = 0;
		act.sa_handler = how ? SIG_IGN : SIG_DFL;
	}
	act_result(a, sigaction((int)act_number(a, 0), &act, NULL));
}

/* SIGNAL HOW */
static void do_mask(struct act *a)
{
	sigset_t one;
	sigemptyset(&one);
	sigaddset(&one, (int)act_number(a, 0));
	act_result(a, sigprocmask((int)act_number(a, 1), &one, NULL));
}

/* PID SIGNAL VALUE; a value below 0: by kill() */
static void do_send(struct act *a)
{
	union sigval value = {.sival_int = (int)act_number(a, 2)};
	pid_t pid = (pid_t)act_number(a, 0);
	int number = (int)act_number(a, 1);
	act_result(a, act_number(a, 2) < 0 ? kill(pid, number) : sigqueue(pid, number, value));
}

static void do_umask(struct act *a)
{
	act_result(a, umask((mode_t)act_number(a, 0)));
}

static void do_name(struct act *a)
{
	act_result(a, prctl(PR_SET_NAME, act_word(a, 0)));
}

static void do_nice(struct act *a)
{
	act_result(a, setpriority(PRIO_PROCESS, 0, (int)act_number(a, 0)));
}

static void do_setsid(struct act *a)
{
	act_result(a, setsid());
}

/* PID GROUP */
static void do_setpgid(struct act *a)
{
	act_result(a, setpgid((pid_t)act_number(a, 0), (pid_t)act_number(a, 1)));
}

/* RESOURCE SOFT HARD */
static void do_rlimit(struct act *a)
{
	struct rlimit limit = {(rlim_t)act_number(a, 1), (rlim_t)act_number(a, 2)};
	act_result(a, setrlimit((__rlimit_resource_t)act_number(a, 0), &limit));
}

static unsigned long set_bits(const sigset_t *set)
{
	unsigned long bits;
	memcpy(&bits, set, sizeof(bits));
	return bits;
}

/* Everything that a process can say of itself. */
static void do_state(struct act *a)
{
	sigset_t mask, pending;
	char name[17] = "", cwd[512];
	struct rlimit core;
	mode_t was = umask(0);
	umask(was);
	sigprocmask(SIG_BLOCK, NULL, &mask);
	sigpending(&pending);
	prctl(PR_GET_NAME, name);
	getrlimit(RLIMIT_CORE, &core);
	act_say(a, " pid:%d ppid:%d group:%d session:%d", getpid(), getppid(), getpgrp(), getsid(0));
	act_say(a, " umask:%o nice:%d name:%s cwd:%s", was, getpriority(PRIO_PROCESS, 0), name,
		getcwd(cwd, sizeof(cwd)) ? cwd : "?");
	act_say(a, " mask:%lx pending:%lx handled:%lu:%016lx core:%ld", set_bits(&mask),
		set_bits(&pending), n_signals, signal_sum, (long)core.rlim_cur);
	say_files(a);
	say_areas(a);
	say_helpers(a);
}

const struct act_row process_acts[] = {
	{ "thread", do_thread },
	{ "count", do_count },
	{ "begin_read", do_begin_read },
	{ "end_read", do_end_read },
	{ "end_thread", do_end_thread },
	{ "fork", do_fork },
	{ "exit", do_exit },
	{ "exec", do_exec },
	{ "wait", do_wait },
	{ "handle", do_handle },
	{ "mask", do_mask },
	{ "send", do_send },
	{ "umask", do_umask },
	{ "name", do_name },
	{ "nice", do_nice },
	{ "setsid", do_setsid },
	{ "setpgid", do_setpgid },
	{ "rlimit", do_rlimit },
	{ "state", do_state },
	{ 0 },
};
