/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Compares libagentcg with the same system calls made by hand. bench/run makes the cgroup for it; see README.md. */
#include "bench.h"
#include "measure.h"

#include <agentcg.h>
#include <err.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#define MAX_BLOCKS 501

static int list, quick;
static struct controllers have;
static const char *only = "";   /* prefix of the names of the operations to run */

struct result {
	double floor_ns, library_ns;            /* medians over the blocks */
	double ratio, ratio_low, ratio_high;    /* of pairs of blocks: median and quartiles */
	unsigned floor_calls[2], calls[2];      /* minimum and maximum over the rounds */
	unsigned clock_calls;
};

static double time_block(const struct operation *op, const struct side *side)
{
	if (!op->repeatable)
		op->setup(side, op);
	double start_ns = now_ns();
	for (unsigned i = 0; i < op->batch; i++)
		op->run(side, i);
	double end_ns = now_ns();
	if (!op->repeatable)
		op->teardown(side, op);
	return (end_ns - start_ns) / op->batch;
}

static void time_pairs(const struct operation *op, struct result *r)
{
	double floor_ns[MAX_BLOCKS], library_ns[MAX_BLOCKS], ratio[MAX_BLOCKS];
	unsigned n = quick ? (op->blocks + 3) / 4 : op->blocks;

	if (op->repeatable) {
		op->setup(&floor_side, op);
		op->setup(&library_side, op);
	}
	time_block(op, &floor_side);   /* warm-up */
	time_block(op, &library_side);
	for (unsigned i = 0; i < n; i++) {
		if (i % 2 == 0)        /* each side goes first equally often */
			floor_ns[i] = time_block(op, &floor_side);
		library_ns[i] = time_block(op, &library_side);
		if (i % 2 == 1)
			floor_ns[i] = time_block(op, &floor_side);
		ratio[i] = library_ns[i] / floor_ns[i];
	}
	if (op->repeatable) {
		op->teardown(&floor_side, op);
		op->teardown(&library_side, op);
	}
	sort(floor_ns, n);
	sort(library_ns, n);
	sort(ratio, n);
	r->floor_ns = floor_ns[n / 2];
	r->library_ns = library_ns[n / 2];
	r->ratio = ratio[n / 2];
	r->ratio_low = ratio[n / 4];
	r->ratio_high = ratio[n - 1 - n / 4];
}

static unsigned count_calls(const struct operation *op, const struct side *side, unsigned calls[2])
{
	static struct syscalls s;

	for (int round = 0; round < (op->processes > 100 ? 1 : 3); round++) {
		syscalls_count(op, side, &s);
		calls[0] = round == 0 || s.total < calls[0] ? s.total : calls[0];
		calls[1] = round == 0 || s.total > calls[1] ? s.total : calls[1];
	}
	if (list) {
		printf("%s, %s:", op->name, side->name);
		syscalls_print(&s);
	}
	return s.clock;
}

static void print_row(const char *name, const struct result *r)
{
	char quartiles[32], floor_calls[32], calls[32];

	snprintf(quartiles, sizeof(quartiles), "(%.2f-%.2f)", r->ratio_low, r->ratio_high);
	snprintf(floor_calls, sizeof(floor_calls), r->floor_calls[0] == r->floor_calls[1] ? "%u" : "%u-%u",
	         r->floor_calls[0], r->floor_calls[1]);
	snprintf(calls, sizeof(calls), r->calls[0] == r->calls[1] ? "%u" : "%u-%u", r->calls[0], r->calls[1]);
	printf("%-17s %12.0f %12.0f %6.2f %-12s %8s %8s %6u\n", name, r->floor_ns, r->library_ns, r->ratio,
	       quartiles, floor_calls, calls, r->clock_calls);
}

static unsigned long allocations_of_10000_reads(void)
{
	const struct operation *op = &operations[READ];
	unsigned long before = allocations;

	op->setup(&library_side, op);
	if (allocations == before)
		errx(2, "agentcg_new made no allocation that was counted: the counting does not work");
	before = allocations;
	for (unsigned i = 0; i < 10000; i++)
		op->run(&library_side, i);
	unsigned long made = allocations - before;
	op->teardown(&library_side, op);
	return made;
}

static int is_named(const char *name)
{
	return strncmp(name, only, strlen(only)) == 0;
}

static int has_all(void)
{
	return have.cpu && have.memory && have.pids;
}

static int is_asked_for(unsigned i)
{
	const struct operation *op = &operations[i];

	return !(quick && op->slow) && !(op->limits && !has_all()) && is_named(op->name);
}

