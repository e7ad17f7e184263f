/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* agentcg_read_stats() against the same files read by hand. */
#include "support.h"

#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

static agentcg_stats read_stats(agentcg *cg, uint64_t which)
{
	agentcg_stats stats;

	check_poison(&stats, sizeof(stats));
	CHECK_OK(agentcg_read_stats(cg, which, &stats, sizeof(stats), &why));
	return stats;
}

/* A counter read between two readings by hand lies between them. */
struct cpu { uint64_t usage_ns, user_ns, system_ns, nr_periods, nr_throttled, throttled_ns; };

static struct cpu cpu_by_hand(agentcg *cg)
{
	struct cpu cpu = {
		key_in(cg, "cpu.stat", "usage_usec") * 1000,     key_in(cg, "cpu.stat", "user_usec") * 1000,
		key_in(cg, "cpu.stat", "system_usec") * 1000,    key_in(cg, "cpu.stat", "nr_periods"),
		key_in(cg, "cpu.stat", "nr_throttled"),          key_in(cg, "cpu.stat", "throttled_usec") * 1000,
	};
	return cpu;
}

#define BETWEEN(before, got, after) CHECK((before) <= (got) && (got) <= (after))

static void cpu_times_are_those_of_cpu_stat_in_nanoseconds(void)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_CPU_MAX, .cpu_max_millicpu = 200 };
	struct cpu before, after;
	agentcg_stats got;
	agentcg *cg;
	pid_t child = spinning_child();

	CHECK_OK(agentcg_new(NULL, NULL, &limits, sizeof(limits), 0, &cg, &why));
	CHECK_OK(agentcg_move_pid(cg, child, &why));
	/* Until there is something to count. The kernel tells user from system time by what a tick
	 * happens to hit, so that one of them may well stay 0: they need only differ. */
	do {
		poll(NULL, 0, 20);
		before = cpu_by_hand(cg);
	} while (before.user_ns == before.system_ns || before.nr_throttled == 0 || before.throttled_ns == 0);
	got = read_stats(cg, AGENTCG_STAT_CPU | AGENTCG_STAT_CPU_THROTTLE);
	after = cpu_by_hand(cg);

	CHECK_EQ(got.mask, AGENTCG_STAT_CPU | AGENTCG_STAT_CPU_THROTTLE);
	BETWEEN(before.usage_ns, got.cpu_usage_ns, after.usage_ns);
	BETWEEN(before.user_ns, got.cpu_user_ns, after.user_ns);
	BETWEEN(before.system_ns, got.cpu_system_ns, after.system_ns);
	BETWEEN(before.nr_periods, got.cpu_nr_periods, after.nr_periods);
	BETWEEN(before.nr_throttled, got.cpu_nr_throttled, after.nr_throttled);
	BETWEEN(before.throttled_ns, got.cpu_throttled_ns, after.throttled_ns);

	kill_and_reap(child);
	destroy_group(cg);
}

static void memory_is_that_of_memory_current(void)
{
	const size_t size = 8 << 20;
	agentcg *cg = new_group();
	uint64_t before, after;
	agentcg_stats got;
	int ends[2];
	char byte;
	pid_t child;

	CHECK_EQ(pipe(ends), 0);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		char *memory = malloc(size);

		if (!memory || agentcg_move_self(cg) != 0)
			_exit(1);
		memset(memory, 1, size);
		for (ssize_t sent = write(ends[1], memory, 1); sent == 1; )
			pause();
		_exit(1);
	}
	close(ends[1]);
	CHECK_EQ(read(ends[0], &byte, 1), 1);
	close(ends[0]);

	/* It goes up and down by itself: compare while it stands still. */
	do {
		before = number_in(cg, "memory.current");
		got = read_stats(cg, AGENTCG_STAT_MEMORY);
		after = number_in(cg, "memory.current");
	} while (before != after);
	CHECK_EQ(got.mask, AGENTCG_STAT_MEMORY);
	CHECK_EQ(got.memory_current_bytes, before);
	CHECK(got.memory_current_bytes >= size);

	kill_and_reap(child);
	destroy_group(cg);
}

