// SPDX-License-Identifier: MIT OR Apache-2.0
/* The values of agentcg-run's options: sizes and times as systemd and coreutils read them. */
#include "run.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define PIDS_MAX 4194304         /* PID_MAX_LIMIT on 64-bit kernels; pids.max takes no more */

struct unit {
	const char *name;
	uint64_t factor;
};

/* As in coreutils, KB is 1000; systemd has no such unit. */
static const struct unit size_units[] = {
	{ "", 1 },            { "B", 1 },
	{ "K", 1ull << 10 },  { "KiB", 1ull << 10 }, { "KB", 1000ull },
	{ "M", 1ull << 20 },  { "MiB", 1ull << 20 }, { "MB", 1000000ull },
	{ "G", 1ull << 30 },  { "GiB", 1ull << 30 }, { "GB", 1000000000ull },
	{ "T", 1ull << 40 },  { "TiB", 1ull << 40 }, { "TB", 1000000000000ull },
	{ "P", 1ull << 50 },  { "PiB", 1ull << 50 }, { "PB", 1000000000000000ull },
	{ "E", 1ull << 60 },  { "EiB", 1ull << 60 }, { "EB", 1000000000000000000ull },
	{ NULL, 0 },
};

/* systemd.time(7). M is a month and m a minute: these are compared with their case. */
static const struct unit time_units[] = {
	{ "", NS_PER_S },
	{ "us", 1000 },               { "usec", 1000 },             { "\302\265s", 1000 },
	{ "ms", NS_PER_MS },          { "msec", NS_PER_MS },
	{ "s", NS_PER_S },            { "sec", NS_PER_S },          { "second", NS_PER_S },
	{ "seconds", NS_PER_S },
	{ "m", 60 * NS_PER_S },       { "min", 60 * NS_PER_S },     { "minute", 60 * NS_PER_S },
	{ "minutes", 60 * NS_PER_S },
	{ "h", 3600 * NS_PER_S },     { "hr", 3600 * NS_PER_S },    { "hour", 3600 * NS_PER_S },
	{ "hours", 3600 * NS_PER_S },
	{ "d", 86400 * NS_PER_S },    { "day", 86400 * NS_PER_S },  { "days", 86400 * NS_PER_S },
	{ "w", 604800 * NS_PER_S },   { "week", 604800 * NS_PER_S }, { "weeks", 604800 * NS_PER_S },
	{ "M", 2629800 * NS_PER_S },  { "month", 2629800 * NS_PER_S }, { "months", 2629800 * NS_PER_S },
	{ "y", 31557600 * NS_PER_S }, { "year", 31557600 * NS_PER_S }, { "years", 31557600 * NS_PER_S },
	{ NULL, 0 },
};

static const struct unit cpu_units[] = { { "", 1000 }, { NULL, 0 } };
static const struct unit percent_units[] = { { "%", 1000 }, { NULL, 0 } };
static const struct unit count_units[] = { { "", 1 }, { NULL, 0 } };

/*
 * Parses a decimal number into thousandths, with integers: in floating point 1.001 CPUs would become 1000. Decimals
 * after the third must be zeros. Returns the text after the number, or NULL if there is no number, or if it has too
 * many decimals or is too large.
 */
static const char *parse_thousandths(const char *text, uint64_t *ret_thousandths)
{
	size_t digits = strspn(text, "0123456789");
	size_t decimals = text[digits] == '.' ? strspn(text + digits + 1, "0123456789") : 0;
	const char *end = text + digits + (text[digits] == '.') + decimals;
	uint64_t value = 0;

	if (digits + decimals == 0)
		return NULL;
	for (size_t i = 0; i < digits; i++) {
		if (value > UINT64_MAX / 10000 - 1)
			return NULL;
		value = value * 10 + (uint64_t)(text[i] - '0');
	}
	text += digits + 1;
	for (size_t i = 0; i < 3; i++)
		value = value * 10 + (i < decimals ? (uint64_t)(text[i] - '0') : 0);
	for (size_t i = 3; i < decimals; i++)
		if (text[i] != '0')
			return NULL;
	*ret_thousandths = value;
	return end;
}

static bool multiply(uint64_t thousandths, uint64_t factor, uint64_t *ret_value)
{
	if (thousandths / 1000 > UINT64_MAX / factor - 1)
		return false;
	*ret_value = thousandths / 1000 * factor + thousandths % 1000 * (factor / 1000) +
	             thousandths % 1000 * (factor % 1000) / 1000;
	return true;
}

static bool parse_quantity(const char *text, const struct unit *units, uint64_t *ret_value)
{
	uint64_t thousandths;
	const char *unit = parse_thousandths(text, &thousandths);

	if (!unit)
		return false;
	while (units->name && strcasecmp(unit, units->name) != 0)
		units++;
	return units->name && multiply(thousandths, units->factor, ret_value);
}

