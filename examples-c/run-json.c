// SPDX-License-Identifier: MIT OR Apache-2.0
/* agentcg-run's report and measurements as JSON: one object in each line. */
#include "run.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>

struct field {
	const char *name;
	uint64_t bit;
	size_t offset;
};

#define STAT(bit, name) { #name, AGENTCG_STAT_##bit, offsetof(agentcg_stats, name) }
#define LIMIT(bit, name) { #name, AGENTCG_LIMIT_##bit, offsetof(agentcg_limits, name) }

static const struct field stats_fields[] = {
	STAT(CPU, cpu_usage_ns), STAT(CPU, cpu_user_ns), STAT(CPU, cpu_system_ns),
	STAT(CPU_THROTTLE, cpu_nr_periods), STAT(CPU_THROTTLE, cpu_nr_throttled), STAT(CPU_THROTTLE, cpu_throttled_ns),
	STAT(MEMORY, memory_current_bytes), STAT(MEMORY_PEAK, memory_peak_bytes),
	STAT(SWAP, swap_current_bytes), STAT(SWAP, swap_peak_bytes),
	STAT(MEMORY_DETAIL, memory_anon_bytes), STAT(MEMORY_DETAIL, memory_file_bytes),
	STAT(MEMORY_DETAIL, memory_kernel_bytes), STAT(MEMORY_DETAIL, memory_shmem_bytes),
	STAT(MEMORY_EVENTS, memory_events_high), STAT(MEMORY_EVENTS, memory_events_max),
	STAT(MEMORY_EVENTS, memory_events_oom), STAT(MEMORY_EVENTS, memory_events_oom_kill),
	STAT(MEMORY_EVENTS, memory_events_oom_group_kill),
	STAT(PIDS, pids_current), STAT(PIDS_PEAK, pids_peak), STAT(PIDS_EVENTS, pids_events_max),
	STAT(IO, io_read_bytes), STAT(IO, io_write_bytes), STAT(IO, io_reads), STAT(IO, io_writes),
	STAT(CPU_PRESSURE, cpu_pressure_some_us),
	STAT(MEMORY_PRESSURE, memory_pressure_some_us), STAT(MEMORY_PRESSURE, memory_pressure_full_us),
	STAT(IO_PRESSURE, io_pressure_some_us), STAT(IO_PRESSURE, io_pressure_full_us),
	STAT(STATE, populated), STAT(STATE, frozen), STAT(STATE, nr_descendants), STAT(STATE, nr_dying_descendants),
};

static const struct field limit_fields[] = {
	LIMIT(MEMORY_MAX, memory_max_bytes), LIMIT(MEMORY_HIGH, memory_high_bytes), LIMIT(MEMORY_LOW, memory_low_bytes),
	LIMIT(MEMORY_MIN, memory_min_bytes), LIMIT(SWAP_MAX, swap_max_bytes), LIMIT(OOM_GROUP, oom_group),
	LIMIT(CPU_MAX, cpu_max_millicpu), LIMIT(CPU_WEIGHT, cpu_weight), LIMIT(CPU_IDLE, cpu_idle),
	LIMIT(PIDS_MAX, pids_max), LIMIT(IO_WEIGHT, io_weight),
};

/* A byte that is not valid UTF-8 becomes U+FFFD, since JSON has no bytes. */
static void print_string(FILE *file, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	fputc('"', file);
	while (*at) {
		static const unsigned int least[] = { 0, 0, 0x80, 0x800, 0x10000 };
		size_t length = *at < 0x80 ? 1 : *at >= 0xf0 && *at < 0xf8 ? 4 : *at >= 0xe0 && *at < 0xf0 ? 3 :
		                *at >= 0xc0 && *at < 0xe0 ? 2 : 0;
		unsigned int code = length == 1 ? *at : length ? *at & (0x7fu >> length) : 0;
		bool valid = length > 0;

		for (size_t i = 1; i < length && valid; i++) {
			valid = (at[i] & 0xc0) == 0x80;
			code = code << 6 | (at[i] & 0x3f);
		}
		valid = valid && code >= least[length] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
		if (!valid)
			fputs("\\ufffd", file);
		else if (code < 0x20 || code == 0x7f)
			fprintf(file, "\\u%04x", code);
		else if (code == '"' || code == '\\')
			fprintf(file, "\\%c", (int)code);
		else
			fwrite(at, 1, length, file);
		at += valid ? length : 1;
	}
	fputc('"', file);
}

