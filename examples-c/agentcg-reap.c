// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * agentcg-reap - list agents, and kill and remove those whose owner has ended. For a boot script, a cron job, or for
 * use by hand after a crash.
 *
 * By hand: cc agentcg-reap.c -o agentcg-reap $(pkg-config --cflags --libs agentcg)
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <agentcg.h>

#define EXIT_SOME_LEFT     1
#define EXIT_USAGE         2
#define EXIT_NO_PLACE      3
#define DEFAULT_TIMEOUT_MS 10000

static const char help[] =
	"usage: agentcg-reap [--tag TAG] [--list [--json]] [--parent DIR] [--timeout TIME]\n"
	"\n"
	"Kill and remove every agent whose owner has ended, for example because it was killed or\n"
	"has crashed. An agent whose owner is alive is never touched. The children of a session end\n"
	"with the session, and only with it, whoever owns them. Prints the number of agents removed,\n"
	"or nothing if there were none.\n"
	"\n"
	"WARNING: without --tag the agents of all programs of this user are meant, also those that\n"
	"a program which starts again would take over. Programs give their agents a tag.\n"
	"\n"
	"  --tag TAG       only the agents with this tag, and those that were only half made\n"
	"  --list          list all agents, or those with the tag; change nothing\n"
	"  --json          with --list: print one JSON array, for programs\n"
	"  --parent DIR    search only below this cgroup\n"
	"  --timeout TIME  how long to wait for the processes to die: 500ms, 10s, 2m; 10 is 10 s,\n"
	"                  which is the default; 0 does not wait\n"
	"  --help          show this\n"
	"  --version       show the version\n"
	"\n"
	"The list has a line for each agent: if its owner lives or has ended, if processes are in\n"
	"it, the pid of the owner, its age, the uuid of the session of which it is a child, its tag\n"
	"and its label. A dash is for none, and for what is unknown.\n"
	"\n"
	"Without --parent it searches every place in which it could make an agent. Run it as the\n"
	"same user, and in the same unit or session, as the programs that make the agents.\n"
	"\n"
	"Exit status: 0 if no orphan is left, or if all agents are listed; 1 if some orphans could\n"
	"not be removed, for example because they did not die in time; 2 for an invalid command\n"
	"line; 3 if there is no place to search: no cgroup2, or none that may be read.\n";

struct options {
	const char *parent;
	const char *tag;             /* NULL: the agents of all tags and of none */
	int timeout_ms;
	bool list;
	bool json;
};

struct agents {
	agentcg_entry *entries;
	size_t count;
};

static agentcg_error error;

