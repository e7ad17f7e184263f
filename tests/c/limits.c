/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * agentcg_limits as a C struct: each field with its bit is written to its file,
 * a field without its bit is not, and an integer that stands for a boolean is 0
 * or 1. tests/behaviour/limits_set.rs tests the values and ranges of each limit.
 */
#include "support.h"

#include <errno.h>

static void check_file(agentcg *cg, const char *file, const char *expected)
{
	char text[64];

	CHECK(read_in(agentcg_fd(cg), file, text, sizeof(text)) > 0);
	text[strcspn(text, "\n")] = '\0';
	if (strcmp(text, expected) != 0)
		CHECK_FAIL("%s is \"%s\", expected \"%s\"", file, text, expected);
}

static void fields_whose_bits_are_set_are_written_to_their_files(void)
{
	const agentcg_limits limits = {
		.mask = AGENTCG_LIMIT_MEMORY_MAX | AGENTCG_LIMIT_MEMORY_HIGH | AGENTCG_LIMIT_SWAP_MAX |
		        AGENTCG_LIMIT_OOM_GROUP | AGENTCG_LIMIT_CPU_MAX | AGENTCG_LIMIT_CPU_WEIGHT |
		        AGENTCG_LIMIT_PIDS_MAX,
		.memory_max_bytes = 64 << 20, .memory_high_bytes = 48 << 20, .oom_group = 1,
		.cpu_max_millicpu = 1500, .cpu_weight = 42, .pids_max = 32,
	};
	agentcg *cg;

	CHECK_OK(agentcg_new(NULL, NULL, &limits, sizeof(limits), 0, &cg, &why));
	check_file(cg, "memory.max", "67108864");
	check_file(cg, "memory.high", "50331648");
	check_file(cg, "memory.swap.max", "0");
	check_file(cg, "memory.oom.group", "1");
	check_file(cg, "cpu.max", "150000 100000");
	check_file(cg, "cpu.weight", "42");
	check_file(cg, "pids.max", "32");
	destroy_group(cg);
}

static void fields_whose_bits_are_clear_are_not_written(void)
{
	agentcg_limits limits;
	agentcg *cg;

	/* The other fields have values that are out of range. */
	check_poison(&limits, sizeof(limits));
	limits.mask = AGENTCG_LIMIT_PIDS_MAX;
	limits.pids_max = 9;
	/* For a new group, a value without its bit is a mistake. */
	CHECK_ERR(agentcg_new(NULL, NULL, &limits, sizeof(limits), 0, &cg, &why), -EINVAL);
	cg = new_group();
	CHECK_OK(agentcg_set_limits(cg, &limits, sizeof(limits), 0, &why));
	check_file(cg, "pids.max", "9");
	check_file(cg, "memory.max", "max");
	check_file(cg, "cpu.max", "max 100000");
	check_file(cg, "cpu.weight", "100");
	destroy_group(cg);
}

/* Rust has booleans here. */
static void a_boolean_that_is_neither_0_nor_1_is_out_of_range(void)
{
	static const struct {
		agentcg_limits limits;
		const char *file;
	} refused[] = {
		{ { .mask = AGENTCG_LIMIT_OOM_GROUP, .oom_group = 2 }, "memory.oom.group" },
		{ { .mask = AGENTCG_LIMIT_OOM_GROUP, .oom_group = AGENTCG_UNLIMITED }, "memory.oom.group" },
		{ { .mask = AGENTCG_LIMIT_CPU_IDLE, .cpu_idle = 2 }, "cpu.idle" },
	};
	agentcg *cg = NULL;

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		const agentcg_limits *limits = &refused[i].limits;

		CHECK_ERR(agentcg_new(NULL, NULL, limits, sizeof(*limits), 0, &cg, &why), -ERANGE);
		CHECK_STR(why.file, refused[i].file);
		CHECK(strstr(why.message, refused[i].file) != NULL);
		CHECK(cg == NULL);
		CHECK_EQ(agents_below(NULL), 0);
	}
}

int main(void)
{
	RUN(fields_whose_bits_are_set_are_written_to_their_files);
	RUN(fields_whose_bits_are_clear_are_not_written);
	RUN(a_boolean_that_is_neither_0_nor_1_is_out_of_range);
	return 0;
}
