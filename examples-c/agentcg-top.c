// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * agentcg-top - show all agents of this user, what they use, and their events as they happen.
 *
 * It is one epoll loop. At each tick of a timer agentcg_list() finds new agents and agentcg_read_stats() reads the
 * statistics. The loop also contains the descriptor of agentcg_event_fd() of each agent: an OOM kill or an end is shown
 * at once.
 *
 * By hand: cc -D_GNU_SOURCE agentcg-top.c top-*.c shared.c -o agentcg-top $(pkg-config --cflags --libs agentcg)
 */
#include "top.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define UUID_WIDTH (AGENTCG_UUID_SIZE - 1)

struct top {
	struct top_options options;
	struct agents agents;
	bool on_terminal;
	int timer, signals;
	uint64_t ticks;
	char problem[sizeof(((agentcg_error *)0)->message)];    /* of the last tick, or "" */
	bool ended;
	int signal;                  /* the signal that ended the program, or 0 */
	int status;
};

static void end_with(struct top *top, int status, const char *why)
{
	give_terminal_back();
	fprintf(stderr, "agentcg-top: %s\n", why);
	top->status = status;
	top->ended = true;
}

static void end_with_errno(struct top *top, const char *what)
{
	char why[256];

	snprintf(why, sizeof(why), "%s: %s", what, strerror(errno));
	end_with(top, EXIT_FAILURE, why);
}

/* ---- what is shown --------------------------------------------------------- */

static void print_heading(const struct top *top)
{
	char line[LINE_SIZE];

	format_heading(line, &top->agents, UUID_WIDTH);
	puts(line);
}

static void print_rows(const struct top *top)
{
	char line[LINE_SIZE];

	for (size_t i = 0; i < top->agents.count; i++) {
		format_row(line, &top->agents, top->agents.list[i], UUID_WIDTH);
		puts(line);
	}
	if (top->agents.count == 0 && !*top->problem)
		puts("no agents");
	if (*top->problem)
		fprintf(stderr, "agentcg-top: %s\n", top->problem);
}

static void report_event(void *context, const struct agent *agent, uint64_t event)
{
	const struct top *top = context;

	/* On a terminal the row shows the event, once all readable descriptors have been handled. */
	if (!top->on_terminal)
		printf("%s %s\n", agent->entry.uuid, event_name(event));
}

static void show(struct top *top)
{
	if (top->on_terminal ? !draw_table(&top->agents, top->problem) : fflush(stdout) != 0)
		end_with_errno(top, "the table cannot be written");
}

/* ---- what happens ---------------------------------------------------------- */

static void tick(struct top *top)
{
	agentcg_error error;
	uint64_t expirations;

	/* Several expirations lead to one measurement. The descriptor does not block. */
	if (read(top->timer, &expirations, sizeof(expirations)) < 0 && errno != EAGAIN)
		end_with_errno(top, "the timer");
	*top->problem = '\0';
	if (!update_agents(&top->agents, &error)) {
		/* After a first success the failure may be temporary, for example a lack of descriptors. */
		if (top->ticks == 0) {
			end_with(top, error.code == -EINVAL && top->options.tag ? EXIT_USAGE : EXIT_NO_PLACE, error.message);
			return;
		}
		memcpy(top->problem, error.message, sizeof(top->problem));
	}
	if (!top->on_terminal && top->ticks == 0)
		print_heading(top);
	if (!top->on_terminal)
		print_rows(top);
	if (++top->ticks == top->options.ticks)
		top->ended = true;
}

static void take_signals(struct top *top)
{
	struct signalfd_siginfo signal;

	while (read(top->signals, &signal, sizeof(signal)) == sizeof(signal)) {
		switch (signal.ssi_signo) {
		case SIGWINCH:          /* the table is redrawn after every wakeup */
			break;
		case SIGTSTP:
			give_terminal_back();
			raise(SIGSTOP);
			break;
		case SIGCONT:
			take_terminal();
			break;
		default:
			top->signal = (int)signal.ssi_signo;
			top->ended = true;
		}
	}
}