static void pids_are_counted_as_in_pids_current(void)
{
	agentcg *cg = new_group();
	pid_t children[5];

	for (int i = 0; i < 5; i++) {
		children[i] = pausing_child();
		CHECK_OK(agentcg_move_pid(cg, children[i], &why));
		CHECK_EQ(number_in(cg, "pids.current"), i + 1);
		CHECK_EQ(read_stats(cg, AGENTCG_STAT_PIDS).pids_current, i + 1);
	}
	for (int i = 0; i < 5; i++)
		kill_and_reap(children[i]);
	CHECK_EQ(read_stats(cg, AGENTCG_STAT_PIDS).pids_current, 0);
	destroy_group(cg);
}

static void state_is_that_of_cgroup_events_and_cgroup_stat(void)
{
	agentcg *cg = new_group();
	pid_t child = pausing_child();
	agentcg_stats got = read_stats(cg, AGENTCG_STAT_STATE);

	CHECK_EQ(got.mask, AGENTCG_STAT_STATE);
	CHECK_EQ(got.populated, 0);
	CHECK_EQ(got.frozen, 0);
	CHECK_EQ(got.nr_descendants, 0);

	CHECK_OK(agentcg_move_pid(cg, child, &why));
	CHECK_EQ(mkdirat(agentcg_fd(cg), "inner", 0755), 0);
	CHECK_EQ(mkdirat(agentcg_fd(cg), "inner/most", 0755), 0);
	CHECK_EQ(write_in(agentcg_fd(cg), "cgroup.freeze", "1"), 0);
	while (key_in(cg, "cgroup.events", "frozen") == 0)
		poll(NULL, 0, 1);
	got = read_stats(cg, AGENTCG_STAT_STATE);
	CHECK_EQ(got.populated, 1);
	CHECK_EQ(got.frozen, 1);
	CHECK_EQ(got.nr_descendants, 2);
	CHECK_EQ(got.nr_dying_descendants, key_in(cg, "cgroup.stat", "nr_dying_descendants"));

	CHECK_EQ(write_in(agentcg_fd(cg), "cgroup.freeze", "0"), 0);
	kill_and_reap(child);
	destroy_group(cg);
}

/* Bytes of a struct that are 0 or belong to one of the named fields. */
static void check_nothing_but(agentcg_stats stats, uint64_t mask)
{
	const unsigned char *byte = (const unsigned char *)&stats;

	CHECK_EQ(stats.mask, mask);
	CHECK(stats.time_ns != 0);
	stats.mask = stats.time_ns = 0;
	if (mask & AGENTCG_STAT_CPU)
		stats.cpu_usage_ns = stats.cpu_user_ns = stats.cpu_system_ns = 0;
	if (mask & AGENTCG_STAT_CPU_THROTTLE)
		stats.cpu_nr_periods = stats.cpu_nr_throttled = stats.cpu_throttled_ns = 0;
	if (mask & AGENTCG_STAT_MEMORY)
		stats.memory_current_bytes = 0;
	if (mask & AGENTCG_STAT_PIDS)
		stats.pids_current = 0;
	if (mask & AGENTCG_STAT_STATE)
		stats.populated = stats.frozen = stats.nr_descendants = stats.nr_dying_descendants = 0;
	for (size_t i = 0; i < sizeof(stats); i++)
		if (byte[i] != 0)
			CHECK_FAIL("asked for %#llx, and byte %zu is not 0", (unsigned long long)mask, i);
}

static void what_was_not_asked_for_is_0_and_not_in_the_mask(void)
{
	static const uint64_t questions[] = {
		0, AGENTCG_STAT_CPU, AGENTCG_STAT_CPU_THROTTLE, AGENTCG_STAT_MEMORY, AGENTCG_STAT_BASIC,
		AGENTCG_STAT_PIDS, AGENTCG_STAT_STATE, AGENTCG_STAT_BASIC | AGENTCG_STAT_PIDS | AGENTCG_STAT_STATE,
	};
	agentcg *cg = new_group();
	pid_t child = spinning_child();

	CHECK_OK(agentcg_move_pid(cg, child, &why));
	while (key_in(cg, "cpu.stat", "usage_usec") == 0)
		poll(NULL, 0, 10);
	for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++)
		check_nothing_but(read_stats(cg, questions[i]), questions[i]);
	kill_and_reap(child);
	destroy_group(cg);
}

