// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * agentcg-run's signals.
 *
 * With a controlling terminal the command stays in agentcg-run's process group. The shell then controls the job, as for
 * any command: Ctrl-Z, fg, bg and `kill %1` affect both, the command may read from the terminal when agentcg-run may,
 * and in `agentcg-run make | less` less keeps the terminal. Signals from the terminal reach the command directly, and
 * are not forwarded. A signal that a process has sent to agentcg-run alone is forwarded. (A signal that a process has
 * sent to the whole group reaches the command twice: a signal does not say which other processes have received it.)
 *
 * Without a terminal, and if the command is in a session of its own, the command has its own process group, and a signal
 * that is sent to agentcg-run, or to its group, reaches all of the command's group once.
 */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* Signals that would end or stop agentcg-run without the command; SIGWINCH, for the pseudo-terminal; and SIGCHLD, which
 * reports the end of the command if it has no pidfd (before Linux 5.2). */
static const int watched[] = {
	SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT, SIGWINCH, SIGCHLD,
};

bool watch_signals(struct signals *signals)
{
	struct sigaction inherited;
	sigset_t set, mask;

	signals->terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	signals->inherited_ignored = signals->inherited_blocked = 0;
	if (sigprocmask(SIG_SETMASK, NULL, &mask) != 0)
		return false;
	for (int signal = 1; signal <= 64; signal++) {
		/* The C library does not report the two signals that it uses itself. */
		if (sigaction(signal, NULL, &inherited) == 0 && inherited.sa_handler == SIG_IGN)
			signals->inherited_ignored |= 1ull << (signal - 1);
		if (sigismember(&mask, signal) == 1)
			signals->inherited_blocked |= 1ull << (signal - 1);
	}

	/* If SIGCHLD were ignored, the command's exit status would be lost. SIGPIPE would end agentcg-run before the
	 * group is removed. */
	signal(SIGCHLD, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++) {
		/* A signal that nohup(1), or a shell for `&`, has set to be ignored stays ignored. */
		if (watched[i] == SIGCHLD || !(signals->inherited_ignored & 1ull << (watched[i] - 1)))
			sigaddset(&set, watched[i]);
	}
	signals->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return signals->fd >= 0 && sigprocmask(SIG_BLOCK, &set, NULL) == 0;
}

bool forward_signal(const struct signalfd_siginfo *signal, pid_t command)
{
	pid_t group = getpgid(command);

	if (group != getpgrp())
		return kill(-group, (int)signal->ssi_signo) == 0;
	if (signal->ssi_code == SI_KERNEL)
		return true;
	return kill(command, (int)signal->ssi_signo) == 0;
}

void stop_self(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTSTP);
	raise(SIGTSTP);                         /* pending until it is unblocked */
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

void end_by_signal(int number)
{
	const struct rlimit no_core = { 0, 0 };
	sigset_t set;

	/* The command has dumped its core, if it was to. A core_pattern with a pipe does not look at RLIMIT_CORE. */
	setrlimit(RLIMIT_CORE, &no_core);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	signal(number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, number);
	raise(number);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}
