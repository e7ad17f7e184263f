// SPDX-License-Identifier: MIT OR Apache-2.0
/* agentcg-run's command line. All options are checked before a cgroup is made. docs/agentcg-run.md is the manual. */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
	"usage: agentcg-run [OPTION...] [--] COMMAND [ARG...]\n"
	"\n"
	"Run COMMAND in its own cgroup, under limits, and report what it used.\n"
	"When agentcg-run has ended, however it ends, no process that COMMAND started is left.\n"
	"\n"
	"Limits:\n"
	"  --memory SIZE      memory; above it the out-of-memory killer acts: 64M, 1.5G\n"
	"  --swap SIZE        swap in addition. With --memory the default is 0, so that\n"
	"                     --memory limits both; \"max\" allows all swap of the system\n"
	"  --cpu NUMBER       CPUs: 0.5 is half of one, 2 is two; 0.001 or more\n"
	"  --pids NUMBER      processes and threads, COMMAND included\n"
	"  --time TIME        ask everything to end (SIGTERM) after this long: 500ms, 10s, 2min\n"
	"  --grace TIME       kill what has not ended this long after that; the default is 10s\n"
	"  -p, --property NAME=VALUE\n"
	"                     a property of systemd: MemoryMax, MemoryHigh, MemoryLow,\n"
	"                     MemoryMin, MemorySwapMax, CPUQuota, CPUWeight, IOWeight,\n"
	"                     TasksMax, OOMPolicy, RuntimeMaxSec or TimeoutStopSec\n"
	"  --parent DIR       make the cgroup below this one; agentcg finds no place itself\n"
	"\n"
	"The command:\n"
	"  --uid USER         run it as this user, with the user's groups\n"
	"  --gid GROUP        run it with this group\n"
	"  --nice NUMBER      its niceness, from -20 to 19\n"
	"  --chdir DIR        its working directory\n"
	"  --setenv NAME[=VALUE]\n"
	"                     add this to its environment\n"
	"  --pty              run it on a terminal of its own\n"
	"  --contain          the command cannot leave its cgroup or change its limits\n"
	"\n"
	"Output:\n"
	"  --report FORMAT    text, json or none; the default is text\n"
	"  --report-fd FD     the descriptor of the report and of --stats; the default is 2\n"
	"  --stats json       also print the measurements while COMMAND runs\n"
	"  --every TIME       how often; the default is 1s\n"
	"  --label TEXT       name the job in messages, in JSON and in agentcg-top\n"
	"  --tag TAG          the tag of the agent, for agentcg-reap --tag\n"
	"  --quiet            no live line; no report either without --report\n"
	"  -h, --help         show this\n"
	"  --version          show the version\n"
	"\n"
	"SIZE is in bytes, or ends in K, M, G or T (powers of 1024), KB, MB, GB or TB (of\n"
	"1000) or %, of the memory of the system; \"max\" and \"infinity\" are no limit.\n"
	"\n"
	"SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP and SIGCONT reach COMMAND,\n"
	"too. A second SIGINT (Ctrl-C) within two seconds kills everything at once.\n"
	"\n"
	"Exit status: COMMAND's own. If a signal has ended COMMAND, it ends agentcg-run, too (128\n"
	"+ N in a shell). 124 if the time was up; 125 if agentcg-run failed, also for an invalid\n"
	"command line; 126 if COMMAND cannot be executed; 127 if COMMAND was not found.\n";