static void print_targets(const struct result *r)
{
	if (is_asked_for(READ)) {
		unsigned long made = allocations_of_10000_reads();
		if (have.memory)
			target("read_stats BASIC, system calls, exactly 2", r[READ].calls[1],
			       r[READ].calls[0] == 2 && r[READ].calls[1] == 2);
		target("read_stats, times the floor, at most 1.15", r[READ].ratio, r[READ].ratio <= 1.15);
		target("10000 read_stats after the first, allocations, none", (double)made, made == 0);
	}
	if (is_asked_for(NEW) && has_all())
		target("new with three limits, system calls, at most 30", r[NEW].calls[1], r[NEW].calls[1] <= 30);
	if (is_asked_for(SET_LIMITS)) {
		int over = (int)r[SET_LIMITS].calls[1] - (int)r[SET_LIMITS].floor_calls[0];
		target("set_limits of three, system calls over the floor, at most 6", over, over <= 6);
	}
	for (unsigned i = FIND; i <= FIND_PIDFD; i++) {
		char what[64];

		/* In the lab a system call takes 10 us or more. */
		if (!is_asked_for(i) || getenv("LAB_LAYOUT"))
			continue;
		snprintf(what, sizeof(what), "%s, times the floor, at most 1.25", operations[i].name);
		target(what, r[i].ratio, r[i].ratio <= 1.25);
		snprintf(what, sizeof(what), "%s, us, at most 10", operations[i].name);
		target(what, r[i].library_ns / 1000, r[i].library_ns <= 10000);
	}
	for (unsigned i = KILL_1; i <= KILL_5000; i++) {
		char what[64];
		snprintf(what, sizeof(what), "%s, times the floor, at most 1.25", operations[i].name);
		if (is_asked_for(i))
			target(what, r[i].ratio, r[i].ratio <= 1.25);
	}
}

static void print_waiting(void)
{
	double floor_us = waiting_cpu_us(&floor_side), library_us = waiting_cpu_us(&library_side);

	printf("a second of wait_empty takes %.0f us of CPU time, one of poll(2) alone %.0f\n", library_us, floor_us);
	target("wait_empty, us of CPU time a second, at most 2000", library_us, library_us <= 2000);
}

static int print_where(void)
{
	char where[PATH_MAX];
	agentcg_error error;
	int code = agentcg_discover_parent(where, sizeof(where), &error);

	if (code < 0)
		errx(3, "%s (%d)", error.message, code);
	puts(where);
	return 0;
}

int main(int argc, char **argv)
{
	static struct result results[OPERATIONS];
	char floor_dir[PATH_MAX];
	struct utsname os;
	sigset_t chld;

	if (argc == 2 && strcmp(argv[1], "--where") == 0)
		return print_where();
	int i = 1;
	for (; i < argc - 1; i++) {
		if (strcmp(argv[i], "--list") == 0)
			list = 1;
		else if (strcmp(argv[i], "--quick") == 0)
			quick = 1;
		else if (strcmp(argv[i], "--only") == 0)
			only = argv[++i];
		else
			break;
	}
	if (i != argc - 1)
		errx(2, "usage: %s --where | [--list] [--quick] [--only NAME] CGROUP-DIRECTORY", argv[0]);
	setvbuf(stdout, NULL, _IOLBF, 0);

	/* SIGCHLD of the dying processes must not interrupt the traced operation. */
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);

	/* agentcg_new() makes PARENT/synwire/agents/UUID. The floor's groups have the same depth. */
	const char *parent = argv[argc - 1];
	snprintf(floor_dir, sizeof(floor_dir), "%s/floor/agents", parent);
	have = floor_init(floor_dir);
	library_init(parent, have);
	uname(&os);
	printf("agentcg %s, Linux %s, limits:%s%s%s%s\n", agentcg_version_string(), os.release,
	       have.memory ? " memory" : "", have.cpu ? " cpu" : "", have.pids ? " pids" : "",
	       have.memory || have.cpu || have.pids ? "" : " none available, read_stats reads only cpu.stat");

	/* The first agent makes the tree and the last removes it. One that stays keeps this out of the measurement. */
	void *stays = library_side.make();
	printf("%-17s %12s %12s %6s %-12s %8s %8s %6s\n", "", "floor", "agentcg", "ratio", "(quartiles)",
	       "floor", "agentcg", "clock");
	for (unsigned o = 0; o < OPERATIONS; o++) {
		struct result *r = &results[o];
		if (!is_asked_for(o))
			continue;
		count_calls(&operations[o], &floor_side, r->floor_calls);
		r->clock_calls = count_calls(&operations[o], &library_side, r->calls);
		time_pairs(&operations[o], r);
		print_row(operations[o].name, r);
	}
	print_targets(results);
	if (!quick && is_named("wait_empty"))
		print_waiting();
	library_side.remove(stays);
	return missed ? 1 : 0;
}
