/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* agentcg_new(): the group is there with every limit set, or nothing is. */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char chosen[] = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";

static void a_chosen_uuid_is_taken(void)
{
	agentcg *cg;
	char uuid[AGENTCG_UUID_SIZE];

	CHECK_OK(agentcg_new(NULL, chosen, NULL, 0, 0, &cg, &why));
	agentcg_uuid(cg, uuid, sizeof(uuid));
	CHECK_STR(uuid, chosen);
	destroy_group(cg);
}

static void fresh_uuids_are_never_the_same(void)
{
	agentcg *groups[20];
	char uuids[20][AGENTCG_UUID_SIZE];

	for (int i = 0; i < 20; i++) {
		groups[i] = new_group();
		agentcg_uuid(groups[i], uuids[i], sizeof(uuids[i]));
		for (int j = 0; j < i; j++)
			CHECK(strcmp(uuids[i], uuids[j]) != 0);
	}
	for (int i = 0; i < 20; i++)
		destroy_group(groups[i]);
}

static void a_uuid_in_use_is_refused_and_its_group_unharmed(void)
{
	agentcg *cg, *second = NULL;
	pid_t child = pausing_child();

	CHECK_OK(agentcg_new(NULL, chosen, NULL, 0, 0, &cg, &why));
	CHECK_OK(agentcg_move_pid(cg, child, &why));
	CHECK_ERR(agentcg_new(NULL, chosen, NULL, 0, 0, &second, &why), -EEXIST);
	CHECK(second == NULL);
	CHECK(holds(cg, child));
	destroy_group(cg);
	check_killed(child);
}

static void a_directory_left_over_is_refused_and_left_alone(void)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_PIDS_MAX, .pids_max = 5 };
	agentcg *cg = new_group(), *second = NULL;
	char path[PATH_SIZE], file[PATH_SIZE + 16], text[64];

	agents_directory(path);
	strcat(strcat(path, "/"), chosen);
	CHECK_EQ(mkdir(path, 0755), 0);
	CHECK_ERR(agentcg_new(NULL, chosen, &limits, sizeof(limits), 0, &second, &why), -EEXIST);
	CHECK(second == NULL);
	snprintf(file, sizeof(file), "%s/pids.max", path);
	CHECK(read_in(AT_FDCWD, file, text, sizeof(text)) > 0);
	CHECK_STR(text, "max\n");
	CHECK_EQ(rmdir(path), 0);
	destroy_group(cg);
}

static void what_is_no_uuid_is_refused(void)
{
	static const char *const texts[] = {
		"", "x", ".", "..", "agent-1", "../3f2504e0-4f89-41d3-9a0c-0305e82c3301",
		"3f2504e0-4f89-41d3-9a0c-0305e82c330", "3f2504e0-4f89-41d3-9a0c-0305e82c33011",
		"3f2504e0-4f89-41d3-9a0c-0305e82c330g", "3f2504e0-4f89-41d3-9a0c-0305e82c330/",
		"3f2504e0-4f89-41d3-9a0c-0305e82c330\n", " 3f2504e0-4f89-41d3-9a0c-0305e82c330",
		"3f2504e0-4f89-41d39-a0c-0305e82c3301", "3f2504e0--4f89-41d3-9a0c-305e82c3301", "\xff\xfe\xfd",
	};
	agentcg *cg = NULL;

	for (size_t i = 0; i < COUNT(texts); i++) {
		CHECK_ERR(agentcg_new(NULL, texts[i], NULL, 0, 0, &cg, &why), -EINVAL);
		CHECK(cg == NULL);
	}
}

static void check_file(agentcg *cg, const char *file, const char *expected)
{
	char text[64];

	CHECK(read_in(agentcg_fd(cg), file, text, sizeof(text)) > 0);
	text[strcspn(text, "\n")] = '\0';
	if (strcmp(text, expected) != 0)
		CHECK_FAIL("%s is \"%s\", expected \"%s\"", file, text, expected);
}

static void limits_are_in_force_when_it_returns(void)
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

