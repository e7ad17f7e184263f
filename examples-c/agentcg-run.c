// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * agentcg-run - run a command in its own cgroup, under limits, and leave no process of it behind.
 *
 * The life of an agent: agentcg_new_with() with a guard, agentcg_spawn(), agentcg_read_stats() while it runs,
 * agentcg_signal_all() and agentcg_kill_all() to stop it early, agentcg_destroy().
 *
 * By hand: cc -D_GNU_SOURCE agentcg-run.c run-*.c shared.c -o agentcg-run $(pkg-config --cflags --libs agentcg)
 */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KILL_TIMEOUT_MS      10000
#define FREEZE_TIMEOUT_MS    1000
#define LIVE_INTERVAL_NS     (200 * NS_PER_MS)
#define INTERRUPT_WITHIN_NS  (2 * NS_PER_S)

struct run {
	struct run_options options;
	struct descriptors descriptors;
	struct signals signals;
	struct terminal_state terminal;
	struct screen screen;
	struct pty pty;
	struct outcome outcome;
	struct measurements measured;
	char uuid[AGENTCG_UUID_SIZE];
	agentcg *cg;
	pid_t command;
	int pidfd;                   /* of the command; -1 before Linux 5.2 */
	int events_fd;               /* for the end of the last process; -1: it is not waited for */
	uint64_t start_ns;
	uint64_t term_ns;            /* when everything is asked to end, or NEVER */
	uint64_t kill_ns;            /* when everything is killed, or NEVER */
	uint64_t next_live_ns;
	uint64_t next_stats_ns;
	uint64_t interrupt_ns;       /* of the last SIGINT; 0: there was none */
	agentcg_stats last_shown;
	int forwarded;               /* the last signal that was sent to the command */
	bool begun;                  /* the command is known to have been executed */
	bool ended;                  /* the command has ended; other processes may be alive in the group */
	bool empty;                  /* every process that was asked to end has ended */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void fail_as(struct run *run, int status, const char *message)
{
	screen_clear(&run->screen);
	pty_set_raw(&run->pty, false);
	say("%s", message);
	if (run->outcome.failure_status)
		return;
	run->outcome.failure_status = status;
	snprintf(run->outcome.failure, sizeof(run->outcome.failure), "%s", message);
}

static void fail(struct run *run, const agentcg_error *error)
{
	fail_as(run, EXIT_OWN_FAILURE, error->message);
}

static void fail_errno(struct run *run, const char *what)
{
	char text[256];

	snprintf(text, sizeof(text), "%s: %s", what, strerror(errno));
	fail_as(run, EXIT_OWN_FAILURE, text);
}

/* ---- output -------------------------------------------------------------- */

/* Returns true if a write of one line does not block, so that a reader that does not read holds nothing up. */
static bool can_print(int fd)
{
	struct pollfd output = { .fd = fd, .events = POLLOUT };

	return poll(&output, 1, 0) == 1 && output.revents & POLLOUT;
}

/* Writes the text, which may be NULL, with one write(2) if possible: the command may write to the same file. */
static void write_out(struct run *run, const char *text, size_t length)
{
	size_t written = 0;
	int fd = run->options.report_fd;

	if (!text) {
		say("out of memory for the report");
		return;
	}
	while (written < length) {
		ssize_t result = write(fd, text + written, length - written);

		if (result >= 0) {
			written += (size_t)result;
		} else if (errno == EAGAIN) {
			struct pollfd output = { .fd = fd, .events = POLLOUT };

			poll(&output, 1, -1);
		} else if (errno != EINTR) {
			/* A standard error that is gone has no place to say so. */
			if (fd != STDERR_FILENO)
				say("cannot write to the descriptor %d: %s", fd, strerror(errno));
			return;
		}
	}
}

static void print_outcome(struct run *run)
{
	char *text = NULL;
	size_t length = 0;
	FILE *file;

	if (run->options.report == REPORT_NONE || (run->options.report == REPORT_TEXT && run->outcome.failure_status))
		return;
	file = open_memstream(&text, &length);
	if (file) {
		if (run->options.report == REPORT_JSON)
			print_json_report(file, &run->options, *run->uuid ? run->uuid : NULL, &run->outcome, &run->measured);
		else
			print_report(file, &run->options, &run->outcome, &run->measured);
		fclose(file);
	}
	write_out(run, text, length);
	free(text);
}

static void show_stats(struct run *run, uint64_t now)
{
	agentcg_stats stats;
	agentcg_error error;
	char *text = NULL;
	size_t length = 0;
	FILE *file;

	run->next_stats_ns = now + run->options.stats_ns;
	if (!can_print(run->options.report_fd))
		return;
	if (agentcg_read_stats(run->cg, AGENTCG_STAT_ALL, &stats, sizeof(stats), &error) < 0) {
		fail(run, &error);
		run->next_stats_ns = NEVER;
		return;
	}
	file = open_memstream(&text, &length);
	if (file) {
		print_json_stats(file, &run->options, run->uuid, now - run->start_ns, &stats);
		fclose(file);
	}
	write_out(run, text, length);
	free(text);
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
	strcpy(line, run->interrupt_ns && now - run->interrupt_ns < INTERRUPT_WITHIN_NS ?
	             "Ctrl-C again kills everything  " : "");
	append_live_line(line, sizeof(line), &run->options.limits, now - run->start_ns, &run->last_shown, &stats);
	screen_draw(&run->screen, line);
	run->last_shown = stats;
}

/* ---- start --------------------------------------------------------------- */

/* The command was not executed. */
static void note_failed_start(struct run *run, const agentcg_error *error)
{
	const char *name = run->options.command[0];
	char text[FAILURE_SIZE];

	run->ended = true;
	run->outcome.wall_ns = now_ns() - run->start_ns;
	if (error->code == -ECANCELED && (run->outcome.killed || run->forwarded)) {
		/* It was killed on its way to the command, by what was meant for the command. */
		run->outcome.wait_status = run->outcome.killed ? SIGKILL : run->forwarded;
		return;
	}
	if (error->reason != AGENTCG_WHY_NOT_EXECUTED) {
		fail(run, error);
	} else if (error->code == -ENOENT) {
		snprintf(text, sizeof(text), "%s: %s", name, strchr(name, '/') ? strerror(ENOENT) : "command not found");
		fail_as(run, EXIT_NOT_FOUND, text);
	} else {
		snprintf(text, sizeof(text), "%s: %s", name, strerror(-error->code));
		fail_as(run, EXIT_NOT_EXECUTABLE, text);
	}
}

/* Changes what the command is started with. The environment is agentcg-run's own, which nothing reads any more. */
static bool set_up(struct run *run, agentcg_spawn_options *spawn)
{
	const struct run_options *options = &run->options;

	spawn->flags = AGENTCG_SPAWN_SEARCH_PATH;
	spawn->fds = (uintptr_t)run->descriptors.fds;
	spawn->fds_count = run->descriptors.count;
	spawn->ignored_signals = run->signals.inherited_ignored;
	spawn->blocked_signals = run->signals.inherited_blocked;
	if (options->contain)
		spawn->flags |= AGENTCG_SPAWN_CONTAIN;
	else if (!options->pty && run->signals.terminal < 0)
		spawn->flags |= AGENTCG_SPAWN_PGROUP;           /* a new one */
	if (options->has_nice) {
		spawn->flags |= AGENTCG_SPAWN_NICE;
		spawn->nice = options->nice;
	}
	/* A caller that has these ids already may not have the right to set them. */
	if (options->has_uid && !(options->uid == getuid() && options->uid == geteuid() && geteuid() != 0)) {
		spawn->flags |= AGENTCG_SPAWN_UID;
		spawn->uid = options->uid;
		if (options->groups) {
			spawn->flags |= AGENTCG_SPAWN_GROUPS;
			spawn->groups = (uintptr_t)options->groups;
			spawn->groups_count = options->groups_count;
		}
	}
	if (options->has_gid && !(options->gid == getgid() && options->gid == getegid() && geteuid() != 0)) {
		spawn->flags |= AGENTCG_SPAWN_GID;
		spawn->gid = options->gid;
	}
	for (char **variable = options->environment; variable && *variable; variable++)
		if (putenv(*variable) != 0) {
			fail_errno(run, "cannot set the environment");
			return false;
		}
	if (options->directory) {
		spawn->cwd_fd = open(options->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (spawn->cwd_fd < 0) {
			fail_errno(run, options->directory);
			return false;
		}
	}
	if (options->pty) {
		int slave = pty_open(&run->pty);

		if (slave < 0 || (options->has_uid && fchown(slave, options->uid, (gid_t)-1) != 0)) {
			fail_errno(run, "cannot make a pseudo-terminal");
			return false;
		}
		spawn->stdin_fd = spawn->stdout_fd = spawn->stderr_fd = spawn->terminal_fd = slave;
		spawn->flags |= AGENTCG_SPAWN_NEW_SESSION | AGENTCG_SPAWN_CONTROLLING_TERMINAL;
	}
	return true;
}

static bool start_command(struct run *run)
{
	agentcg_spawn_options spawn = AGENTCG_SPAWN_OPTIONS_INIT;
	const struct run_options *options = &run->options;
	agentcg_error error;
	int rc;

	if (!set_up(run, &spawn))
		return false;
	run->start_ns = now_ns();
	run->term_ns = options->time_limit_ns ? run->start_ns + options->time_limit_ns : NEVER;
	run->kill_ns = NEVER;
	run->next_live_ns = run->start_ns + LIVE_INTERVAL_NS;
	run->next_stats_ns = options->stats_ns ? run->start_ns : NEVER;
	run->last_shown.time_ns = run->start_ns;
	/* In a group with a CPU quota it can take seconds until the command begins. */
	if (options->limits.mask & AGENTCG_LIMIT_CPU_MAX)
		spawn.flags |= AGENTCG_SPAWN_ASYNC;
	rc = agentcg_spawn(run->cg, options->command[0], options->command, NULL, &spawn, sizeof(spawn), &run->command,
	                   &run->pidfd, &error);
	if (rc == -EOPNOTSUPP && !error.reason && spawn.flags & AGENTCG_SPAWN_ASYNC) {
		spawn.flags &= ~AGENTCG_SPAWN_ASYNC;            /* before Linux 5.4 */
		spawn.begin_timeout_ms = AGENTCG_FOREVER;
		rc = agentcg_spawn(run->cg, options->command[0], options->command, NULL, &spawn, sizeof(spawn),
		                   &run->command, &run->pidfd, &error);
	}
	run->begun = rc == 0 && !(spawn.flags & AGENTCG_SPAWN_ASYNC);
	if (options->pty)
		close(spawn.stdin_fd);
	if (spawn.cwd_fd >= 0)
		close(spawn.cwd_fd);
	if (rc < 0)
		note_failed_start(run, &error);
	else if (options->pty)
		pty_set_raw(&run->pty, true);
	return rc == 0;
}

/* ---- while it runs ------------------------------------------------------- */

static void kill_everything(struct run *run)
{
	agentcg_error error;

	run->outcome.killed = true;
	run->term_ns = run->kill_ns = NEVER;
	/* Before the kill: afterwards there is no memory and no process left to measure. */
	if (measure(run->cg, &run->measured, &error) < 0)
		fail(run, &error);
	if (agentcg_kill_all(run->cg, KILL_TIMEOUT_MS, &error) < 0)
		fail(run, &error);
	/* The command has the same uid and may have moved itself out of the group. Its pid cannot have been reused,
	 * since it has not been waited for. */
	if (!run->ended)
		kill(run->command, SIGKILL);
	run->empty = true;
}

/* The time is up: every process is asked to end. */
static void ask_to_end(struct run *run, uint64_t now)
{
	agentcg_error error;

	run->outcome.time_is_up = true;
	run->term_ns = NEVER;
	if (run->options.grace_ns == 0) {
		kill_everything(run);
		return;
	}
	run->kill_ns = run->options.grace_ns < NEVER - now ? now + run->options.grace_ns : NEVER;
	if (measure(run->cg, &run->measured, &error) < 0)
		fail(run, &error);
	run->events_fd = agentcg_event_fd(run->cg, AGENTCG_EVENT_EMPTY, &error);
	if (run->events_fd < 0) {
		fail(run, &error);
		kill_everything(run);
		return;
	}
	run->empty = agentcg_wait_empty(run->cg, 0, &error) == 0;
	/* A process that cannot be signalled is killed after the grace. */
	if (agentcg_signal_all(run->cg, SIGTERM, &error) < 0 && error.code != -EACCES)
		fail(run, &error);
	if (agentcg_signal_all(run->cg, SIGCONT, &error) < 0 && error.code != -EACCES)
		fail(run, &error);
	/* The command may have moved itself out of the group. */
	if (!run->ended && agentcg_contains(run->cg, run->command, &error) == 0)
		kill(run->command, SIGTERM);
}

/* Takes note of the end of the command, if it has ended. */
static void reap_command(struct run *run)
{
	agentcg_error error;
	pid_t pid;

	if (!run->begun) {
		int rc = agentcg_spawn_result(run->cg, run->pidfd, &error);

		if (rc == -EINPROGRESS)
			return;
		if (rc < 0) {
			note_failed_start(run, &error);
			return;
		}
		run->begun = true;
	}
	pid = waitpid(run->command, &run->outcome.wait_status, WNOHANG);
	if (pid == 0)
		return;
	run->outcome.wall_ns = now_ns() - run->start_ns;
	if (pid < 0)
		fail_errno(run, "cannot wait for the command");
	/* Before what the command has left is killed. */
	else if (agentcg_explain(run->cg, run->outcome.wait_status, &run->outcome.verdict,
	                         sizeof(run->outcome.verdict), &error) < 0)
		memset(&run->outcome.verdict, 0, sizeof(run->outcome.verdict));
	run->ended = true;
}

/* Ctrl-Z. A command in a session of its own is in an orphaned process group, which the kernel does not stop by SIGTSTP. */
static void stop(struct run *run)
{
	bool freezes = run->options.contain || run->options.pty;
	agentcg_error error;

	screen_clear(&run->screen);
	pty_set_raw(&run->pty, false);
	if (freezes && agentcg_freeze(run->cg, FREEZE_TIMEOUT_MS, &error) < 0)
		say("%s", error.message);
	stop_self();
	if (freezes && agentcg_thaw(run->cg, FREEZE_TIMEOUT_MS, &error) < 0)
		fail(run, &error);
	if (run->options.pty) {
		pty_set_raw(&run->pty, true);
		pty_resize(&run->pty);
	}
}

static void answer_signal(struct run *run, const struct signalfd_siginfo *signal)
{
	uint64_t now = now_ns();

	if (signal->ssi_signo == SIGCHLD) {
		if (!run->ended)
			reap_command(run);
		return;
	}
	if (signal->ssi_signo == SIGWINCH) {
		if (run->pty.master >= 0)
			pty_resize(&run->pty);
		return;
	}
	if (run->ended || run->outcome.killed) {
		if (signal->ssi_signo == SIGINT && !run->outcome.killed)
			kill_everything(run);           /* what is left of it has been asked to end */
		return;
	}
	if (signal->ssi_signo == SIGINT) {
		if (run->interrupt_ns && now - run->interrupt_ns < INTERRUPT_WITHIN_NS) {
			run->outcome.interrupted_twice = true;
			kill_everything(run);
			return;
		}
		run->interrupt_ns = now;
	}
	if (signal->ssi_signo == SIGTSTP && (run->options.contain || run->options.pty)) {
		stop(run);
		return;
	}
	/* A command that has not begun may be without its own process group. */
	if (!forward_signal(signal, run->command) &&
	    !(errno == ESRCH && kill(run->command, (int)signal->ssi_signo) == 0)) {
		screen_clear(&run->screen);
		say("SIG%s cannot be forwarded: %s", sigabbrev_np((int)signal->ssi_signo), strerror(errno));
	}
	run->forwarded = (int)signal->ssi_signo;
	if (signal->ssi_signo == SIGTSTP)
		stop(run);
}

/* For poll(2). Rounds up: an early wakeup would make the loop spin. */
static int ms_until(uint64_t then_ns, uint64_t now)
{
	uint64_t ms = then_ns > now ? (then_ns - now) / NS_PER_MS + 1 : 0;

	return then_ns == NEVER ? -1 : ms < INT_MAX ? (int)ms : INT_MAX;
}

static uint64_t earlier(uint64_t one, uint64_t other)
{
	return one < other ? one : other;
}

static void note_events(struct run *run)
{
	agentcg_error error;
	uint64_t events;

	if (agentcg_next_events(run->cg, 0, &events, &error) < 0) {
		fail(run, &error);
		kill_everything(run);
	} else if (events & AGENTCG_EVENT_EMPTY) {
		run->empty = true;
	}
}

static bool is_over(const struct run *run)
{
	/* If the kill has failed: agentcg_destroy() tries again and reports the failure. */
	if (run->outcome.killed && run->outcome.failure_status)
		return true;
	return run->ended && (run->events_fd < 0 || run->empty);
}

static void watch_command(struct run *run)
{
	enum { SIGNALS, COMMAND, EVENTS, PTY, COUNT = PTY + PTY_POLLS };

	while (!is_over(run)) {
		/* poll(2) ignores a descriptor of -1. */
		struct pollfd polls[COUNT] = {
			[SIGNALS] = { .fd = run->signals.fd, .events = POLLIN },
			[COMMAND] = { .fd = run->ended ? -1 : run->pidfd, .events = POLLIN },
			[EVENTS] = { .fd = run->empty ? -1 : run->events_fd, .events = POLLIN },
		};
		struct signalfd_siginfo signal;
		uint64_t now = now_ns(), next_ns;

		if (now >= run->kill_ns || now >= run->term_ns) {
			if (now >= run->kill_ns)
				kill_everything(run);
			else
				ask_to_end(run, now);
			continue;
		}
		if (run->screen.usable && now >= run->next_live_ns)
			show_live_line(run, now);
		if (now >= run->next_stats_ns)
			show_stats(run, now);
		next_ns = earlier(earlier(run->term_ns, run->kill_ns), run->next_stats_ns);
		if (run->screen.usable)
			next_ns = earlier(next_ns, run->next_live_ns);
		pty_fill_polls(&run->pty, polls + PTY);
		if (poll(polls, COUNT, ms_until(next_ns, now)) < 0) {
			if (errno == EINTR)
				continue;
			fail_errno(run, "cannot wait for the command");
			kill_everything(run);
		}
		pty_relay(&run->pty, polls + PTY);
		while (read(run->signals.fd, &signal, sizeof(signal)) == sizeof(signal))
			answer_signal(run, &signal);
		if (polls[EVENTS].revents && !run->empty)
			note_events(run);
		if (polls[COMMAND].revents && !run->ended)
			reap_command(run);
	}
}

/* ---- the end ------------------------------------------------------------- */

/* Takes note of what the command is to inherit, before agentcg-run changes it. */
static bool look_around(struct run *run)
{
	if (!find_descriptors(&run->descriptors, run->options.report_fd)) {
		fail_errno(run, "cannot find the open descriptors");
		return false;
	}
	if (!watch_signals(&run->signals)) {
		fail_errno(run, "cannot watch for signals");
		return false;
	}
	save_terminal(&run->terminal, run->signals.terminal);
	return true;
}

static void run_command(struct run *run)
{
	const struct run_options *options = &run->options;
	const agentcg_new_options new = {
		.parent = options->parent,
		.limits = &options->limits,
		.limits_size = sizeof(options->limits),
		.flags = AGENTCG_NEW_GUARD,
		.tag = options->tag,
	};
	agentcg_error error;

	if (agentcg_new_with(&new, sizeof(new), &run->cg, &error) < 0) {
		fail(run, &error);
		return;
	}
	/* A text that is too long for a label of an agent, or has control characters, is for messages and reports only. */
	if (options->label) {
		int refused = agentcg_set_label(run->cg, options->label, NULL);

		(void)refused;
	}
	if (agentcg_uuid(run->cg, run->uuid, sizeof(run->uuid)) < 0)
		*run->uuid = '\0';
	if (!options->quiet && !options->pty)
		run->screen = screen_open();
	if (start_command(run))
		watch_command(run);
	screen_clear(&run->screen);
	if (!run->outcome.failure_status && !run->outcome.time_is_up && !run->outcome.killed &&
	    measure(run->cg, &run->measured, &error) < 0)
		fail(run, &error);
	if (agentcg_destroy(run->cg, 0, KILL_TIMEOUT_MS, NULL, 0, &error) < 0) {
		fail(run, &error);
		agentcg_free(run->cg);
	}
	pty_drain(&run->pty);
	pty_set_raw(&run->pty, false);
	if (run->outcome.killed || run->outcome.time_is_up || WIFSIGNALED(run->outcome.wait_status))
		restore_terminal(&run->terminal, run->signals.terminal);
}

static int finish(const struct run *run)
{
	int status = run->outcome.wait_status, signal;

	if (run->outcome.failure_status)
		return run->outcome.failure_status;
	if (run->outcome.time_is_up)
		return EXIT_TIME_IS_UP;
	if (!WIFSIGNALED(status))
		return WEXITSTATUS(status);
	/* A shell ends its loop if Ctrl-C has ended the command. */
	signal = run->outcome.interrupted_twice ? SIGINT : WTERMSIG(status);
	end_by_signal(signal);
	return 128 + signal;
}

int main(int argc, char **argv)
{
	struct run run = { .pidfd = -1, .events_fd = -1, .pty.master = -1 };

	setvbuf(stderr, NULL, _IOLBF, 0);       /* whole lines, since the command may write to it, too */
	if (!reserve_standard_descriptors()) {
		fail_errno(&run, "cannot open /");
		return EXIT_OWN_FAILURE;
	}
	parse_options(&run.options, argc, argv);
	if (look_around(&run))
		run_command(&run);
	print_outcome(&run);
	return finish(&run);
}