static bool is_unlimited(const char *text)
{
	return strcasecmp(text, "max") == 0 || strcasecmp(text, "infinity") == 0;
}

/* Returns true if text is a percentage of total, up to 100 %. */
static bool parse_share(const char *text, uint64_t total, uint64_t *ret_value)
{
	uint64_t thousandths;

	if (!parse_quantity(text, percent_units, &thousandths) || thousandths > 100000)
		return false;
	*ret_value = (uint64_t)((double)total * (double)thousandths / 100000);
	return true;
}

static uint64_t positive(long value)
{
	return value > 0 ? (uint64_t)value : 0;
}

uint64_t parse_size(const char *option, const char *text)
{
	uint64_t page = positive(sysconf(_SC_PAGESIZE)), bytes;

	if (is_unlimited(text))
		return AGENTCG_UNLIMITED;
	if (parse_share(text, positive(sysconf(_SC_PHYS_PAGES)), &bytes))
		return bytes * page;
	if (!parse_quantity(text, size_units, &bytes))
		refuse("%s %s: not a size; write a number and K, M, G or T, such as 64M, or max", option, text);
	return bytes;
}

uint64_t parse_memory(const char *option, const char *text)
{
	uint64_t bytes = parse_size(option, text);
	uint64_t page = positive(sysconf(_SC_PAGESIZE));

	if (bytes < page)
		refuse("%s %s: less than one page (%llu bytes): no program can run in it", option, text,
		       (unsigned long long)page);
	return bytes;
}

uint64_t parse_cpus(const char *option, const char *text)
{
	uint64_t millicpu;

	if (is_unlimited(text))
		return AGENTCG_UNLIMITED;
	if (!parse_quantity(text, cpu_units, &millicpu) || millicpu == 0)
		refuse("%s %s: not a number of CPUs; write 0.001 or more, at most three decimals, such as 0.5", option,
		       text);
	return millicpu;
}

uint64_t parse_cpu_percent(const char *option, const char *text)
{
	uint64_t thousandths;

	if (is_unlimited(text))
		return AGENTCG_UNLIMITED;
	if (!parse_quantity(text, percent_units, &thousandths) || thousandths < 100 || thousandths % 100 != 0)
		refuse("%s=%s: not a percentage of one CPU; write 0.1%% or more, at most one decimal, such as 50%%",
		       option, text);
	return thousandths / 100;
}

/* As systemd: of the number of processes that the system allows. */
static uint64_t system_tasks(void)
{
	static const char *const files[] = { "/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max" };
	uint64_t least = PIDS_MAX;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		unsigned long long value;
		FILE *file = fopen(files[i], "re");

		if (file && fscanf(file, "%llu", &value) == 1 && value < least)
			least = value;
		if (file)
			fclose(file);
	}
	return least;
}

uint64_t parse_tasks(const char *option, const char *text)
{
	uint64_t tasks;

	if (is_unlimited(text))
		return AGENTCG_UNLIMITED;
	if (parse_share(text, system_tasks(), &tasks) && tasks > 0)
		return tasks;
	if (strchr(text, '.') || !parse_quantity(text, count_units, &tasks) || tasks < 1 || tasks > PIDS_MAX)
		refuse("%s %s: not a number of processes; write a whole number from 1 to %d", option, text, PIDS_MAX);
	return tasks;
}

uint64_t parse_weight(const char *option, const char *text)
{
	uint64_t weight;

	if (strchr(text, '.') || !parse_quantity(text, count_units, &weight) || weight < 1 || weight > 10000)
		refuse("%s=%s: not a weight; write a whole number from 1 to 10000", option, text);
	return weight;
}

/* Adds the time in *at to *ns. Moves *at behind it. */
static bool add_time(const char **at, uint64_t *ns)
{
	const struct unit *unit = time_units;
	uint64_t thousandths, more;
	const char *name = parse_thousandths(*at, &thousandths);
	size_t length;

	if (!name)
		return false;
	name += strspn(name, " ");
	length = strcspn(name, " .0123456789");
	while (unit->name && (strlen(unit->name) != length || strncmp(name, unit->name, length) != 0))
		unit++;
	if (!unit->name || !multiply(thousandths, unit->factor, &more) || more > (uint64_t)INT64_MAX - *ns)
		return false;
	*ns += more;
	*at = name + length + strspn(name + length, " ");
	return true;
}

uint64_t parse_time(const char *option, const char *text)
{
	const char *at = text + strspn(text, " ");
	uint64_t ns = 0;

	if (is_unlimited(text))
		return NEVER;
	do {
		if (!add_time(&at, &ns))
			refuse("%s %s: not a length of time; write a number and ms, s, min, h or d, such as 10s or 1h30min",
			       option, text);
	} while (*at);
	return ns;
}

int parse_int(const char *option, const char *text, int least, int most)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (end == text || *end || isspace((unsigned char)*text) || value < least || value > most)
		refuse("%s %s: not a whole number from %d to %d", option, text, least, most);
	return (int)value;
}