/* The fields whose bits are set. AGENTCG_UNLIMITED is null. */
static void print_fields(FILE *file, const char *name, const struct field *fields, size_t count, uint64_t mask,
                         const void *values)
{
	const char *separator = "";

	fprintf(file, ",\"%s\":{", name);
	for (size_t i = 0; i < count; i++) {
		uint64_t value;

		if (!(mask & fields[i].bit))
			continue;
		memcpy(&value, (const char *)values + fields[i].offset, sizeof(value));
		fprintf(file, "%s\"%s\":", separator, fields[i].name);
		if (value == AGENTCG_UNLIMITED)
			fputs("null", file);
		else
			fprintf(file, "%" PRIu64, value);
		separator = ",";
	}
	fputc('}', file);
}

static void begin(FILE *file, const char *type, const struct run_options *options, const char *uuid)
{
	fprintf(file, "{\"type\":\"%s\",\"label\":", type);
	if (options->label)
		print_string(file, options->label);
	else
		fputs("null", file);
	fputs(",\"tag\":", file);
	if (options->tag)
		print_string(file, options->tag);
	else
		fputs("null", file);
	if (uuid)
		fprintf(file, ",\"uuid\":\"%s\"", uuid);
}

static void print_stats(FILE *file, const agentcg_stats *stats)
{
	print_fields(file, "stats", stats_fields, sizeof(stats_fields) / sizeof(stats_fields[0]), stats->mask, stats);
}

void print_json_stats(FILE *file, const struct run_options *options, const char *uuid, uint64_t elapsed_ns,
                      const agentcg_stats *stats)
{
	begin(file, "stats", options, uuid);
	fprintf(file, ",\"elapsed_ns\":%" PRIu64, elapsed_ns);
	print_stats(file, stats);
	fputs("}\n", file);
}

static const char *result(const struct outcome *outcome)
{
	if (outcome->failure_status)
		return "failed";
	if (outcome->time_is_up)
		return "time-limit";
	if (outcome->interrupted_twice)
		return "interrupted";
	return WIFSIGNALED(outcome->wait_status) ? "signal" : "exit";
}

static void print_verdict(FILE *file, const agentcg_verdict *verdict)
{
	static const struct {
		uint64_t cause;
		const char *name;
	} causes[] = {
		{ AGENTCG_CAUSE_EXITED, "exited" },
		{ AGENTCG_CAUSE_SIGNAL_INSIDE, "signal-inside" },
		{ AGENTCG_CAUSE_SIGNAL_OUTSIDE, "signal-outside" },
		{ AGENTCG_CAUSE_KILLED, "killed" },
		{ AGENTCG_CAUSE_GUARD, "guard" },
		{ AGENTCG_CAUSE_MEMORY_LIMIT, "memory-limit" },
		{ AGENTCG_CAUSE_MEMORY_LIMIT_ABOVE, "memory-limit-above" },
		{ AGENTCG_CAUSE_MACHINE, "machine" },
		{ AGENTCG_CAUSE_OOMD, "oomd" },
	};
	const char *separator = "";

	fputs(",\"causes\":[", file);
	for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++)
		if (verdict->candidates & causes[i].cause) {
			fprintf(file, "%s\"%s\"", separator, causes[i].name);
			separator = ",";
		}
	fputs("],\"verdict\":", file);
	if (*verdict->text)
		print_string(file, verdict->text);
	else
		fputs("null", file);
}

void print_json_report(FILE *file, const struct run_options *options, const char *uuid,
                       const struct outcome *outcome, const struct measurements *measured)
{
	int status = outcome->wait_status;

	begin(file, "report", options, uuid);
	fprintf(file, ",\"result\":\"%s\"", result(outcome));
	if (outcome->failure_status) {
		fprintf(file, ",\"exit_status\":%d,\"message\":", outcome->failure_status);
		print_string(file, outcome->failure);
		fputs("}\n", file);
		return;
	}
	if (WIFSIGNALED(status)) {
		fprintf(file, ",\"exit_status\":null,\"signal\":%d,\"core_dumped\":%s", WTERMSIG(status),
		        WCOREDUMP(status) ? "true" : "false");
	} else {
		fprintf(file, ",\"exit_status\":%d,\"signal\":null,\"core_dumped\":false", WEXITSTATUS(status));
	}
	print_verdict(file, &outcome->verdict);
	fprintf(file, ",\"killed\":%s,\"wall_ns\":%" PRIu64 ",\"processes_left\":", outcome->killed ? "true" : "false",
	        outcome->wall_ns);
	if (measured->processes == UNKNOWN)
		fputs("null", file);
	else
		fprintf(file, "%" PRIu64, measured->processes);
	print_fields(file, "limits", limit_fields, sizeof(limit_fields) / sizeof(limit_fields[0]), options->limits.mask,
	             &options->limits);
	print_stats(file, &measured->stats);
	fputs("}\n", file);
}
