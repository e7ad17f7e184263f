// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * agentcg-run - run a command in its own cgroup, under limits, and leave no process of it behind.
 *
 * The life of an agent: agentcg_new(), a child that calls agentcg_move_self() before it executes the command,
 * agentcg_read_stats() while it runs, agentcg_kill_all() to stop it early, agentcg_destroy().
 *
 * By hand: cc -D_GNU_SOURCE agentcg-run.c run-*.c shared.c -o agentcg-run $(pkg-config --cflags --libs agentcg)
 */
#include "run.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The exit statuses of timeout(1), env(1) and the shells. */
#define EXIT_TIME_IS_UP     124
#define EXIT_OWN_FAILURE    125
#define EXIT_NOT_EXECUTABLE 126
#define EXIT_NOT_FOUND      127

#define KILL_TIMEOUT_MS  10000
#define LIVE_INTERVAL_NS (200 * NS_PER_MS)
#define NEVER            UINT64_MAX

struct run {
	struct run_options options;
	struct signals signals;
	struct screen screen;
	struct outcome outcome;
	struct measurements measured;
	agentcg *cg;
	pid_t command;
	int start_fd;                /* gives a start_failure, or end of file if the command runs; -1 once closed */
	uint64_t start_ns;
	uint64_t deadline_ns;        /* of the time limit, or NEVER */
	uint64_t next_live_ns;
	agentcg_stats last_shown;
	unsigned int interrupts;
	bool ended;                  /* the command has ended; other processes may be alive in the group */
	bool everything_killed;
	int failure_status;          /* not 0: agentcg-run has failed and printed why; its exit status */
};

struct start_failure {
	bool entered;                /* the child is in the cgroup: execvp(3) failed */
	int error;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void fail(struct run *run, const agentcg_error *error)
{
	screen_clear(&run->screen);
	say("%s", error->message);
	run->failure_status = EXIT_OWN_FAILURE;
}

static void fail_errno(struct run *run, const char *what)
{
	agentcg_error error;

	snprintf(error.message, sizeof(error.message), "%s: %s", what, strerror(errno));
	fail(run, &error);
}

/* ---- start --------------------------------------------------------------- */

/* Runs in the child, which may make only async-signal-safe calls. */
static void become_command(const struct run *run, int failure_fd)
{
	struct start_failure failure = { .entered = false };

	place_in_process_group(&run->signals, 0);
	failure.error = -agentcg_move_self(run->cg);
	/* In a login session only the parent can move the child, by systemd. */
	if (failure.error == EACCES && write(failure_fd, &failure, sizeof(failure)) > 0 &&
	    read(failure_fd, &(char){ 0 }, 1) == 1)
		failure.error = 0;
	if (failure.error == 0) {
		failure.entered = true;
		restore_signals(&run->signals);
		execvp(run->options.command[0], run->options.command);
		failure.error = errno;
	}
	_exit(write(failure_fd, &failure, sizeof(failure)) > 0 ? EXIT_NOT_EXECUTABLE : EXIT_OWN_FAILURE);
}

static bool start_command(struct run *run)
{
	int fds[2];                  /* a successful exec closes the child's end: the parent reads end of file */

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
		fail_errno(run, "cannot make a socket to the command");
		return false;
	}
	run->start_fd = fds[0];
	run->start_ns = now_ns();
	run->deadline_ns = run->options.time_limit_ns ? run->start_ns + run->options.time_limit_ns : NEVER;
	run->next_live_ns = run->start_ns + LIVE_INTERVAL_NS;
	run->last_shown.time_ns = run->start_ns;
	run->command = fork();
	if (run->command == 0)
		become_command(run, fds[1]);
	if (run->command < 0)
		fail_errno(run, "cannot make a process for the command");
	else
		place_in_process_group(&run->signals, run->command);
	close(fds[1]);
	return run->command > 0;
}

/* The socket to the child is readable: the start has failed or succeeded, or the child asks to be moved. */
static void note_start(struct run *run)
{
	struct start_failure failure;
	ssize_t length = read(run->start_fd, &failure, sizeof(failure));
	const char *name = run->options.command[0];
	agentcg_error error;

	if (length < 0)
		fail_errno(run, "cannot read if the command was executed");
	if (length == sizeof(failure) && !failure.entered && failure.error == EACCES) {
		if (agentcg_move_pid(run->cg, run->command, &error) < 0)
			fail(run, &error);
		else if (write(run->start_fd, "", 1) == 1)
			return;         /* the child continues its start */
	}
	close(run->start_fd);
	run->start_fd = -1;
	if (length != sizeof(failure) || run->failure_status)
		return;
	if (!failure.entered) {
		say("the command cannot enter its cgroup: %s", strerror(failure.error));
		run->failure_status = EXIT_OWN_FAILURE;
	} else if (failure.error == ENOENT) {
		say("%s: %s", name, strchr(name, '/') ? strerror(ENOENT) : "command not found");
		run->failure_status = EXIT_NOT_FOUND;
	} else {
		say("%s: %s", name, strerror(failure.error));
		run->failure_status = EXIT_NOT_EXECUTABLE;
	}
}

/* ---- while it runs ------------------------------------------------------- */

