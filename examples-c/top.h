/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The parts of agentcg-top: what was asked, the agents there are, how a row reads, the terminal. */
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
	const char *parent;          /* NULL: wherever this user's programs put agents */
	uint64_t interval_ns;
	uint64_t ticks;              /* 0: until somebody ends it */
};

/* Does not return from --help and --version (exit 0) and from what makes no sense (exit 2). */
void parse_top_options(struct top_options *options, int argc, char **argv);

/* top-agents.c */

struct agent {
	agentcg_entry entry;         /* as last listed */
	agentcg *cg;                 /* NULL: it cannot be opened, or is for each measurement anew, see keep_or_close() */
	int event_fd;                /* -1: none to be had */
	bool listed;                 /* by the last agentcg_list() */
	bool gone;
	unsigned int oom_ticks;      /* for so many ticks more the row shows that there was an OOM kill */
	agentcg_stats before, now;   /* of the last two ticks; mask 0: not measured */
	agentcg_limits limits;
};

struct agents {
	const char *parent;
	int epoll;
	int descriptors;             /* the limit on them */
	struct agent **list;         /* the oldest first, so that rows stay where they are */
	size_t count, room;
	/* Is told of each event of each agent, AGENTCG_EVENT_GONE as the last. */
	void (*tell)(void *context, const struct agent *agent, uint64_t event);
	void *context;
};

/* How many have no events: of another user, or for want of descriptors. */
size_t count_unwatched(const struct agents *agents);

/* Takes in new agents, drops those that are no more, measures all. false, reterr filled in: they cannot be listed. */
bool update_agents(struct agents *agents, agentcg_error *reterr);

/* The event descriptor fd was readable. */
void take_events(struct agents *agents, int fd);

void free_agents(struct agents *agents);

/* top-table.c */

#define LINE_SIZE        512
#define SHORT_UUID_WIDTH 8

const char *event_name(uint64_t event);

/* The heading, and an agent's row under it, without a newline. */
void format_heading(char line[LINE_SIZE], int uuid_width);
void format_row(char line[LINE_SIZE], const struct agent *agent, int uuid_width);

/* top-screen.c */

/* Takes the terminal, if stdout is one that can do this: keys come singly, the cursor is gone. */
bool take_terminal(void);
void give_terminal_back(void);       /* as it was; fine without one */

/* The whole table, cut to what the window has room for. problem may be "". */
bool draw_table(const struct agents *agents, const char *problem);

#endif /* AGENTCG_TOP_H */
