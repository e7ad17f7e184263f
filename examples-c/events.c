// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * events - run a command in its own agent and print the agent's events: an example of an epoll loop.
 *
 *	$ ./events sh -c 'sleep 1'
 *	POPULATED
 *	EMPTY
 *	$ ./events --open 5b0f7e0e-6a3c-4d5e-9f57-0d2f5c3b8a11
 *	OOM_KILL
 *	...
 *
 * It removes its own agent when the last process is gone. An agent that it opens belongs to another program: it is
 * watched until it is removed, and the command, if one is given, runs in it beside the other processes.
 *
 * By hand: cc events.c -o events $(pkg-config --cflags --libs agentcg)
 */
#define _DEFAULT_SOURCE
#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include <agentcg.h>

#define KILL_TIMEOUT_MS 10000
#define STATES (AGENTCG_EVENT_POPULATED | AGENTCG_EVENT_FROZEN | AGENTCG_EVENT_THAWED | AGENTCG_EVENT_EMPTY | \
                AGENTCG_EVENT_STALLED | AGENTCG_EVENT_GONE)
/* All busy processes wait for memory for a tenth of a second within a second. */
#define STALL_US 100000
#define WINDOW_US 1000000
#define NEED_CONTROLLERS (AGENTCG_EVENT_OOM_KILL | AGENTCG_EVENT_MEMORY_HIGH | AGENTCG_EVENT_MEMORY_MAX | \
                          AGENTCG_EVENT_PIDS_MAX)

/* In the order in which they usually come. */
static const struct {
	uint64_t event;
	const char *name;
} names[] = {
	{ AGENTCG_EVENT_POPULATED, "POPULATED" },     { AGENTCG_EVENT_FROZEN, "FROZEN" },
	{ AGENTCG_EVENT_THAWED, "THAWED" },           { AGENTCG_EVENT_PIDS_MAX, "PIDS_MAX" },
	{ AGENTCG_EVENT_MEMORY_HIGH, "MEMORY_HIGH" }, { AGENTCG_EVENT_MEMORY_MAX, "MEMORY_MAX" },
	{ AGENTCG_EVENT_STALLED, "STALLED" },         { AGENTCG_EVENT_OOM_KILL, "OOM_KILL" },
	{ AGENTCG_EVENT_EMPTY, "EMPTY" },             { AGENTCG_EVENT_GONE, "GONE" },
};

static agentcg_error error;

/* Returns false if the command does not run. The reason has been printed. */
static bool start(agentcg *cg, char **argv)
{
	agentcg_spawn_options options = AGENTCG_SPAWN_OPTIONS_INIT;

	/* The command is in the group before it runs. Therefore all of its descendants are, too. */
	options.flags = AGENTCG_SPAWN_SEARCH_PATH;
	if (agentcg_spawn(cg, argv[0], argv, NULL, &options, sizeof(options), NULL, NULL, &error) < 0) {
		warnx("cannot run %s in the agent: %s", argv[0], error.message);
		return false;
	}
	return true;
}

/* Prints the events after the descriptor was readable. Returns them; there may be none. */
static uint64_t print_events(agentcg *cg)
{
	uint64_t events = 0;

	if (agentcg_next_events(cg, 0, &events, &error) < 0)
		errx(1, "%s", error.message);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (events & names[i].event)
			puts(names[i].name);
	return events;
}

int main(int argc, char **argv)
{
	bool is_own = argc < 2 || strcmp(argv[1], "--open") != 0;
	char **command = argv + (is_own ? 1 : 3);
	uint64_t last = is_own ? AGENTCG_EVENT_EMPTY | AGENTCG_EVENT_GONE : AGENTCG_EVENT_GONE, events = 0;
	struct epoll_event ready = { .events = EPOLLIN };
	int epoll = epoll_create1(EPOLL_CLOEXEC), fd;
	agentcg *cg;

	if (argc < (is_own ? 2 : 3) || (is_own && argv[1][0] == '-')) {
		fputs("usage: events COMMAND [ARG...]\n       events --open UUID [COMMAND [ARG...]]\n", stderr);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);       /* each event is written at once, also to a pipe */
	if ((is_own ? agentcg_new(NULL, NULL, NULL, 0, AGENTCG_NEW_GUARD, &cg, &error) :
	               agentcg_open(NULL, argv[2], 0, &cg, &error)) < 0)
		errx(1, "%s", error.message);
	fd = agentcg_event_fd(cg, STATES | NEED_CONTROLLERS, &error);
	if (fd == -EOPNOTSUPP) {
		warnx("%s", error.message);
		fd = agentcg_event_fd(cg, STATES, &error);
	}
	if (fd < 0)
		errx(1, "%s", error.message);
	/* -EOPNOTSUPP: this kernel does not measure it, and STALLED is never reported. */
	if (agentcg_watch_stall(cg, AGENTCG_STALL_MEMORY, AGENTCG_STALL_FULL, STALL_US, WINDOW_US, &error) < 0 &&
	    error.code != -EOPNOTSUPP)
		errx(1, "%s", error.message);
	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ready) != 0)
		err(1, "epoll");
	/* After agentcg_event_fd(): the first events would be missed otherwise. */
	bool runs = !*command || start(cg, command);

	/* Your program's other descriptors would be in the set, too. */
	while (runs && !(events & last)) {
		if (epoll_wait(epoll, &ready, 1, -1) < 0 && errno != EINTR)
			err(1, "epoll");
		events = print_events(cg);
	}
	epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);      /* before the end of the handle, which owns the descriptor */
	if (!is_own)
		agentcg_free(cg);
	else if (agentcg_destroy(cg, 0, KILL_TIMEOUT_MS, NULL, 0, &error) < 0)
		errx(1, "%s", error.message);
	return runs ? 0 : 1;
}
