// SPDX-License-Identifier: MIT OR Apache-2.0
/* agentcg-run's command line. All options are checked before a cgroup is made. */
#include "run.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define EXIT_USAGE 2
#define PIDS_MAX 4194304        /* PID_MAX_LIMIT on 64-bit kernels; pids.max takes no more */

static const char help[] =
	"usage: agentcg-run [OPTION...] [--] COMMAND [ARG...]\n"
	"\n"
	"Run COMMAND in its own cgroup, under limits, and report what it used.\n"
	"When agentcg-run returns, no process that COMMAND started is left.\n"
	"\n"
	"  --memory SIZE   memory; above it the out-of-memory killer acts: 64M, 1.5G\n"
	"  --swap SIZE     swap in addition. With --memory the default is 0, so that\n"
	"                  --memory limits both; \"max\" allows all swap of the system\n"
	"  --cpu NUMBER    CPUs: 0.5 is half of one, 2 is two; 0.001 or more\n"
	"  --pids NUMBER   processes and threads, COMMAND included\n"
	"  --time TIME     kill everything after this long: 500ms, 10s, 2m, 1h; 10 is 10 s\n"
	"  --parent DIR    make the cgroup below this one; agentcg finds no place itself\n"
	"  --quiet         no live line, no report; errors are printed\n"
	"  --help          show this\n"
	"  --version       show the version\n"
	"\n"
	"SIZE is in bytes, or ends in K, M, G or T (powers of 1024), or is \"max\".\n"
	"\n"
	"SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP and SIGCONT reach COMMAND,\n"
	"too. A second SIGINT (Ctrl-C) kills everything at once.\n"
	"\n"
	"Exit status: COMMAND's own, or 128 + N if signal N ended it; 124 if the time was up;\n"
	"125 if agentcg-run failed; 126 if COMMAND cannot be executed; 127 if COMMAND was not\n"
	"found; 2 for an invalid command line.\n";

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit size_units[] = {
	{ "", 1 }, { "K", 1ull << 10 }, { "M", 1ull << 20 }, { "G", 1ull << 30 }, { "T", 1ull << 40 }, { NULL, 0 },
};

static const struct unit time_units[] = {
	{ "", NS_PER_S }, { "ms", NS_PER_MS }, { "s", NS_PER_S }, { "m", 60 * NS_PER_S }, { "h", 3600 * NS_PER_S },
	{ NULL, 0 },
};

static const struct unit millicpu_units[] = { { "", 1000 }, { NULL, 0 } };
static const struct unit count_units[] = { { "", 1 }, { NULL, 0 } };

__attribute__((noreturn, format(printf, 1, 2))) static void refuse(const char *format, ...)
{
	va_list args;

	fputs("agentcg-run: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("\nTry 'agentcg-run --help'.\n", stderr);
	exit(EXIT_USAGE);
}

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

static bool parse_quantity(const char *text, const struct unit *units, uint64_t *ret_value)
{
	uint64_t thousandths;
	const char *unit = parse_thousandths(text, &thousandths);

	if (!unit)
		return false;
	while (units->name && strcasecmp(unit, units->name) != 0)
		units++;
	if (!units->name || thousandths / 1000 > UINT64_MAX / units->factor - 1)
		return false;
	*ret_value = thousandths / 1000 * units->factor + thousandths % 1000 * units->factor / 1000;
	return true;
}

static uint64_t parse_size(const char *option, const char *text)
{
	uint64_t bytes;

	if (strcasecmp(text, "max") == 0)
		return AGENTCG_UNLIMITED;
	if (!parse_quantity(text, size_units, &bytes))
		refuse("%s %s: not a size; write a number and K, M, G or T, such as 64M, or max", option, text);
	return bytes;
}

static uint64_t parse_memory(const char *text)
{
	uint64_t bytes = parse_size("--memory", text);
	long page = sysconf(_SC_PAGESIZE);

	if (bytes < (uint64_t)page)
		refuse("--memory %s: less than one page (%ld bytes): no program can run in it", text, page);
	return bytes;
}

static uint64_t parse_millicpu(const char *text)
{
	uint64_t millicpu;

	if (!parse_quantity(text, millicpu_units, &millicpu) || millicpu == 0)
		refuse("--cpu %s: not a number of CPUs; write 0.001 or more, at most three decimals, such as 0.5", text);
	return millicpu;
}

static uint64_t parse_pids(const char *text)
{
	uint64_t pids;

	if (strchr(text, '.') || !parse_quantity(text, count_units, &pids) || pids < 1 || pids > PIDS_MAX)
		refuse("--pids %s: not a number of processes; write a whole number from 1 to %d", text, PIDS_MAX);
	return pids;
}

static uint64_t parse_time(const char *text)
{
	uint64_t ns;

	if (!parse_quantity(text, time_units, &ns) || ns == 0 || ns > INT64_MAX)
		refuse("--time %s: not a length of time; write a number and ms, s, m or h, such as 10s", text);
	return ns;
}

void parse_options(struct run_options *options, int argc, char **argv)
{
	enum { MEMORY, SWAP, CPU, PIDS, TIME, PARENT, QUIET, HELP, VERSION };
	static const struct option names[] = {
		{ "memory", required_argument, NULL, MEMORY }, { "swap", required_argument, NULL, SWAP },
		{ "cpu", required_argument, NULL, CPU },       { "pids", required_argument, NULL, PIDS },
		{ "time", required_argument, NULL, TIME },     { "parent", required_argument, NULL, PARENT },
		{ "quiet", no_argument, NULL, QUIET },         { "help", no_argument, NULL, HELP },
		{ "version", no_argument, NULL, VERSION },     { NULL, 0, NULL, 0 },
	};
	agentcg_limits *limits = &options->limits;
	int option;

	memset(options, 0, sizeof(*options));
	/* "+": stop at COMMAND. The options after it belong to COMMAND. */
	while ((option = getopt_long(argc, argv, "+", names, NULL)) != -1) {
		switch (option) {
		case MEMORY:
			limits->memory_max_bytes = parse_memory(optarg);
			limits->mask |= AGENTCG_LIMIT_MEMORY_MAX;
			break;
		case SWAP:
			limits->swap_max_bytes = parse_size("--swap", optarg);
			limits->mask |= AGENTCG_LIMIT_SWAP_MAX;
			break;
		case CPU:
			limits->cpu_max_millicpu = parse_millicpu(optarg);
			limits->mask |= AGENTCG_LIMIT_CPU_MAX;
			break;
		case PIDS:
			limits->pids_max = parse_pids(optarg);
			limits->mask |= AGENTCG_LIMIT_PIDS_MAX;
			break;
		case TIME:
			options->time_limit_ns = parse_time(optarg);
			break;
		case PARENT:
			options->parent = optarg;
			break;
		case QUIET:
			options->quiet = true;
			break;
		case HELP:
			fputs(help, stdout);
			exit(EXIT_SUCCESS);
		case VERSION:
			printf("agentcg-run, with agentcg %s\n", agentcg_version_string());
			exit(EXIT_SUCCESS);
		default:                /* getopt_long() has printed what is wrong */
			fputs("Try 'agentcg-run --help'.\n", stderr);
			exit(EXIT_USAGE);
		}
	}
	if (optind == argc)
		refuse("no command given");
	options->command = argv + optind;
	/* swap_max_bytes is 0 by default: otherwise a group above its memory limit continues to grow in swap. */
	if (limits->mask & AGENTCG_LIMIT_MEMORY_MAX)
		limits->mask |= AGENTCG_LIMIT_SWAP_MAX;
}