__attribute__((noreturn, format(printf, 2, 3))) static void give_up(int status, const char *format, ...)
{
	va_list args;

	fputs("agentcg-reap: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs(status == EXIT_USAGE ? "\nTry 'agentcg-reap --help'.\n" : "\n", stderr);
	exit(status);
}

static int parse_timeout(const char *text)
{
	static const struct {
		const char *name;
		int ms;
	} units[] = { { "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 } };
	size_t digits = strspn(text, "0123456789");

	/* Nine digits fit in a long on every platform. */
	for (size_t i = 0; digits >= 1 && digits <= 9 && i < sizeof(units) / sizeof(units[0]); i++) {
		long number = strtol(text, NULL, 10);

		if (strcmp(text + digits, units[i].name) == 0 && number <= INT_MAX / units[i].ms)
			return (int)number * units[i].ms;
	}
	give_up(EXIT_USAGE, "--timeout %s: not a length of time; write a whole number and ms, s or m, such as 10s", text);
}

static struct options parse_options(int argc, char **argv)
{
	enum { TAG, LIST, JSON, PARENT, TIMEOUT, HELP, VERSION };
	static const struct option names[] = {
		{ "tag", required_argument, NULL, TAG },
		{ "list", no_argument, NULL, LIST },           { "json", no_argument, NULL, JSON },
		{ "parent", required_argument, NULL, PARENT }, { "timeout", required_argument, NULL, TIMEOUT },
		{ "help", no_argument, NULL, HELP },           { "version", no_argument, NULL, VERSION },
		{ NULL, 0, NULL, 0 },
	};
	struct options options = { .timeout_ms = DEFAULT_TIMEOUT_MS };
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (option) {
		case TAG:
			options.tag = optarg;
			break;
		case LIST:
			options.list = true;
			break;
		case JSON:
			options.json = true;
			break;
		case PARENT:
			options.parent = optarg;
			break;
		case TIMEOUT:
			options.timeout_ms = parse_timeout(optarg);
			break;
		case HELP:
			fputs(help, stdout);
			exit(EXIT_SUCCESS);
		case VERSION:
			printf("agentcg-reap, with agentcg %s\n", agentcg_version_string());
			exit(EXIT_SUCCESS);
		default:                /* getopt_long() has printed what is wrong */
			fputs("Try 'agentcg-reap --help'.\n", stderr);
			exit(EXIT_USAGE);
		}
	}
	if (optind < argc)
		give_up(EXIT_USAGE, "%s: not an option", argv[optind]);
	if (options.json && !options.list)
		give_up(EXIT_USAGE, "--json needs --list");
	return options;
}

static int oldest_first(const void *a, const void *b)
{
	const agentcg_entry *x = a, *y = b;

	if (x->created_unix_ns != y->created_unix_ns)
		return x->created_unix_ns < y->created_unix_ns ? -1 : 1;
	return strcmp(x->uuid, y->uuid);
}

/* The number of agents may grow between two calls. */
static struct agents list(const struct options *options)
{
	struct agents agents = { NULL, 0 };
	size_t room = 0;

	for (;;) {
		int count = options->tag ? agentcg_list_tagged(options->parent, options->tag, agents.entries,
		                                               sizeof(agentcg_entry), room, &error)
		                         : agentcg_list(options->parent, agents.entries, sizeof(agentcg_entry), room, &error);

		if (count == -EINVAL && options->tag)
			give_up(EXIT_USAGE, "--tag %s: %s", options->tag, error.message);
		if (count < 0)
			give_up(EXIT_NO_PLACE, "%s", error.message);
		agents.count = (size_t)count;
		if (agents.count <= room)
			break;
		room = agents.count + 16;
		free(agents.entries);
		agents.entries = calloc(room, sizeof(agentcg_entry));
		if (!agents.entries)
			give_up(EXIT_NO_PLACE, "no memory for a list of %d agents", count);
	}
	if (agents.count > 0)
		qsort(agents.entries, agents.count, sizeof(agentcg_entry), oldest_first);
	return agents;
}

/* Writes "90s", "12m", "30h" or "5d". */
static const char *age(char text[24], uint64_t created_unix_ns)
{
	struct timespec now;
	uint64_t seconds;

	clock_gettime(CLOCK_REALTIME, &now);
	if (created_unix_ns == 0)
		return "-";
	/* The clock may have been set back since then. */
	seconds = created_unix_ns / 1000000000;
	seconds = (uint64_t)now.tv_sec > seconds ? (uint64_t)now.tv_sec - seconds : 0;
	if (seconds < 120)
		snprintf(text, 24, "%" PRIu64 "s", seconds);
	else if (seconds < 120 * 60)
		snprintf(text, 24, "%" PRIu64 "m", seconds / 60);
	else if (seconds < 48 * 3600)
		snprintf(text, 24, "%" PRIu64 "h", seconds / 3600);
	else
		snprintf(text, 24, "%" PRIu64 "d", seconds / 86400);
	return text;
}

static const char *or_dash(const char *text)
{
	return *text ? text : "-";
}

static int widest(int so_far, const char *text)
{
	int length = (int)strlen(text);

	return length > so_far ? length : so_far;
}

static void print_table(const struct agents *agents)
{
	int widest_session = (int)strlen("SESSION"), widest_tag = (int)strlen("TAG");

	for (size_t i = 0; i < agents->count; i++) {
		widest_session = widest(widest_session, agents->entries[i].session);
		widest_tag = widest(widest_tag, agents->entries[i].tag);
	}
	if (agents->count > 0)
		printf("%-36s  %-6s  %-9s  %11s  %5s  %-*s  %-*s  %s\n", "UUID", "OWNER", "PROCESSES", "OWNER'S PID", "AGE",
		       widest_session, "SESSION", widest_tag, "TAG", "LABEL");
	for (size_t i = 0; i < agents->count; i++) {
		const agentcg_entry *agent = &agents->entries[i];
		char pid[16] = "-", text[24];

		if (agent->owner_pid)
			snprintf(pid, sizeof(pid), "%" PRIu32, agent->owner_pid);
		printf("%-36s  %-6s  %-9s  %11s  %5s  %-*s  %-*s  %s\n", agent->uuid, agent->orphan ? "ended" : "lives",
		       agent->populated ? "some" : "none", pid, age(text, agent->created_unix_ns), widest_session,
		       or_dash(agent->session), widest_tag, or_dash(agent->tag), or_dash(agent->label));
	}
}

static void print_known(const char *key, uint64_t number)
{
	if (number)
		printf(", \"%s\": %" PRIu64, key, number);
	else
		printf(", \"%s\": null", key);
}

/* A label and a tag are UTF-8 without control characters. */
static void print_text(const char *key, const char *text)
{
	if (!*text) {
		printf(", \"%s\": null", key);
		return;
	}
	printf(", \"%s\": \"", key);
	for (; *text; text++)
		printf("%s%c", *text == '"' || *text == '\\' ? "\\" : "", *text);
	putchar('"');
}

static void print_json(const struct agents *agents)
{
	putchar('[');
	for (size_t i = 0; i < agents->count; i++) {
		const agentcg_entry *agent = &agents->entries[i];

		printf("%s\n  {\"uuid\": \"%s\", \"orphan\": %s, \"populated\": %s", i ? "," : "", agent->uuid,
		       agent->orphan ? "true" : "false", agent->populated ? "true" : "false");
		print_known("owner_pid", agent->owner_pid);
		print_known("created_unix_ns", agent->created_unix_ns);
		print_text("session", agent->session);
		print_text("label", agent->label);
		print_text("tag", agent->tag);
		putchar('}');
	}
	puts(agents->count ? "\n]" : "]");
}

static void reap(const struct options *options)
{
	int removed = options->tag ? agentcg_reap_tagged(options->parent, options->tag, options->timeout_ms, &error)
	                           : agentcg_reap(options->parent, options->timeout_ms, &error);

	if (removed < 0)
		give_up(EXIT_SOME_LEFT, "%s", error.message);
	if (removed > 0)
		printf("%d agent%s removed\n", removed, removed == 1 ? "" : "s");
}

int main(int argc, char **argv)
{
	struct options options = parse_options(argc, argv);
	/* The list is also needed before reaping: its failure means that there is no place to search. */
	struct agents agents = list(&options);

	if (!options.list)
		reap(&options);
	else if (options.json)
		print_json(&agents);
	else
		print_table(&agents);
	free(agents.entries);
	if (fflush(stdout) != 0) {
		perror("agentcg-reap: the output cannot be written");
		return EXIT_SOME_LEFT;
	}
	return EXIT_SUCCESS;
}
