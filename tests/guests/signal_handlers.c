/* Dispositions with flags and masks, and a handler on its own stack. */
#include "guest.h"

#include <signal.h>

static char stack[1 << 16];
static volatile sig_atomic_t seen, on_stack, payload;

static void handler(int sig, siginfo_t *info, void *context)
{
	char here;
	seen = sig;
	payload = info->si_value.sival_int;
	on_stack = &here >= stack && &here < stack + sizeof(stack);
}

static void check_action(int sig, int flags)
{
	struct sigaction sa;
	guest_sys(sigaction(sig, NULL, &sa));
	guest_check(sa.sa_sigaction == handler);
	guest_eq(sa.sa_flags & ~0x04000000, flags);
	guest_eq(sigismember(&sa.sa_mask, SIGTERM), 1);
	guest_eq(sigismember(&sa.sa_mask, SIGHUP), 0);
}

int main(int argc, char **argv)
{
	struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)}, now;
	sigset_t set, have;
	guest_start(argc, argv);
	sigaddset(&sa.sa_mask, SIGTERM);
	guest_sys(sigaltstack(&ss, NULL));
	guest_sys(sigaction(SIGUSR1, &sa, NULL));
	sa.sa_flags |= SA_RESTART | SA_NODEFER;
	guest_sys(sigaction(SIGRTMIN + 3, &sa, NULL));
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTRAP, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, SIGTRAP);
	guest_sys(sigprocmask(SIG_SETMASK, &set, NULL));
	guest_ready();
	guest_wait_go();

	check_action(SIGUSR1, SA_SIGINFO | SA_ONSTACK);
	check_action(SIGRTMIN + 3, SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER);
	guest_check(signal(SIGPIPE, SIG_DFL) == SIG_IGN);
	guest_check(signal(SIGTRAP, SIG_DFL) == SIG_IGN);
	guest_check(signal(SIGUSR2, SIG_DFL) == SIG_DFL);
	guest_sys(sigprocmask(SIG_SETMASK, NULL, &have));
	for (int s = 1; s < 65; s++)
		if (s != 32 && s != 33)
			guest_eq(sigismember(&have, s), sigismember(&set, s));
	guest_sys(sigaltstack(NULL, &now));
	guest_check(now.ss_sp == stack && now.ss_size == sizeof(stack));
	guest_sys(sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = 77}));
	guest_eq(seen, SIGRTMIN + 3);
	guest_eq(payload, 77);
	guest_eq(on_stack, 1);
	guest_sys(raise(SIGUSR1));
	guest_eq(seen, SIGUSR1);
	return 0;
}
