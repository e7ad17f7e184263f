/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The bytes of agentcg_stats: fields that were not requested are 0, and unknown
 * bits of the request are ignored. tests/behaviour/stats/ compares the values with the
 * kernel's files.
 */
#include "support.h"

#include <poll.h>

static agentcg_stats read_stats(agentcg *cg, uint64_t which)
{
	agentcg_stats stats;

	check_poison(&stats, sizeof(stats));
	CHECK_OK(agentcg_read_stats(cg, which, &stats, sizeof(stats), &why));
	return stats;
}

/* Fail if a byte is not 0 that belongs neither to a field of the mask nor to mask and time_ns. */
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
			CHECK_FAIL("mask %#llx: byte %zu is not 0", (unsigned long long)mask, i);
}

static void fields_that_were_not_requested_are_0_and_not_in_the_mask(void)
{
	static const uint64_t requests[] = {
		0, AGENTCG_STAT_CPU, AGENTCG_STAT_CPU_THROTTLE, AGENTCG_STAT_MEMORY, AGENTCG_STAT_BASIC,
		AGENTCG_STAT_PIDS, AGENTCG_STAT_STATE, AGENTCG_STAT_BASIC | AGENTCG_STAT_PIDS | AGENTCG_STAT_STATE,
	};
	agentcg *cg = new_group();
	pid_t child = spinning_child();

	CHECK_OK(agentcg_move_pid(cg, child, &why));
	while (key_in(cg, "cpu.stat", "usage_usec") == 0)
		poll(NULL, 0, 10);
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		check_nothing_but(read_stats(cg, requests[i]), requests[i]);
	kill_and_reap(child);
	destroy_group(cg);
}

static void a_request_for_all_64_bits_returns_only_bits_that_exist(void)
{
	const uint64_t least = AGENTCG_STAT_BASIC | AGENTCG_STAT_PIDS | AGENTCG_STAT_STATE;
	agentcg *cg = new_group();
	agentcg_stats got = read_stats(cg, AGENTCG_STAT_ALL);

	CHECK_EQ(got.mask & least, least);
	CHECK(got.mask < UINT64_C(1) << 15);
	destroy_group(cg);
}

int main(void)
{
	RUN(fields_that_were_not_requested_are_0_and_not_in_the_mask);
	RUN(a_request_for_all_64_bits_returns_only_bits_that_exist);
	return 0;
}