void refuse(const char *format, ...)
{
	va_list args;

	fputs("agentcg-run: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("\nTry 'agentcg-run --help'.\n", stderr);
	exit(EXIT_OWN_FAILURE);
}

static void set_environment(struct run_options *options, char *text)
{
	char *value = strchr(text, '=');

	if (value == text || !*text)
		refuse("--setenv %s: not a variable; write NAME=VALUE, or NAME for the caller's value", text);
	if (value) {
		*value = '\0';
		add_to_environment(options, text, value + 1);
		*value = '=';
	} else if (getenv(text)) {
		add_to_environment(options, text, getenv(text));
	}
}

static enum report parse_report(const char *text)
{
	static const char *const names[] = { "text", "json", "none" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(text, names[i]) == 0)
			return (enum report)i;
	refuse("--report %s: neither text, json nor none", text);
}

static int parse_descriptor(const char *text)
{
	int fd = parse_int("--report-fd", text, 0, 1 << 20);
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		refuse("--report-fd %s: %s", text, strerror(errno));
	if (flags & O_PATH || (flags & O_ACCMODE) == O_RDONLY)
		refuse("--report-fd %s: it is not open for writing", text);
	return fd;
}

void parse_options(struct run_options *options, int argc, char **argv)
{
	enum {
		HELP = 'h', PROPERTY = 'p', MEMORY = 256, SWAP, CPU, PIDS, TIME, GRACE, PARENT, UID, GID, NICE, CHDIR, SETENV,
		PTY, CONTAIN, REPORT, REPORT_FD, STATS, EVERY, LABEL, TAG, QUIET, VERSION,
	};
	static const struct option names[] = {
		{ "memory", required_argument, NULL, MEMORY },     { "swap", required_argument, NULL, SWAP },
		{ "cpu", required_argument, NULL, CPU },           { "pids", required_argument, NULL, PIDS },
		{ "time", required_argument, NULL, TIME },         { "grace", required_argument, NULL, GRACE },
		{ "property", required_argument, NULL, PROPERTY }, { "parent", required_argument, NULL, PARENT },
		{ "uid", required_argument, NULL, UID },           { "gid", required_argument, NULL, GID },
		{ "nice", required_argument, NULL, NICE },         { "chdir", required_argument, NULL, CHDIR },
		{ "setenv", required_argument, NULL, SETENV },     { "pty", no_argument, NULL, PTY },
		{ "contain", no_argument, NULL, CONTAIN },         { "report", required_argument, NULL, REPORT },
		{ "report-fd", required_argument, NULL, REPORT_FD }, { "stats", required_argument, NULL, STATS },
		{ "every", required_argument, NULL, EVERY },       { "label", required_argument, NULL, LABEL },
		{ "tag", required_argument, NULL, TAG },
		{ "quiet", no_argument, NULL, QUIET },             { "help", no_argument, NULL, HELP },
		{ "version", no_argument, NULL, VERSION },         { NULL, 0, NULL, 0 },
	};
	agentcg_limits *limits = &options->limits;
	bool swap_is_none = false, has_report = false, has_stats = false;
	uint64_t every_ns = 0;
	int option;

	memset(options, 0, sizeof(*options));
	options->grace_ns = 10 * NS_PER_S;
	options->report_fd = STDERR_FILENO;
	/* "+": stop at COMMAND. The options after it belong to COMMAND. */
	while ((option = getopt_long(argc, argv, "+hp:", names, NULL)) != -1) {
		switch (option) {
		case MEMORY:
			limits->memory_max_bytes = parse_memory("--memory", optarg);
			limits->mask |= AGENTCG_LIMIT_MEMORY_MAX;
			/* Otherwise a group above its memory limit continues to grow in swap. */
			swap_is_none = true;
			break;
		case SWAP:
			limits->swap_max_bytes = parse_size("--swap", optarg);
			limits->mask |= AGENTCG_LIMIT_SWAP_MAX;
			break;
		case CPU:
			limits->cpu_max_millicpu = parse_cpus("--cpu", optarg);
			limits->mask |= AGENTCG_LIMIT_CPU_MAX;
			break;
		case PIDS:
			limits->pids_max = parse_tasks("--pids", optarg);
			limits->mask |= AGENTCG_LIMIT_PIDS_MAX;
			break;
		case TIME:
			options->time_limit_ns = parse_time("--time", optarg);
			if (options->time_limit_ns == 0)
				refuse("--time %s: the command would have no time", optarg);
			if (options->time_limit_ns == NEVER)
				options->time_limit_ns = 0;
			break;
		case GRACE:
			options->grace_ns = parse_time("--grace", optarg);
			break;
		case PROPERTY:
			set_property(options, optarg);
			break;
		case PARENT:
			options->parent = optarg;
			break;
		case UID:
			set_user(options, optarg);
			break;
		case GID:
			set_group(options, optarg);
			break;
		case NICE:
			options->nice = parse_int("--nice", optarg, -20, 19);
			options->has_nice = true;
			break;
		case CHDIR:
			options->directory = optarg;
			break;
		case SETENV:
			set_environment(options, optarg);
			break;
		case PTY:
			options->pty = true;
			break;
		case CONTAIN:
			options->contain = true;
			break;
		case REPORT:
			options->report = parse_report(optarg);
			has_report = true;
			break;
		case REPORT_FD:
			options->report_fd = parse_descriptor(optarg);
			break;
		case STATS:
			if (strcmp(optarg, "json") != 0)
				refuse("--stats %s: the only format is json", optarg);
			has_stats = true;
			break;
		case EVERY:
			every_ns = parse_time("--every", optarg);
			if (every_ns < NS_PER_MS)
				refuse("--every %s: less than a millisecond", optarg);
			break;
		case LABEL:
			options->label = message_label = optarg;
			break;
		case TAG:
			options->tag = optarg;
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
			exit(EXIT_OWN_FAILURE);
		}
	}
	if (optind == argc)
		refuse("no command given");
	options->command = argv + optind;
	if (swap_is_none)
		limits->mask |= AGENTCG_LIMIT_SWAP_MAX;
	if (every_ns && !has_stats)
		refuse("--every needs --stats json");
	if (has_stats)
		options->stats_ns = every_ns ? every_ns : NS_PER_S;
	if (options->quiet && !has_report)
		options->report = REPORT_NONE;
}