static void take_keys(struct top *top)
{
	char keys[64];
	ssize_t length = read(STDIN_FILENO, keys, sizeof(keys));

	if (length == 0 || (length > 0 && memchr(keys, 'q', (size_t)length)))
		top->ended = true;
	else if (length < 0 && errno != EINTR && errno != EAGAIN)
		end_with_errno(top, "the keyboard");
}

static void watch(struct top *top)
{
	struct epoll_event ready[64];

	while (!top->ended) {
		int count = epoll_wait(top->agents.epoll, ready, 64, -1);
		bool timer_expired = false;

		if (count < 0 && errno != EINTR)
			end_with_errno(top, "waiting for events");
		for (int i = 0; i < count; i++) {
			if (ready[i].data.fd == top->timer)
				timer_expired = true;
			else if (ready[i].data.fd == top->signals)
				take_signals(top);
			else if (ready[i].data.fd == STDIN_FILENO)
				take_keys(top);
			else
				take_events(&top->agents, ready[i].data.fd);
		}
		/* Last, since it can close one of these descriptors and open another with the same number. */
		if (timer_expired && !top->ended)
			tick(top);
		if (!top->signal && !top->status)
			show(top);
	}
}

/* ---- start and end --------------------------------------------------------- */

/* Each watched agent needs up to six descriptors. Returns the new limit. */
static int raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 1024;
	limit.rlim_cur = limit.rlim_max;
	/* If this fails, the old limit stays: agents beyond it are shown without events. */
	setrlimit(RLIMIT_NOFILE, &limit);
	getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur < INT_MAX ? (int)limit.rlim_cur : INT_MAX;
}

static bool add_to_loop(const struct top *top, int fd)
{
	struct epoll_event ready = { .events = EPOLLIN, .data.fd = fd };

	return fd >= 0 && epoll_ctl(top->agents.epoll, EPOLL_CTL_ADD, fd, &ready) == 0;
}

static bool make_loop(struct top *top)
{
	time_t seconds = (time_t)(top->options.interval_ns / NS_PER_S);
	struct timespec interval = { .tv_sec = seconds, .tv_nsec = (long)(top->options.interval_ns % NS_PER_S) };
	struct itimerspec schedule = { .it_interval = interval, .it_value = { .tv_nsec = 1 } };
	const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT }, screen[] = { SIGWINCH, SIGTSTP, SIGCONT };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		sigaddset(&set, ends[i]);
	for (size_t i = 0; top->on_terminal && i < sizeof(screen) / sizeof(screen[0]); i++)
		sigaddset(&set, screen[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	top->agents.epoll = epoll_create1(EPOLL_CLOEXEC);
	top->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	top->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	return add_to_loop(top, top->signals) && add_to_loop(top, top->timer) &&
	       timerfd_settime(top->timer, 0, &schedule, NULL) == 0 &&
	       (!top->on_terminal || !isatty(STDIN_FILENO) || add_to_loop(top, STDIN_FILENO));
}

/* The parent must see that the signal ended the program: a shell, for example, then ends a loop after Ctrl-C. */
static void die_of(int signal_number)
{
	sigset_t set;

	signal(signal_number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, signal_number);
	raise(signal_number);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int main(int argc, char **argv)
{
	struct top top = { .agents.report = report_event };

	parse_top_options(&top.options, argc, argv);
	top.agents.context = &top;
	top.agents.parent = top.options.parent;
	top.agents.tag = top.options.tag;
	top.agents.descriptors = raise_descriptor_limit();
	top.on_terminal = is_able_terminal(STDOUT_FILENO);
	if (!make_loop(&top))
		end_with_errno(&top, "cannot make an event loop");
	else if (top.on_terminal && !take_terminal())
		end_with_errno(&top, "the terminal");
	watch(&top);
	give_terminal_back();
	if (top.on_terminal && top.options.ticks > 0 && top.ticks == top.options.ticks) {
		print_heading(&top);    /* the table has disappeared with the alternate screen */
		print_rows(&top);
	}
	free_agents(&top.agents);
	if (top.signal)
		die_of(top.signal);
	return top.status;
}
