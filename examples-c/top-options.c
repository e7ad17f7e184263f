// SPDX-License-Identifier: MIT OR Apache-2.0
/* agentcg-top's command line. */
#include "top.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_INTERVAL_S 0.02
#define MOST_INTERVAL_S  86400.0

static const char help[] =
	"usage: agentcg-top [-d SECONDS] [-n COUNT] [--tag TAG] [--parent DIR]\n"
	"\n"
	"Show all agents of this user: CPU, memory and processes with their limits, delays, and\n"
	"events as they happen. On a terminal it shows a table; q or Ctrl-C ends it. Elsewhere it\n"
	"prints a line for each agent and for each event. The agents of a session are below it.\n"
	"\n"
	"  -d, --delay SECONDS  time between two measurements, 0.02 to 86400; the default is 1\n"
	"  -n, --count COUNT    end after COUNT measurements; the first has no rates\n"
	"  --tag TAG            only the agents with this tag\n"
	"  --parent DIR         search only below this cgroup\n"
	"  --help               show this\n"
	"  --version            show the version\n"
	"\n"
	"%CPU        of one CPU                     MEMORY  in use, and memory.max\n"
	"THROTTLED   of the periods of cpu.max      TASKS   processes and threads, and pids.max\n"
	"STALLED     of the time, waiting for       OOM     processes killed for lack of memory\n"
	"            memory: some task, and all     -       not available, or not yet\n"
	"\n"
	"Without --parent it searches every place in which it could make an agent.\n"
	"\n"
	"Exit status: 0 if q or -n ended it; 1 if the table could not be written, or for a similar\n"
	"failure; 2 for an invalid command line; 3 if there is no place to search: no cgroup2, or\n"
	"none that may be read.\n";

__attribute__((noreturn)) static void refuse(const char *option, const char *text, const char *wanted)
{
	fprintf(stderr, "agentcg-top: %s %s: not %s\nTry 'agentcg-top --help'.\n", option, text, wanted);
	exit(EXIT_USAGE);
}

static uint64_t parse_delay(const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	/* strtod(3) also accepts "inf", "0x1p3" and leading blanks. */
	if (*text == '\0' || *end != '\0' || strspn(text, "0123456789.") != strlen(text) ||
	    !(seconds >= LEAST_INTERVAL_S && seconds <= MOST_INTERVAL_S))
		refuse("-d", text, "a number of seconds from 0.02 to 86400, such as 0.5");
	return (uint64_t)(seconds * (double)NS_PER_S);
}

static uint64_t parse_count(const char *text)
{
	uint64_t count;

	errno = 0;
	count = strtoull(text, NULL, 10);
	if (*text == '\0' || strspn(text, "0123456789") != strlen(text) || errno || count == 0)
		refuse("-n", text, "a number of 1 or more");
	return count;
}

void parse_top_options(struct top_options *options, int argc, char **argv)
{
	enum { PARENT = 256, TAG, HELP, VERSION };
	static const struct option names[] = {
		{ "delay", required_argument, NULL, 'd' },     { "count", required_argument, NULL, 'n' },
		{ "parent", required_argument, NULL, PARENT }, { "tag", required_argument, NULL, TAG },
		{ "help", no_argument, NULL, HELP },           { "version", no_argument, NULL, VERSION },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	*options = (struct top_options){ .interval_ns = NS_PER_S };
	while ((option = getopt_long(argc, argv, "d:n:", names, NULL)) != -1) {
		switch (option) {
		case 'd':
			options->interval_ns = parse_delay(optarg);
			break;
		case 'n':
			options->ticks = parse_count(optarg);
			break;
		case PARENT:
			options->parent = optarg;
			break;
		case TAG:
			options->tag = optarg;
			break;
		case HELP:
			fputs(help, stdout);
			exit(EXIT_SUCCESS);
		case VERSION:
			printf("agentcg-top, with agentcg %s\n", agentcg_version_string());
			exit(EXIT_SUCCESS);
		default:                /* getopt_long() has printed what is wrong */
			fputs("Try 'agentcg-top --help'.\n", stderr);
			exit(EXIT_USAGE);
		}
	}
	if (optind < argc)
		refuse("argument", argv[optind], "an option");
}
