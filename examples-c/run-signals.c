// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * agentcg-run's signals, and the process group of the command.
 *
 * With a controlling terminal the command stays in agentcg-run's process group. The shell then controls the job, as for
 * any command: Ctrl-Z, fg, bg and `kill %1` affect both, the command may read from the terminal when agentcg-run may,
 * and in `agentcg-run make | less` less keeps the terminal. Signals from the terminal reach the command directly, and
 * are not forwarded. A signal that a process has sent to agentcg-run alone is forwarded. (A signal that a process has
 * sent to the whole group reaches the command twice: a signal does not say which other processes have received it.)
 *
 * Without a terminal there is no job control. The command has its own process group, and a signal that is sent to
 * agentcg-run, or to its group, reaches all of the command's group once.
 */
#include "run.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Signals that would end or stop agentcg-run without the command, and SIGCHLD, which reports the command's state. */
static const int watched[] = {
	SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT, SIGCHLD,
};

bool watch_signals(struct signals *signals)
{
	struct sigaction inherited;
	sigset_t set;
	int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

	signals->has_terminal = terminal >= 0;
	if (terminal >= 0)
		close(terminal);

	/* If SIGCHLD were ignored, the command's exit status would be lost. SIGPIPE would end agentcg-run before the
	 * group is removed. */
	signals->inherited_sigchld = signal(SIGCHLD, SIG_DFL);
	signals->inherited_sigpipe = signal(SIGPIPE, SIG_IGN);

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++) {
		/* A signal that nohup(1), or a shell for `&`, has set to be ignored stays ignored. */
		if (sigaction(watched[i], NULL, &inherited) == 0 && inherited.sa_handler != SIG_IGN)
			sigaddset(&set, watched[i]);
	}
	signals->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals->fd < 0)
		return false;
	return sigprocmask(SIG_BLOCK, &set, &signals->inherited_mask) == 0;
}

void restore_signals(const struct signals *signals)
{
	signal(SIGCHLD, signals->inherited_sigchld);
	signal(SIGPIPE, signals->inherited_sigpipe);
	sigprocmask(SIG_SETMASK, &signals->inherited_mask, NULL);
}

void place_in_process_group(const struct signals *signals, pid_t command)
{
	if (!signals->has_terminal)
		setpgid(command, command);      /* EACCES in the parent: the child has executed the command */
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