static void fields_whose_bits_are_clear_are_left_as_they_are(void)
{
	agentcg_limits limits;
	agentcg *cg;

	/* Values that would be out of range, if they were looked at. */
	check_poison(&limits, sizeof(limits));
	limits.mask = AGENTCG_LIMIT_PIDS_MAX;
	limits.pids_max = 9;
	/* A new group would be without them, which can only be a mistake. */
	CHECK_ERR(agentcg_new(NULL, NULL, &limits, sizeof(limits), 0, &cg, &why), -EINVAL);
	cg = new_group();
	CHECK_OK(agentcg_set_limits(cg, &limits, sizeof(limits), 0, &why));
	check_file(cg, "pids.max", "9");
	check_file(cg, "memory.max", "max");
	check_file(cg, "cpu.max", "max 100000");
	check_file(cg, "cpu.weight", "100");
	destroy_group(cg);
}

static void unlimited_is_the_kernels_max(void)
{
	const agentcg_limits limits = {
		.mask = AGENTCG_LIMIT_MEMORY_MAX | AGENTCG_LIMIT_SWAP_MAX | AGENTCG_LIMIT_CPU_MAX |
		        AGENTCG_LIMIT_PIDS_MAX,
		.memory_max_bytes = AGENTCG_UNLIMITED, .swap_max_bytes = AGENTCG_UNLIMITED,
		.cpu_max_millicpu = AGENTCG_UNLIMITED, .pids_max = AGENTCG_UNLIMITED,
	};
	agentcg *cg;

	CHECK_OK(agentcg_new(NULL, NULL, &limits, sizeof(limits), 0, &cg, &why));
	check_file(cg, "memory.max", "max");
	check_file(cg, "memory.swap.max", "max");
	check_file(cg, "cpu.max", "max 100000");
	check_file(cg, "pids.max", "max");
	destroy_group(cg);
}

static void the_cpu_quota_is_the_share_of_the_period(void)
{
	static const struct {
		uint64_t millicpu, period_us;
		const char *expected;
	} shares[] = {
		{ 500, 0, "50000 100000" },   { 500, 20000, "10000 20000" }, { 2000, 50000, "100000 50000" },
		{ 10, 0, "1000 100000" },     { 1, 1000000, "1000 1000000" },
		/* The kernel takes no quota under 1000 us, nor a period over a second. */
		{ 1, 0, "1000 1000000" },     { 5, 0, "1000 200000" },
	};

	for (size_t i = 0; i < COUNT(shares); i++) {
		agentcg_limits limits = { .mask = AGENTCG_LIMIT_CPU_MAX };
		agentcg *cg;

		limits.cpu_max_millicpu = shares[i].millicpu;
		limits.cpu_period_us = shares[i].period_us;
		CHECK_OK(agentcg_new(NULL, NULL, &limits, sizeof(limits), 0, &cg, &why));
		check_file(cg, "cpu.max", shares[i].expected);
		destroy_group(cg);
	}
}