static void kill_everything(struct run *run)
{
	agentcg_error error;

	run->everything_killed = true;
	run->deadline_ns = NEVER;
	/* Before the kill: afterwards there is no memory and no process left to measure. */
	if (measure(run->cg, &run->measured, &error) < 0)
		fail(run, &error);
	if (agentcg_kill_all(run->cg, KILL_TIMEOUT_MS, &error) < 0)
		fail(run, &error);
	/* The command has the same uid and may have moved itself out of the group. Its pid cannot have been reused,
	 * since it has not been waited for. */
	kill(run->command, SIGKILL);
}

static void reap_command(struct run *run)
{
	pid_t pid = waitpid(run->command, &run->outcome.wait_status, WNOHANG);

	if (pid == 0)
		return;                 /* it was stopped or continued, or the signal is for an inherited child */
	if (pid < 0)
		fail_errno(run, "cannot wait for the command");
	run->outcome.wall_ns = now_ns() - run->start_ns;
	run->ended = true;
}

static void answer_signal(struct run *run, const struct signalfd_siginfo *signal)
{
	if (signal->ssi_signo == SIGCHLD) {
		reap_command(run);
		return;
	}
	if (run->ended || run->everything_killed)
		return;
	if (signal->ssi_signo == SIGINT && ++run->interrupts == 2) {
		run->outcome.interrupted_twice = true;
		kill_everything(run);
		return;
	}
	if (!forward_signal(signal, run->command)) {
		screen_clear(&run->screen);
		say("SIG%s cannot be forwarded: %s", sigabbrev_np((int)signal->ssi_signo), strerror(errno));
	}
	if (signal->ssi_signo == SIGTSTP) {
		screen_clear(&run->screen);
		stop_self();
	}
}

static void show_live_line(struct run *run, uint64_t now)
{
	char line[256];
	agentcg_stats stats;
	agentcg_error error;

	run->next_live_ns = now + LIVE_INTERVAL_NS;
	if (agentcg_read_stats(run->cg, AGENTCG_STAT_BASIC | AGENTCG_STAT_PIDS, &stats, sizeof(stats), &error) < 0) {
		fail(run, &error);
		run->screen.usable = false;
		return;
	}
	strcpy(line, run->interrupts > 0 ? "Ctrl-C again kills everything  " : "");
	append_live_line(line, sizeof(line), &run->options.limits, now - run->start_ns, &run->last_shown, &stats);
	screen_draw(&run->screen, line);
	run->last_shown = stats;
}

/* For poll(2). Rounds up: an early wakeup would make the loop spin. */
static int ms_until(uint64_t then_ns, uint64_t now)
{
	uint64_t ms = then_ns > now ? (then_ns - now) / NS_PER_MS + 1 : 0;

	return then_ns == NEVER ? -1 : ms < INT_MAX ? (int)ms : INT_MAX;
}

static void watch_command(struct run *run)
{
	/* If the kill has failed the loop ends: agentcg_destroy() tries again and reports the failure. */
	while ((!run->ended || run->start_fd >= 0) && !(run->everything_killed && run->failure_status)) {
		struct pollfd fds[] = {
			{ .fd = run->signals.fd, .events = POLLIN },
			{ .fd = run->start_fd, .events = POLLIN },      /* poll(2) ignores -1 */
		};
		struct signalfd_siginfo signal;
		uint64_t now = now_ns(), next_ns = run->deadline_ns;

		if (now >= run->deadline_ns && !run->ended) {
			run->outcome.time_is_up = true;
			kill_everything(run);
			continue;
		}
		if (run->screen.usable) {
			if (now >= run->next_live_ns)
				show_live_line(run, now);
			next_ns = run->next_live_ns < next_ns ? run->next_live_ns : next_ns;
		}
		if (poll(fds, 2, ms_until(next_ns, now)) < 0 && errno != EINTR) {
			fail_errno(run, "cannot wait for the command");
			kill_everything(run);
		}
		if (fds[1].revents)
			note_start(run);
		while (read(run->signals.fd, &signal, sizeof(signal)) == sizeof(signal))
			answer_signal(run, &signal);
	}
}

/* ---- the end ------------------------------------------------------------- */

static int exit_status(const struct run *run)
{
	int status = run->outcome.wait_status;

	if (run->failure_status)
		return run->failure_status;
	if (run->outcome.time_is_up)
		return EXIT_TIME_IS_UP;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	struct run run = { .start_fd = -1 };
	agentcg_error error;

	setvbuf(stderr, NULL, _IOLBF, 0);       /* whole lines, since the command may write to it, too */
	parse_options(&run.options, argc, argv);
	if (!watch_signals(&run.signals))
		fail_errno(&run, "cannot watch for signals");
	else if (agentcg_new(run.options.parent, NULL, &run.options.limits, sizeof(run.options.limits), 0,
	                     &run.cg, &error) < 0)
		fail(&run, &error);
	if (run.failure_status)
		return run.failure_status;
	if (!run.options.quiet)
		run.screen = screen_open();
	if (start_command(&run))
		watch_command(&run);
	screen_clear(&run.screen);
	if (!run.failure_status && !run.everything_killed && measure(run.cg, &run.measured, &error) < 0)
		fail(&run, &error);
	if (agentcg_destroy(run.cg, 0, KILL_TIMEOUT_MS, NULL, 0, &error) < 0) {
		fail(&run, &error);
		agentcg_free(run.cg);
	}
	close(run.signals.fd);
	if (!run.failure_status && !run.options.quiet)
		print_report(&run.options, &run.outcome, &run.measured);
	return exit_status(&run);
}
