// SPDX-License-Identifier: MIT OR Apache-2.0
/* The agents that agentcg-top shows: it lists them and reads their statistics at each tick, and watches their events. */
#include "top.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define MEASURED (AGENTCG_STAT_BASIC | AGENTCG_STAT_MEMORY_EVENTS | AGENTCG_STAT_PIDS | \
                  AGENTCG_STAT_MEMORY_PRESSURE | AGENTCG_STAT_STATE)
/* MEMORY_HIGH, MEMORY_MAX and PIDS_MAX can come by the thousand, and the columns show the same. */
#define STATES (AGENTCG_EVENT_POPULATED | AGENTCG_EVENT_FROZEN | AGENTCG_EVENT_THAWED | AGENTCG_EVENT_EMPTY | \
                AGENTCG_EVENT_GONE)
/* Reserved for descriptors that are open only briefly: to list, to open another agent, to read. */
#define SPARE_DESCRIPTORS 32

/* ---- one agent ------------------------------------------------------------ */

/* Reports the events in an order in which they can have happened. drop() reports GONE, once. */
static void report_events(struct agents *agents, struct agent *agent, uint64_t events)
{
	static const uint64_t in_order[] = {
		AGENTCG_EVENT_POPULATED, AGENTCG_EVENT_FROZEN, AGENTCG_EVENT_THAWED,
		AGENTCG_EVENT_OOM_KILL,  AGENTCG_EVENT_EMPTY,
	};

	if (events & AGENTCG_EVENT_OOM_KILL)
		agent->oom_ticks = 2;           /* for at least one whole interval */
	for (size_t i = 0; i < sizeof(in_order) / sizeof(in_order[0]); i++)
		if (events & in_order[i])
			agents->report(agents->context, agent, in_order[i]);
}

static void close_agent(struct agents *agents, struct agent *agent)
{
	/* The handle owns the descriptor: it must leave the epoll set before the handle ends. */
	if (agent->event_fd >= 0)
		epoll_ctl(agents->epoll, EPOLL_CTL_DEL, agent->event_fd, NULL);
	agent->event_fd = -1;
	agentcg_free(agent->cg);
	agent->cg = NULL;
}

/* The agent is gone. Reports its last events first. */
static void drop(struct agents *agents, struct agent *agent)
{
	uint64_t events = 0;

	if (agent->gone)
		return;
	/* If this fails there are no more events. */
	if (agent->event_fd >= 0 && agentcg_next_events(agent->cg, 0, &events, NULL) == 1)
		report_events(agents, agent, events);
	agent->gone = true;
	agents->report(agents->context, agent, AGENTCG_EVENT_GONE);
	close_agent(agents, agent);
}

static void watch(struct agents *agents, struct agent *agent)
{
	struct epoll_event ready = { .events = EPOLLIN };
	agentcg_info info = { 0 };
	uint64_t wanted = STATES;
	int fd;

	if (agentcg_get_info(agent->cg, &info, sizeof(info), NULL) == 0 && info.controllers & AGENTCG_CONTROLLER_MEMORY)
		wanted |= AGENTCG_EVENT_OOM_KILL;
	fd = agentcg_event_fd(agent->cg, wanted, NULL);
	ready.data.fd = fd;
	/* An agent without events is still read at each tick. keep_or_close() handles a lack of descriptors. */
	if (fd >= 0 && epoll_ctl(agents->epoll, EPOLL_CTL_ADD, fd, &ready) == 0)
		agent->event_fd = fd;
}

/*
 * The kernel returns the lowest free descriptor: a high one means that few are left. An agent with a high descriptor,
 * or without events, is closed and opened again at each tick. Therefore any number of agents can be shown.
 */
static void keep_or_close(struct agents *agents, struct agent *agent)
{
	int most = agents->descriptors - SPARE_DESCRIPTORS;

	if (agent->event_fd < 0 || agent->event_fd >= most || agentcg_fd(agent->cg) >= most)
		close_agent(agents, agent);
}

