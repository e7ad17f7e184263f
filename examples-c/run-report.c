// SPDX-License-Identifier: MIT OR Apache-2.0
/* The measurements of agentcg-run, the live line and the report. */
#include "run.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

const char *message_label;

static void begin(FILE *file)
{
	if (message_label)
		fprintf(file, "agentcg-run[%s]: ", message_label);
	else
		fputs("agentcg-run: ", file);
}

void say(const char *format, ...)
{
	va_list args;

	begin(stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

static uint64_t count_processes(int group_fd)
{
	char text[4096];
	uint64_t lines = 0;
	ssize_t length;
	int fd = openat(group_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return UNKNOWN;
	while ((length = read(fd, text, sizeof(text))) > 0)
		for (ssize_t i = 0; i < length; i++)
			lines += text[i] == '\n';
	close(fd);
	return length < 0 ? UNKNOWN : lines;
}

int measure(agentcg *cg, struct measurements *ret_measured, agentcg_error *reterr)
{
	struct measurements measured = {
		.processes = count_processes(agentcg_fd(cg)),
	};
	int rc = agentcg_read_stats(cg, AGENTCG_STAT_ALL, &measured.stats, sizeof(measured.stats), reterr);

	if (rc == 0)
		*ret_measured = measured;
	return rc;
}

static double seconds(uint64_t ns)
{
	return (double)ns / NS_PER_S;
}

static bool is_limited(const agentcg_limits *limits, uint64_t bit, uint64_t value)
{
	return (limits->mask & bit) && value != AGENTCG_UNLIMITED;
}

/* Appends to line, as snprintf(3) does: the text is cut where line is full. */
__attribute__((format(printf, 3, 4))) static void append(char *line, size_t size, const char *format, ...)
{
	size_t length = strlen(line);
	va_list args;

	va_start(args, format);
	vsnprintf(line + length, size - length, format, args);
	va_end(args);
}

void append_live_line(char *line, size_t size, const agentcg_limits *limits, uint64_t elapsed_ns,
                      const agentcg_stats *before, const agentcg_stats *now)
{
	char text[BYTES_TEXT_SIZE];

	append(line, size, "%.1f s", seconds(elapsed_ns));
	if (now->mask & AGENTCG_STAT_CPU && now->time_ns > before->time_ns)
		append(line, size, "  cpu %.0f %%", 100.0 * (double)(now->cpu_usage_ns - before->cpu_usage_ns) /
		                                    (double)(now->time_ns - before->time_ns));
	if (now->mask & AGENTCG_STAT_MEMORY) {
		append(line, size, "  memory %s", format_bytes(text, now->memory_current_bytes));
		if (is_limited(limits, AGENTCG_LIMIT_MEMORY_MAX, limits->memory_max_bytes))
			append(line, size, " of %s", format_bytes(text, limits->memory_max_bytes));
	}
	if (now->mask & AGENTCG_STAT_PIDS) {
		append(line, size, "  processes %" PRIu64, now->pids_current);
		if (is_limited(limits, AGENTCG_LIMIT_PIDS_MAX, limits->pids_max))
			append(line, size, " of %" PRIu64, limits->pids_max);
	}
}

static void print_end(FILE *file, const struct run_options *options, const struct outcome *outcome)
{
	double wall_s = seconds(outcome->wall_ns);
	int status = outcome->wait_status;

	begin(file);
	if (outcome->time_is_up)
		fprintf(file, "the time limit of %g s was reached, everything %s", seconds(options->time_limit_ns),
		        outcome->killed ? "was killed" : "ended by SIGTERM");
	else if (outcome->interrupted_twice)
		fprintf(file, "interrupted twice, everything was killed after %.3f s", wall_s);
	else if (WIFEXITED(status))
		fprintf(file, "exit status %d after %.3f s", WEXITSTATUS(status), wall_s);
	else if (sigabbrev_np(WTERMSIG(status)))
		fprintf(file, "ended by SIG%s after %.3f s", sigabbrev_np(WTERMSIG(status)), wall_s);
	else
		fprintf(file, "ended by signal %d after %.3f s", WTERMSIG(status), wall_s);
	fputc('\n', file);
	/* agentcg-run's own kill is in the line above. */
	if (WIFSIGNALED(status) && !outcome->time_is_up && !outcome->interrupted_twice && *outcome->verdict.text)
		fprintf(file, "  cause      %s\n", outcome->verdict.text);
}

static void print_cpu(FILE *file, const agentcg_stats *stats, uint64_t wall_ns)
{
	fprintf(file, "  cpu        %.3f s user, %.3f s system, %.1f %% of one CPU", seconds(stats->cpu_user_ns),
	        seconds(stats->cpu_system_ns), 100.0 * (double)stats->cpu_usage_ns / (double)wall_ns);
	if (stats->cpu_throttled_ns > 0)
		fprintf(file, ", throttled %.3f s", seconds(stats->cpu_throttled_ns));
	fputc('\n', file);
}

static void print_memory(FILE *file, const agentcg_stats *stats, const agentcg_limits *limits)
{
	char text[BYTES_TEXT_SIZE];

	fprintf(file, "  memory     %s at the end", format_bytes(text, stats->memory_current_bytes));
	if (stats->mask & AGENTCG_STAT_MEMORY_PEAK)
		fprintf(file, ", %s at most", format_bytes(text, stats->memory_peak_bytes));
	if (is_limited(limits, AGENTCG_LIMIT_MEMORY_MAX, limits->memory_max_bytes))
		fprintf(file, ", limit %s", format_bytes(text, limits->memory_max_bytes));
	fputc('\n', file);
	if (stats->memory_events_oom_kill > 0)
		fprintf(file, "             %" PRIu64 " killed by the out-of-memory killer\n",
		        stats->memory_events_oom_kill);
}

static void print_processes(FILE *file, const agentcg_stats *stats, const agentcg_limits *limits)
{
	fprintf(file, "  processes  %" PRIu64 " at the end", stats->pids_current);
	if (stats->mask & AGENTCG_STAT_PIDS_PEAK)
		fprintf(file, ", %" PRIu64 " at most", stats->pids_peak);
	if (is_limited(limits, AGENTCG_LIMIT_PIDS_MAX, limits->pids_max))
		fprintf(file, ", limit %" PRIu64, limits->pids_max);
	if (stats->pids_events_max > 0)
		fprintf(file, ", %" PRIu64 " refused", stats->pids_events_max);
	fputc('\n', file);
}

static void print_killed(FILE *file, const struct outcome *outcome, const struct measurements *measured)
{
	bool at_its_end = outcome->killed || outcome->time_is_up;
	uint64_t processes = measured->processes, nested = measured->stats.nr_descendants;

	fprintf(file, "  %-9s  ", outcome->killed ? "killed" : at_its_end ? "ended" : "left over");
	if (processes == UNKNOWN)
		fputs("processes", file);
	else
		fprintf(file, "%" PRIu64 " process%s", processes, processes == 1 ? "" : "es");
	if (nested > 0)
		fprintf(file, " and what was in %" PRIu64 " nested cgroup%s", nested, nested == 1 ? "" : "s");
	fputs(at_its_end ? "\n" : ", killed\n", file);
}

void print_report(FILE *file, const struct run_options *options, const struct outcome *outcome,
                  const struct measurements *measured)
{
	const agentcg_stats *stats = &measured->stats;

	print_end(file, options, outcome);
	if (stats->mask & AGENTCG_STAT_CPU)
		print_cpu(file, stats, outcome->wall_ns);
	if (stats->mask & AGENTCG_STAT_MEMORY)
		print_memory(file, stats, &options->limits);
	if (stats->mask & AGENTCG_STAT_PIDS)
		print_processes(file, stats, &options->limits);
	if (stats->populated)
		print_killed(file, outcome, measured);
}