static void asking_for_all_gives_what_there_is(void)
{
	const uint64_t least = AGENTCG_STAT_BASIC | AGENTCG_STAT_PIDS | AGENTCG_STAT_STATE;
	agentcg *cg = new_group();
	agentcg_stats got = read_stats(cg, AGENTCG_STAT_ALL);

	CHECK_EQ(got.mask & least, least);
	CHECK(got.mask < UINT64_C(1) << 15);   /* 64 bits asked for, but only those that exist answered */
	destroy_group(cg);
}

static void a_controller_that_is_not_there_leaves_its_bits_clear(void)
{
	const uint64_t all = AGENTCG_STAT_BASIC | AGENTCG_STAT_PIDS | AGENTCG_STAT_STATE;
	char parent[PATH_SIZE];
	agentcg *cg;
	pid_t child = pausing_child();

	/* Below it there are no controllers at all, and so no files but cpu.stat and cgroup.*. */
	make_parent(parent, "bare-outer", "");
	strcat(parent, "/bare");
	CHECK_EQ(mkdir(parent, 0755), 0);
	CHECK_OK(agentcg_new(parent, NULL, NULL, 0, 0, &cg, &why));
	CHECK_OK(agentcg_move_pid(cg, child, &why));
	for (int i = 0; i < 2; i++)
		check_nothing_but(read_stats(cg, all), AGENTCG_STAT_CPU | AGENTCG_STAT_STATE);
	kill_and_reap(child);
	destroy_group(cg);
	remove_parent(parent);
	*strrchr(parent, '/') = '\0';
	CHECK_EQ(rmdir(parent), 0);
}

static void each_reading_is_stamped_with_the_monotonic_clock(void)
{
	agentcg *cg = new_group();

	for (int i = 0; i < 3; i++) {
		int64_t before = now_ms();
		agentcg_stats got = read_stats(cg, AGENTCG_STAT_BASIC);
		int64_t after = now_ms();

		BETWEEN((uint64_t)before, got.time_ns / 1000000, (uint64_t)after);
	}
	destroy_group(cg);
}

static void destroy_gives_the_last_readings(void)
{
	agentcg *cg = new_group();
	agentcg_stats final, last;
	pid_t child = spinning_child();

	CHECK_OK(agentcg_move_pid(cg, child, &why));
	do {
		poll(NULL, 0, 10);
		last = read_stats(cg, AGENTCG_STAT_CPU);
	} while (last.cpu_usage_ns < 50 * 1000 * 1000);
	CHECK_OK(agentcg_destroy(cg, 0, SOON_MS, &final, sizeof(final), &why));
	check_killed(child);

	CHECK((final.mask & last.mask) == last.mask);
	CHECK(final.mask & AGENTCG_STAT_MEMORY);
	CHECK(final.cpu_usage_ns >= last.cpu_usage_ns);
	CHECK(final.time_ns > last.time_ns);
	CHECK_EQ(final.populated, 0);
}

int main(void)
{
	RUN(cpu_times_are_those_of_cpu_stat_in_nanoseconds);
	RUN(memory_is_that_of_memory_current);
	RUN(pids_are_counted_as_in_pids_current);
	RUN(state_is_that_of_cgroup_events_and_cgroup_stat);
	RUN(what_was_not_asked_for_is_0_and_not_in_the_mask);
	RUN(asking_for_all_gives_what_there_is);
	RUN(a_controller_that_is_not_there_leaves_its_bits_clear);
	RUN(each_reading_is_stamped_with_the_monotonic_clock);
	RUN(destroy_gives_the_last_readings);
	return 0;
}