static void measure(struct agents *agents, struct agent *agent)
{
	int opened = 0, read, limits;

	agent->before = agent->now;
	agent->now.mask = agent->limits.mask = 0;
	if (agent->oom_ticks > 0)
		agent->oom_ticks--;
	if (!agent->cg) {
		opened = agentcg_open(agents->parent, agent->entry.uuid, 0, &agent->cg, NULL);
		if (opened == -ENOENT)
			drop(agents, agent);
		if (opened < 0)         /* for example an agent of another user */
			return;
		/* Before the statistics are read: no event may be missed between the two. */
		watch(agents, agent);
	}
	/* Other failures are a lack of descriptors or memory: the row has no values until the next tick. */
	read = agentcg_read_stats(agent->cg, MEASURED, &agent->now, sizeof(agent->now), NULL);
	limits = agentcg_get_limits(agent->cg, &agent->limits, sizeof(agent->limits), NULL);
	if (read == -ENODEV || limits == -ENODEV)
		drop(agents, agent);
	else
		keep_or_close(agents, agent);
}

/* ---- all of them ----------------------------------------------------------- */

static int oldest_first(const void *a, const void *b)
{
	const agentcg_entry *x = &(*(struct agent *const *)a)->entry, *y = &(*(struct agent *const *)b)->entry;

	if (x->created_unix_ns != y->created_unix_ns)
		return x->created_unix_ns < y->created_unix_ns ? -1 : 1;
	return strcmp(x->uuid, y->uuid);
}

static int no_memory(agentcg_error *reterr)
{
	reterr->code = -ENOMEM;
	snprintf(reterr->message, sizeof(reterr->message), "no memory for a list of the agents");
	return -ENOMEM;
}

static int list_into(const struct agents *agents, agentcg_entry *entries, size_t room, agentcg_error *reterr)
{
	if (agents->tag)
		return agentcg_list_tagged(agents->parent, agents->tag, entries, sizeof(*entries), room, reterr);
	return agentcg_list(agents->parent, entries, sizeof(*entries), room, reterr);
}

/* Returns the entries in memory that the caller frees. The number of agents may grow between two calls. */
static int list_entries(const struct agents *agents, agentcg_entry **ret_entries, agentcg_error *reterr)
{
	size_t room = 0;
	int count;

	*ret_entries = NULL;
	while ((count = list_into(agents, *ret_entries, room, reterr)) > (int)room) {
		free(*ret_entries);
		room = (size_t)count + 16;
		*ret_entries = calloc(room, sizeof(agentcg_entry));
		if (!*ret_entries)
			return no_memory(reterr);
	}
	return count;
}

/* Returns the agent with that uuid, or a new one; NULL if there is no memory. */
static struct agent *find_or_add(struct agents *agents, const agentcg_entry *entry)
{
	for (size_t i = 0; i < agents->count; i++)
		if (strcmp(agents->list[i]->entry.uuid, entry->uuid) == 0)
			return agents->list[i];
	if (agents->count == agents->room) {
		size_t room = agents->room * 2 + 16;
		struct agent **list = realloc(agents->list, room * sizeof(*list));

		if (!list)
			return NULL;
		agents->list = list;
		agents->room = room;
	}
	struct agent *agent = calloc(1, sizeof(*agent));

	if (agent) {
		agent->event_fd = -1;
		agents->list[agents->count++] = agent;
	}
	return agent;
}

static void remove_gone(struct agents *agents)
{
	size_t left = 0;

	for (size_t i = 0; i < agents->count; i++) {
		if (agents->list[i]->gone)
			free(agents->list[i]);
		else
			agents->list[left++] = agents->list[i];
	}
	agents->count = left;
}

/* Appends the agent to the new order, then its children. Nobody can hide an agent by the name of a cgroup: each is placed once. */
static void place(struct agents *agents, struct agent **order, size_t *count, struct agent *agent, unsigned int depth)
{
	agent->placed = true;
	agent->depth = depth < MOST_DEPTH ? depth : MOST_DEPTH;
	if (agent->depth > agents->depth)
		agents->depth = agent->depth;
	order[(*count)++] = agent;
	for (size_t i = 0; i < agents->count; i++)
		if (!agents->list[i]->placed && strcmp(agents->list[i]->entry.session, agent->entry.uuid) == 0)
			place(agents, order, count, agents->list[i], depth + 1);
}

