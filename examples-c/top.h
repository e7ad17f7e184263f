/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The parts of agentcg-top: options, agents, table, terminal. */
#ifndef AGENTCG_TOP_H
#define AGENTCG_TOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <agentcg.h>

#include "shared.h"

/* top-options.c */

#define EXIT_USAGE    2
#define EXIT_NO_PLACE 3

struct top_options {
	const char *parent;          /* NULL: every place in which this user's programs make agents */
	const char *tag;             /* NULL: all agents */
	uint64_t interval_ns;
	uint64_t ticks;              /* 0: no limit */
};

/* Exits with 0 for --help and --version, and with 2 for an invalid command line. */
void parse_top_options(struct top_options *options, int argc, char **argv);

/* top-agents.c */

struct agent {
	agentcg_entry entry;         /* as last listed */
	agentcg *cg;                 /* NULL: it cannot be opened, or is opened for each tick, see keep_or_close() */
	int event_fd;                /* -1: not available */
	bool listed;                 /* by the last agentcg_list() */
	bool placed;                 /* in the new order of the list */
	unsigned int depth;          /* 1 for a child of a session in the list */
	bool gone;
	unsigned int oom_ticks;      /* the number of further ticks for which the row shows an OOM kill */
	agentcg_stats before, now;   /* of the last two ticks; mask 0: not read */
	agentcg_limits limits;
};

struct agents {
	const char *parent, *tag;
	int epoll;
	int descriptors;             /* the limit on descriptors */
	struct agent **list;         /* the oldest first, children below their session: rows keep their order */
	size_t count, room;
	unsigned int depth;          /* the greatest of an agent */
	/* Called for each event of each agent. AGENTCG_EVENT_GONE is the last. */
	void (*report)(void *context, const struct agent *agent, uint64_t event);
	void *context;
};

/* A deeper agent is indented as one of this depth. */
#define MOST_DEPTH 4

/* Returns the number of agents without events: of another user, or for lack of descriptors. */
size_t count_unwatched(const struct agents *agents);

/* Adds new agents, removes agents that are gone, reads the statistics of all. Returns false, with reterr filled in, if
 * the agents cannot be listed. */
bool update_agents(struct agents *agents, agentcg_error *reterr);

/* Handles a readable event descriptor. */
void take_events(struct agents *agents, int fd);

void free_agents(struct agents *agents);

/* top-table.c */

#define LINE_SIZE        512
#define SHORT_UUID_WIDTH 8

const char *event_name(uint64_t event);

/* Write the heading, or the row of an agent, to line, without a newline. uuid_width characters of the uuid are shown; a child
 * is indented. */
void format_heading(char line[LINE_SIZE], const struct agents *agents, int uuid_width);
void format_row(char line[LINE_SIZE], const struct agents *agents, const struct agent *agent, int uuid_width);

/* top-screen.c */

/* Sets up the terminal, if stdout is one that understands escape sequences: single keys, no cursor. */
bool take_terminal(void);
/* Restores the terminal. Has no effect if it was not set up. */
void give_terminal_back(void);

/* Draws the table, cut to the size of the window. problem may be "". */
bool draw_table(const struct agents *agents, const char *problem);

#endif /* AGENTCG_TOP_H */
