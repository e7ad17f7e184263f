// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * agentcg-doctor - report if agents with limits can be made from here, and what to do if they cannot.
 *
 * By hand: cc agentcg-doctor.c -o agentcg-doctor $(pkg-config --cflags --libs agentcg)
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <agentcg.h>

#define EXIT_NO_LIMITS 1
#define EXIT_USAGE     2

static const char help[] =
	"usage: agentcg-doctor [--json]\n"
	"\n"
	"Report if agents with limits on cpu, memory and pids can be made from here: each place\n"
	"tried, what is wrong with it, and the commands that fix it. Nothing is left behind.\n"
	"\n"
	"  --json     print one JSON object, for programs\n"
	"  --help     show this\n"
	"  --version  show the version\n"
	"\n"
	"Exit status: 0 if they can, 1 if they cannot, 2 for an invalid command line. The result\n"
	"holds for programs in the same unit, container or session: run it where yours will run.\n";

struct name {
	uint64_t value;
	const char *text;
};

static const struct name obstacles[] = {
	{ 0, "none" },
	{ AGENTCG_WHY_NO_CGROUP2, "no-cgroup2" },
	{ AGENTCG_WHY_OUTSIDE_NAMESPACE, "outside-namespace" },
	{ AGENTCG_WHY_READ_ONLY, "read-only" },
	{ AGENTCG_WHY_NOT_DELEGATED, "not-delegated" },
	{ AGENTCG_WHY_NO_CONTROLLER, "no-controller" },
	{ AGENTCG_WHY_POPULATED, "populated" },
	{ AGENTCG_WHY_THREADED, "threaded" },
	{ AGENTCG_WHY_GONE, "gone" },
	{ AGENTCG_WHY_NESTING_LIMIT, "nesting-limit" },
	{ AGENTCG_WHY_NO_SYSTEMD, "no-systemd" },
	{ AGENTCG_WHY_SYSTEMD_REFUSED, "systemd-refused" },
	{ AGENTCG_WHY_CALLER_INSIDE, "caller-inside" },
	{ 0, NULL },
};

static const struct name places[] = {
	{ 0, "none" },
	{ AGENTCG_PLACE_GIVEN, "given" },
	{ AGENTCG_PLACE_DELEGATED, "delegated" },
	{ AGENTCG_PLACE_SIBLING, "sibling" },
	{ AGENTCG_PLACE_ROOT, "root" },
	{ AGENTCG_PLACE_SYSTEMD, "systemd" },
	{ 0, NULL },
};

static const struct name controllers[] = {
	{ AGENTCG_CONTROLLER_CPU, "cpu" },       { AGENTCG_CONTROLLER_MEMORY, "memory" },
	{ AGENTCG_CONTROLLER_PIDS, "pids" },     { AGENTCG_CONTROLLER_IO, "io" },
	{ AGENTCG_CONTROLLER_CPUSET, "cpuset" }, { AGENTCG_CONTROLLER_HUGETLB, "hugetlb" },
	{ 0, NULL },
};

static const struct name features[] = {
	{ AGENTCG_FEATURE_KILL, "kill" },
	{ AGENTCG_FEATURE_FREEZE, "freeze" },
	{ AGENTCG_FEATURE_CLONE_INTO, "clone-into" },
	{ AGENTCG_FEATURE_MEMORY_PEAK, "memory-peak" },
	{ AGENTCG_FEATURE_PIDS_PEAK, "pids-peak" },
	{ AGENTCG_FEATURE_PRESSURE, "pressure" },
	{ AGENTCG_FEATURE_XATTR, "xattr" },
	{ AGENTCG_FEATURE_NSDELEGATE, "nsdelegate" },
	{ AGENTCG_FEATURE_SYSTEMD, "systemd" },
	{ 0, NULL },
};

/* A newer library may return values that this program does not know. */
static const char *name_of(const struct name *names, uint64_t value)
{
	while (names->text && names->value != value)
		names++;
	return names->text ? names->text : "unknown";
}