static void a_limit_out_of_range_leaves_no_directory(void)
{
	/* Refused before the kernel is asked, which takes some of these for something else. */
	static const struct {
		agentcg_limits limits;
		const char *file;
	} refused[] = {
		{ { .mask = AGENTCG_LIMIT_MEMORY_MAX, .memory_max_bytes = 0 }, "memory.max" },
		{ { .mask = AGENTCG_LIMIT_MEMORY_MAX, .memory_max_bytes = 4095 }, "memory.max" },
		{ { .mask = AGENTCG_LIMIT_OOM_GROUP, .oom_group = 2 }, "memory.oom.group" },
		{ { .mask = AGENTCG_LIMIT_OOM_GROUP, .oom_group = AGENTCG_UNLIMITED }, "memory.oom.group" },
		{ { .mask = AGENTCG_LIMIT_CPU_MAX, .cpu_max_millicpu = 0 }, "cpu.max" },
		{ { .mask = AGENTCG_LIMIT_CPU_MAX, .cpu_max_millicpu = UINT64_MAX - 1 }, "cpu.max" },
		{ { .mask = AGENTCG_LIMIT_CPU_MAX, .cpu_max_millicpu = 500, .cpu_period_us = 999 }, "cpu.max" },
		{ { .mask = AGENTCG_LIMIT_CPU_MAX, .cpu_max_millicpu = 500, .cpu_period_us = 1000001 }, "cpu.max" },
		{ { .mask = AGENTCG_LIMIT_CPU_WEIGHT, .cpu_weight = 0 }, "cpu.weight" },
		{ { .mask = AGENTCG_LIMIT_CPU_WEIGHT, .cpu_weight = 10001 }, "cpu.weight" },
		{ { .mask = AGENTCG_LIMIT_CPU_WEIGHT, .cpu_weight = AGENTCG_UNLIMITED }, "cpu.weight" },
		{ { .mask = AGENTCG_LIMIT_PIDS_MAX, .pids_max = 4194305 }, "pids.max" },
		/* The last limit of several: what was set before it is undone too. */
		{ { .mask = AGENTCG_LIMIT_MEMORY_MAX | AGENTCG_LIMIT_PIDS_MAX, .memory_max_bytes = 64 << 20,
		    .pids_max = UINT64_MAX - 1 }, "pids.max" },
	};
	agentcg *cg = NULL;

	for (size_t i = 0; i < COUNT(refused); i++) {
		const agentcg_limits *limits = &refused[i].limits;

		CHECK_ERR(agentcg_new(NULL, NULL, limits, sizeof(*limits), 0, &cg, &why), -ERANGE);
		CHECK_STR(why.file, refused[i].file);
		CHECK(strstr(why.message, refused[i].file) != NULL);
		CHECK(cg == NULL);
		CHECK_EQ(agents_below(NULL), 0);
	}
}

static void a_given_parent_is_where_it_goes(void)
{
	char parent[PATH_SIZE], path[PATH_SIZE], uuid[AGENTCG_UUID_SIZE];
	agentcg_info info;
	agentcg *cg;

	make_parent(parent, "given", "+memory +pids +cpu");
	CHECK_OK(agentcg_new(parent, NULL, NULL, 0, 0, &cg, &why));
	agentcg_path(cg, path, sizeof(path));
	agentcg_uuid(cg, uuid, sizeof(uuid));
	CHECK_EQ(agents_below(parent), 1);
	CHECK_EQ(strncmp(path, parent, strlen(parent)), 0);
	CHECK_EQ(strncmp(path + strlen(parent), "/synwire/agents/", 16), 0);
	CHECK_STR(path + strlen(parent) + 16, uuid);
	CHECK_OK(agentcg_get_info(cg, &info, sizeof(info), &why));
	CHECK_EQ(info.place, AGENTCG_PLACE_GIVEN);
	destroy_group(cg);
	remove_parent(parent);
}

/* getrandom(2) never has anything to give; to wait for it ends the process. */
static void make_agents_without_randomness(void *unused)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getrandom, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, GRND_NONBLOCK | 4 /* GRND_INSECURE */, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(filter) / sizeof(filter[0]), .filter = filter };
	agentcg *one = NULL, *other = NULL;

	(void)unused;
	CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
	CHECK_OK(agentcg_new(NULL, NULL, NULL, 0, 0, &one, &why));
	CHECK_OK(agentcg_new(NULL, NULL, NULL, 0, 0, &other, &why));
	destroy_group(one);
	destroy_group(other);
}

static void no_randomness_is_waited_for_or_needed(void)
{
	in_child(make_agents_without_randomness, NULL);
}

int main(void)
{
	RUN(a_chosen_uuid_is_taken);
	RUN(fresh_uuids_are_never_the_same);
	RUN(no_randomness_is_waited_for_or_needed);
	RUN(a_uuid_in_use_is_refused_and_its_group_unharmed);
	RUN(a_directory_left_over_is_refused_and_left_alone);
	RUN(what_is_no_uuid_is_refused);
	RUN(limits_are_in_force_when_it_returns);
	RUN(fields_whose_bits_are_clear_are_left_as_they_are);
	RUN(unlimited_is_the_kernels_max);
	RUN(the_cpu_quota_is_the_share_of_the_period);
	RUN(a_limit_out_of_range_leaves_no_directory);
	RUN(a_given_parent_is_where_it_goes);
	return 0;
}
