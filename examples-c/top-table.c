// SPDX-License-Identifier: MIT OR Apache-2.0
/* The columns of agentcg-top. A value that was not measured is "-", never 0. */
#include "top.h"

#include <inttypes.h>
#include <string.h>

#define CELL_SIZE 48
#define INDENT    2

static const char row_format[] = "%-*s %6s %15s %11s %9s %4s %9s  %s";

const char *event_name(uint64_t event)
{
	switch (event) {
	case AGENTCG_EVENT_POPULATED:
		return "POPULATED";
	case AGENTCG_EVENT_FROZEN:
		return "FROZEN";
	case AGENTCG_EVENT_THAWED:
		return "THAWED";
	case AGENTCG_EVENT_OOM_KILL:
		return "OOM_KILL";
	case AGENTCG_EVENT_EMPTY:
		return "EMPTY";
	case AGENTCG_EVENT_GONE:
		return "GONE";
	default:
		return "?";
	}
}

/* Returns true if the value was measured at both ticks, which a rate needs. */
static bool has_rate(const struct agent *agent, uint64_t bit)
{
	return agent->before.mask & agent->now.mask & bit && agent->now.time_ns > agent->before.time_ns;
}

/* Returns the growth from then to now in percent of whole. The counters of a group only grow. */
static double percent(uint64_t then, uint64_t now, uint64_t whole)
{
	return whole > 0 && now > then ? 100.0 * (double)(now - then) / (double)whole : 0;
}

static void format_cpu(char cell[CELL_SIZE], const struct agent *agent)
{
	const agentcg_stats *before = &agent->before, *now = &agent->now;

	if (has_rate(agent, AGENTCG_STAT_CPU))
		snprintf(cell, CELL_SIZE, "%.1f",
		         percent(before->cpu_usage_ns, now->cpu_usage_ns, now->time_ns - before->time_ns));
}

static void format_limit(char *cell, size_t size, const agentcg_limits *limits, uint64_t bit, uint64_t value)
{
	char text[BYTES_TEXT_SIZE];

	if (!(limits->mask & bit))
		snprintf(cell, size, "/-");
	else if (value == AGENTCG_UNLIMITED)
		snprintf(cell, size, "/max");
	else if (bit == AGENTCG_LIMIT_MEMORY_MAX)
		snprintf(cell, size, "/%s", format_bytes(text, value));
	else
		snprintf(cell, size, "/%" PRIu64, value);
}

static void format_memory(char cell[CELL_SIZE], const struct agent *agent)
{
	if (!(agent->now.mask & AGENTCG_STAT_MEMORY))
		return;
	format_bytes(cell, agent->now.memory_current_bytes);
	format_limit(cell + strlen(cell), CELL_SIZE - strlen(cell), &agent->limits, AGENTCG_LIMIT_MEMORY_MAX,
	             agent->limits.memory_max_bytes);
}

static void format_tasks(char cell[CELL_SIZE], const struct agent *agent)
{
	if (!(agent->now.mask & AGENTCG_STAT_PIDS))
		return;
	snprintf(cell, CELL_SIZE, "%" PRIu64, agent->now.pids_current);
	format_limit(cell + strlen(cell), CELL_SIZE - strlen(cell), &agent->limits, AGENTCG_LIMIT_PIDS_MAX,
	             agent->limits.pids_max);
}

static void format_throttled(char cell[CELL_SIZE], const struct agent *agent)
{
	const agentcg_stats *before = &agent->before, *now = &agent->now;

	if (has_rate(agent, AGENTCG_STAT_CPU_THROTTLE))
		snprintf(cell, CELL_SIZE, "%.0f%%",
		         percent(before->cpu_nr_throttled, now->cpu_nr_throttled,
		                 now->cpu_nr_periods - before->cpu_nr_periods));
}

static void format_stalled(char cell[CELL_SIZE], const struct agent *agent)
{
	const agentcg_stats *before = &agent->before, *now = &agent->now;
	uint64_t elapsed_us = (now->time_ns - before->time_ns) / 1000;

	if (has_rate(agent, AGENTCG_STAT_MEMORY_PRESSURE))
		snprintf(cell, CELL_SIZE, "%.0f/%.0f%%",
		         percent(before->memory_pressure_some_us, now->memory_pressure_some_us, elapsed_us),
		         percent(before->memory_pressure_full_us, now->memory_pressure_full_us, elapsed_us));
}

/* Lists all states of the agent, or "runs" if there are none. */
static void format_state(char cell[CELL_SIZE], const struct agent *agent)
{
	bool measured = agent->now.mask & AGENTCG_STAT_STATE;
	const struct {
		bool holds;
		const char *word;
	} states[] = {
		{ agent->oom_ticks > 0, "OOM" },
		{ measured && agent->now.frozen, "frozen" },
		{ measured && !agent->now.populated, "empty" },
		{ agent->entry.orphan, "orphan" },
	};

	if (!measured && !agent->entry.orphan && agent->oom_ticks == 0)
		return;
	cell[0] = '\0';
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		if (states[i].holds && cell[0])
			strcat(cell, ",");
		if (states[i].holds)
			strcat(cell, states[i].word);
	}
	if (!cell[0])
		strcpy(cell, "runs");
}

static int first_column(const struct agents *agents, int uuid_width)
{
	return uuid_width + INDENT * (int)agents->depth;
}

void format_heading(char line[LINE_SIZE], const struct agents *agents, int uuid_width)
{
	snprintf(line, LINE_SIZE, row_format, first_column(agents, uuid_width), "AGENT", "%CPU", "MEMORY", "TASKS", "THROTTLED",
	         "OOM", "STALLED", "STATE          LABEL");
}

void format_row(char line[LINE_SIZE], const struct agents *agents, const struct agent *agent, int uuid_width)
{
	char uuid[INDENT * MOST_DEPTH + AGENTCG_UUID_SIZE];
	char cpu[CELL_SIZE] = "-", memory[CELL_SIZE] = "-", tasks[CELL_SIZE] = "-", throttled[CELL_SIZE] = "-";
	char oom[CELL_SIZE] = "-", stalled[CELL_SIZE] = "-", state[CELL_SIZE] = "-";
	char named[CELL_SIZE + 2 + AGENTCG_LABEL_SIZE];   /* with two spaces between state and label */

	format_cpu(cpu, agent);
	format_memory(memory, agent);
	format_tasks(tasks, agent);
	format_throttled(throttled, agent);
	format_stalled(stalled, agent);
	format_state(state, agent);
	if (agent->now.mask & AGENTCG_STAT_MEMORY_EVENTS)
		snprintf(oom, sizeof(oom), "%" PRIu64, agent->now.memory_events_oom_kill);
	/* The label is last: a terminal shows some characters two columns wide. */
	if (*agent->entry.label)
		snprintf(named, sizeof(named), "%-13s  %s", state, agent->entry.label);
	else
		snprintf(named, sizeof(named), "%s", state);
	snprintf(uuid, sizeof(uuid), "%*s%.*s", INDENT * (int)agent->depth, "", uuid_width, agent->entry.uuid);
	snprintf(line, LINE_SIZE, row_format, first_column(agents, uuid_width), uuid, cpu, memory, tasks, throttled,
	         oom, stalled, named);
}