static void print_set(const char *key, const struct name *names, uint64_t set)
{
	const char *separator = "";

	printf("  \"%s\": [", key);
	for (; names->text; names++) {
		if (set & names->value) {
			printf("%s\"%s\"", separator, names->text);
			separator = ", ";
		}
	}
	puts("],");
}

static void print_string(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '\n')
			fputs("\\n", stdout);
		else if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20)
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

static void print_json(const agentcg_diagnosis *found, bool limits_work, const char *report)
{
	puts("{");
	printf("  \"version\": \"%s\",\n", agentcg_version_string());
	printf("  \"limits_work\": %s,\n", limits_work ? "true" : "false");
	printf("  \"obstacle\": \"%s\",\n", name_of(obstacles, found->obstacle));
	printf("  \"obstacle_number\": %u,\n", found->obstacle);
	printf("  \"place\": \"%s\",\n", name_of(places, found->place));
	print_set("controllers", controllers, found->controllers);
	print_set("missing_controllers", controllers, found->missing_controllers);
	print_set("features", features, found->features);
	fputs("  \"report\": ", stdout);
	print_string(report);
	puts("\n}");
}

/* Limits that need these controllers, and restrict nothing. */
static const agentcg_limits all = {
	.mask = AGENTCG_LIMIT_CPU_MAX | AGENTCG_LIMIT_MEMORY_MAX | AGENTCG_LIMIT_PIDS_MAX,
	.memory_max_bytes = AGENTCG_UNLIMITED, .cpu_max_millicpu = AGENTCG_UNLIMITED, .pids_max = AGENTCG_UNLIMITED,
};

/* Returns the report in memory that the caller frees. Its length can change between two calls, if the machine does. */
static char *diagnose_for(const agentcg_limits *limits, agentcg_diagnosis *ret_found)
{
	size_t size = 4096;
	char *text = NULL;
	int length;

	for (;;) {
		char *larger = realloc(text, size);

		if (!larger) {
			free(text);
			errno = ENOMEM;
			return NULL;
		}
		text = larger;
		length = agentcg_diagnose_new(limits, limits ? sizeof(*limits) : 0, 0, ret_found, sizeof(*ret_found), text,
		                              size, NULL);
		if (length < 0) {
			free(text);
			errno = -length;
			return NULL;
		}
		if ((size_t)length < size)
			return text;
		size = (size_t)length + 1;
	}
}

/* The place for an agent with limits may differ from the place for one without. */
static char *diagnose(agentcg_diagnosis *ret_found)
{
	char *report = diagnose_for(&all, ret_found);

	if (!report || ret_found->place)
		return report;
	free(report);
	return diagnose_for(NULL, ret_found);
}

int main(int argc, char **argv)
{
	agentcg_diagnosis found;
	bool json = false, limits_work;
	char *report;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			json = true;
		} else if (strcmp(argv[i], "--help") == 0) {
			fputs(help, stdout);
			return EXIT_SUCCESS;
		} else if (strcmp(argv[i], "--version") == 0) {
			printf("agentcg-doctor, with agentcg %s\n", agentcg_version_string());
			return EXIT_SUCCESS;
		} else {
			fprintf(stderr, "agentcg-doctor: %s: not an option\nTry 'agentcg-doctor --help'.\n", argv[i]);
			return EXIT_USAGE;
		}
	}
	report = diagnose(&found);
	if (!report) {
		fprintf(stderr, "agentcg-doctor: no diagnosis: %s\n", strerror(errno));
		return EXIT_NO_LIMITS;
	}
	limits_work = found.place && !found.obstacle && !found.missing_controllers;
	if (json)
		print_json(&found, limits_work, report);
	else
		fputs(report, stdout);
	free(report);
	if (fflush(stdout) != 0) {
		fprintf(stderr, "agentcg-doctor: the report cannot be written: %s\n", strerror(errno));
		return EXIT_NO_LIMITS;
	}
	return limits_work ? EXIT_SUCCESS : EXIT_NO_LIMITS;
}
