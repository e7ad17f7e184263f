// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * agentcg-run's signals, and whose process group the command is in.
 *
 * With a controlling terminal the command stays in our process group. Then job control is the shell's, as for any
 * command: Ctrl-Z, fg, bg and `kill %1` take us both, the command may read from the terminal when we may, and in
 * `agentcg-run make | less` less keeps the terminal. What the terminal sends has reached the command then, and is not
 * forwarded; what a process sent to us alone is. (What a process sent to the whole group reaches the command twice:
 * a signal does not tell to whom else it went.)
 *
 * Without a terminal there is no job control to disturb. The command gets a process group of its own, and what is sent
 * to us, or to our group, reaches all of its group once.
 */
#include "run.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* What would end or stop us, leaving the command behind, and what it takes to know how the command does. */
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

	/* SIGCHLD ignored would lose the command's exit status; SIGPIPE would end us before the group is gone. */
	signals->inherited_sigchld = signal(SIGCHLD, SIG_DFL);
	signals->inherited_sigpipe = signal(SIGPIPE, SIG_IGN);

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++) {
		/* What nohup(1), or a shell for its `&`, has told us to ignore stays ignored. */
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
		setpgid(command, command);      /* for the parent EACCES: the child was first, and is past its exec */
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

void stop_ourselves(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTSTP);
	raise(SIGTSTP);                         /* pending, and due when it is unblocked */
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	sigprocmask(SIG_BLOCK, &set, NULL);
}
