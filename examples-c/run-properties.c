// SPDX-License-Identifier: MIT OR Apache-2.0
/* The properties of `agentcg-run -p NAME=VALUE`: those of systemd.resource-control(5) that a group can have. */
#include "run.h"

#include <string.h>
#include <strings.h>

enum property {
	MEMORY_MAX, MEMORY_HIGH, MEMORY_LOW, MEMORY_MIN, MEMORY_SWAP_MAX, CPU_QUOTA, CPU_WEIGHT, IO_WEIGHT, TASKS_MAX,
	OOM_POLICY, RUNTIME_MAX, TIMEOUT_STOP,
};

static const struct {
	const char *name;
	enum property property;
	uint64_t bits;                  /* AGENTCG_LIMIT_..., which an empty value clears */
} properties[] = {
	{ "MemoryMax", MEMORY_MAX, AGENTCG_LIMIT_MEMORY_MAX },
	{ "MemoryHigh", MEMORY_HIGH, AGENTCG_LIMIT_MEMORY_HIGH },
	{ "MemoryLow", MEMORY_LOW, AGENTCG_LIMIT_MEMORY_LOW },
	{ "MemoryMin", MEMORY_MIN, AGENTCG_LIMIT_MEMORY_MIN },
	{ "MemorySwapMax", MEMORY_SWAP_MAX, AGENTCG_LIMIT_SWAP_MAX },
	{ "CPUQuota", CPU_QUOTA, AGENTCG_LIMIT_CPU_MAX },
	{ "CPUWeight", CPU_WEIGHT, AGENTCG_LIMIT_CPU_WEIGHT | AGENTCG_LIMIT_CPU_IDLE },
	{ "IOWeight", IO_WEIGHT, AGENTCG_LIMIT_IO_WEIGHT },
	{ "TasksMax", TASKS_MAX, AGENTCG_LIMIT_PIDS_MAX },
	{ "OOMPolicy", OOM_POLICY, AGENTCG_LIMIT_OOM_GROUP },
	{ "RuntimeMaxSec", RUNTIME_MAX, 0 },
	{ "TimeoutStopSec", TIMEOUT_STOP, 0 },
};

#define COUNT (sizeof(properties) / sizeof(properties[0]))
#define NAME_SIZE 64

/* The number of characters to insert, remove or replace, the case apart. Both are shorter than NAME_SIZE. */
static size_t distance(const char *one, const char *other)
{
	size_t row[NAME_SIZE], length = strlen(other);

	for (size_t j = 0; j <= length; j++)
		row[j] = j;
	for (size_t i = 0; one[i]; i++) {
		size_t diagonal = row[0];

		row[0] = i + 1;
		for (size_t j = 0; j < length; j++) {
			size_t replaced = diagonal + (strncasecmp(&one[i], &other[j], 1) != 0);
			size_t least = row[j] < row[j + 1] ? row[j] + 1 : row[j + 1] + 1;

			diagonal = row[j + 1];
			row[j + 1] = replaced < least ? replaced : least;
		}
	}
	return row[length];
}

__attribute__((noreturn)) static void refuse_unknown(const char *name)
{
	size_t nearest = 0;

	for (size_t i = 1; i < COUNT; i++)
		if (distance(name, properties[i].name) < distance(name, properties[nearest].name))
			nearest = i;
	refuse("-p %s=: no such property; the nearest is %s=", name, properties[nearest].name);
}

static void clear(struct run_options *options, enum property property, uint64_t bits)
{
	options->limits.mask &= ~bits;
	if (property == MEMORY_MAX)
		options->limits.memory_max_bytes = 0;
	if (property == MEMORY_HIGH)
		options->limits.memory_high_bytes = 0;
	if (property == MEMORY_LOW)
		options->limits.memory_low_bytes = 0;
	if (property == MEMORY_MIN)
		options->limits.memory_min_bytes = 0;
	if (property == MEMORY_SWAP_MAX)
		options->limits.swap_max_bytes = 0;
	if (property == CPU_QUOTA)
		options->limits.cpu_max_millicpu = 0;
	if (property == CPU_WEIGHT)
		options->limits.cpu_weight = options->limits.cpu_idle = 0;
	if (property == IO_WEIGHT)
		options->limits.io_weight = 0;
	if (property == TASKS_MAX)
		options->limits.pids_max = 0;
	if (property == OOM_POLICY)
		options->limits.oom_group = 0;
	if (property == RUNTIME_MAX)
		options->time_limit_ns = 0;
}

static void set(struct run_options *options, enum property property, const char *name, const char *value)
{
	agentcg_limits *limits = &options->limits;

	switch (property) {
	case MEMORY_MAX:
		limits->memory_max_bytes = parse_memory(name, value);
		break;
	case MEMORY_HIGH:
		limits->memory_high_bytes = parse_size(name, value);
		break;
	case MEMORY_LOW:
		limits->memory_low_bytes = parse_size(name, value);
		break;
	case MEMORY_MIN:
		limits->memory_min_bytes = parse_size(name, value);
		break;
	case MEMORY_SWAP_MAX:
		limits->swap_max_bytes = parse_size(name, value);
		break;
	case CPU_QUOTA:
		limits->cpu_max_millicpu = parse_cpu_percent(name, value);
		break;
	case CPU_WEIGHT:
		if (strcmp(value, "idle") == 0) {
			limits->cpu_idle = 1;
			limits->mask |= AGENTCG_LIMIT_CPU_IDLE;
			return;
		}
		limits->cpu_weight = parse_weight(name, value);
		limits->mask |= AGENTCG_LIMIT_CPU_WEIGHT;
		return;
	case IO_WEIGHT:
		limits->io_weight = parse_weight(name, value);
		break;
	case TASKS_MAX:
		limits->pids_max = parse_tasks(name, value);
		break;
	case OOM_POLICY:
		if (strcmp(value, "kill") != 0 && strcmp(value, "continue") != 0)
			refuse("%s=%s: neither kill nor continue", name, value);
		limits->oom_group = strcmp(value, "kill") == 0;
		break;
	case RUNTIME_MAX:
		options->time_limit_ns = parse_time(name, value);
		if (options->time_limit_ns == NEVER)
			options->time_limit_ns = 0;
		return;
	case TIMEOUT_STOP:
		options->grace_ns = parse_time(name, value);
		return;
	}
}

void set_property(struct run_options *options, const char *text)
{
	size_t length = strcspn(text, "=");
	char name[NAME_SIZE];

	if (text[length] != '=' || length == 0 || length >= sizeof(name))
		refuse("-p %s: not a property; write NAME=VALUE, such as MemoryMax=64M", text);
	memcpy(name, text, length);
	name[length] = '\0';
	for (size_t i = 0; i < COUNT; i++) {
		if (strcmp(name, properties[i].name) != 0)
			continue;
		/* As in systemd, an empty value takes back what was set before, and the last one counts. */
		clear(options, properties[i].property, properties[i].bits);
		if (text[length + 1] == '\0')
			return;
		set(options, properties[i].property, name, text + length + 1);
		if (properties[i].property != CPU_WEIGHT)
			options->limits.mask |= properties[i].bits;
		return;
	}
	refuse_unknown(name);
}