static bool session_is_listed(const struct agents *agents, const struct agent *agent)
{
	for (size_t i = 0; i < agents->count; i++)
		if (strcmp(agents->list[i]->entry.uuid, agent->entry.session) == 0)
			return agents->list[i] != agent;
	return false;
}

/* Puts the oldest first, and children below their session. Without memory for that the children stay where they are. */
static void put_in_order(struct agents *agents)
{
	struct agent **order = calloc(agents->room, sizeof(*order));
	size_t count = 0;

	qsort(agents->list, agents->count, sizeof(*agents->list), oldest_first);
	agents->depth = 0;
	for (size_t i = 0; i < agents->count; i++) {
		agents->list[i]->depth = 0;
		agents->list[i]->placed = !order;
	}
	for (size_t i = 0; i < agents->count; i++)
		if (!agents->list[i]->placed && !session_is_listed(agents, agents->list[i]))
			place(agents, order, &count, agents->list[i], 0);
	/* Sessions of each other, by forged names. */
	for (size_t i = 0; i < agents->count; i++)
		if (!agents->list[i]->placed)
			place(agents, order, &count, agents->list[i], 0);
	if (order)
		memcpy(agents->list, order, agents->count * sizeof(*order));
	free(order);
}

bool update_agents(struct agents *agents, agentcg_error *reterr)
{
	agentcg_entry *entries;
	int count = list_entries(agents, &entries, reterr), failure = count < 0 ? count : 0;

	for (size_t i = 0; i < agents->count; i++)
		agents->list[i]->listed = failure != 0;         /* without a list, measure() finds the removed agents */
	for (int i = 0; i < count; i++) {
		struct agent *agent = find_or_add(agents, &entries[i]);

		if (!agent) {
			failure = no_memory(reterr);
			continue;
		}
		agent->entry = entries[i];
		agent->listed = true;
	}
	free(entries);
	for (size_t i = 0; i < agents->count; i++) {
		if (agents->list[i]->listed)
			measure(agents, agents->list[i]);
		else
			drop(agents, agents->list[i]);
	}
	remove_gone(agents);
	if (agents->count > 0)
		put_in_order(agents);
	return failure == 0;
}

void take_events(struct agents *agents, int fd)
{
	struct agent *agent = NULL;
	agentcg_stats stats;
	uint64_t events = 0;

	for (size_t i = 0; i < agents->count; i++)
		if (agents->list[i]->event_fd == fd)
			agent = agents->list[i];
	if (!agent)
		return;
	if (agentcg_next_events(agent->cg, 0, &events, NULL) < 0) {
		close_agent(agents, agent);     /* otherwise it would stay readable; the next tick opens it again */
		return;
	}
	/* The row shows the state of the event at once. The rates change at the next tick. */
	if (events && agentcg_read_stats(agent->cg, AGENTCG_STAT_STATE | AGENTCG_STAT_MEMORY_EVENTS, &stats,
	                                 sizeof(stats), NULL) == 0) {
		agent->now.mask |= stats.mask;
		agent->now.populated = stats.populated;
		agent->now.frozen = stats.frozen;
		agent->now.memory_events_oom_kill = stats.memory_events_oom_kill;
	}
	report_events(agents, agent, events);
	if (events & AGENTCG_EVENT_GONE) {
		drop(agents, agent);
		remove_gone(agents);
	}
}

size_t count_unwatched(const struct agents *agents)
{
	size_t count = 0;

	for (size_t i = 0; i < agents->count; i++)
		count += agents->list[i]->event_fd < 0;
	return count;
}

void free_agents(struct agents *agents)
{
	for (size_t i = 0; i < agents->count; i++) {
		close_agent(agents, agents->list[i]);
		free(agents->list[i]);
	}
	free(agents->list);
}
