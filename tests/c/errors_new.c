/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The errors of agentcg_new(), which leave nothing behind, and of parents that do not exist. */
#include "refusal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static void try_to_make(const char *parent)
{
	agentcg *cg = NULL;

	PROVOKE(agentcg_new, parent, NULL, NULL, 0, 0, &cg);
	CHECK(cg == NULL);
}

static void check_file(const char *directory, const char *file, const char *expected)
{
	char path[PATH_SIZE + 32], text[256];

	snprintf(path, sizeof(path), "%s/%s", directory, file);
	CHECK(read_in(AT_FDCWD, path, text, sizeof(text)) >= 0);
	CHECK_STR(text, expected);
}

static void the_parent_is_missing(void)
{
	try_to_make("/nonexistent/parent");
}

static void the_parent_is_no_cgroup(void)
{
	try_to_make("/dev/shm");
	CHECK(!is_directory("/dev/shm/synwire"));
}

static void the_parent_is_a_file(void)
{
	char file[PATH_SIZE];

	make_parent(file, "a-file", "");
	strcat(file, "/cgroup.procs");
	try_to_make(file);
	*strrchr(file, '/') = '\0';
	remove_parent(file);
}

/* The kernel would accept "+pids" and "+cpu", which would make the parent a threaded domain. */
static void the_parent_has_processes_and_does_not_change(void)
{
	char parent[PATH_SIZE], pid[16];
	pid_t child = pausing_child();

	make_parent(parent, "populated", "");
	snprintf(pid, sizeof(pid), "%d", child);
	write_to(parent, "cgroup.procs", pid);
	try_to_make(parent);
	check_file(parent, "cgroup.type", "domain\n");
	check_file(parent, "cgroup.subtree_control", "");
	CHECK_EQ(count_subdirectories(parent), 0);
	kill_and_reap(child);
	remove_parent(parent);
}

/* A threaded cgroup makes its parent a threaded domain. */
static void the_parent_is_a_threaded_domain(void)
{
	char parent[PATH_SIZE], threads[PATH_SIZE + 16];

	make_parent(parent, "threaded", "");
	snprintf(threads, sizeof(threads), "%s/threads", parent);
	CHECK_EQ(mkdir(threads, 0755), 0);
	write_to(threads, "cgroup.type", "threaded");
	try_to_make(parent);
	CHECK_EQ(count_subdirectories(parent), 1);
	CHECK_EQ(rmdir(threads), 0);
	remove_parent(parent);
}

static void the_parent_allows_no_more_cgroups(void)
{
	char parent[PATH_SIZE];

	make_parent(parent, "narrow", "");
	write_to(parent, "cgroup.max.descendants", "2");   /* synwire and agents */
	try_to_make(parent);
	CHECK_EQ(agents_below(parent), 0);
	remove_parent(parent);
}

static void the_parent_belongs_to_another_user(void)
{
	try_to_make("/sys/fs/cgroup/user.slice");
}

/* The parent has no memory controller, because the cgroup above does not enable it. */
static void a_limit_needs_a_controller_that_is_not_available(void)
{
	agentcg_limits limits = { 0 };
	char parent[PATH_SIZE];
	agentcg *cg = NULL;
	agentcg_info info;

	make_parent(parent, "no-memory", "+pids +cpu");
	strcat(parent, "/inner");
	CHECK_EQ(mkdir(parent, 0755), 0);

	/* pids_max is set before memory_max_bytes fails, so there is something to undo. */
	limits.mask = AGENTCG_LIMIT_PIDS_MAX | AGENTCG_LIMIT_MEMORY_MAX;
	limits.memory_max_bytes = 64 << 20;
	limits.pids_max = 8;
	PROVOKE(agentcg_new, parent, NULL, &limits, sizeof(limits), 0, &cg);
	CHECK(cg == NULL);
	CHECK_EQ(agents_below(parent), 0);

	/* Limits of the available controllers work. */
	limits.mask = AGENTCG_LIMIT_PIDS_MAX;
	limits.memory_max_bytes = 0;
	CHECK_OK(agentcg_new(parent, NULL, &limits, sizeof(limits), 0, &cg, &why));
	CHECK_EQ(number_in(cg, "pids.max"), 8);
	CHECK_OK(agentcg_get_info(cg, &info, sizeof(info), &why));
	CHECK_EQ(info.controllers, AGENTCG_CONTROLLER_CPU | AGENTCG_CONTROLLER_PIDS);
	destroy_group(cg);

	remove_parent(parent);
	*strrchr(parent, '/') = '\0';
	CHECK_EQ(rmdir(parent), 0);
}

static void the_uuid_is_in_use(void)
{
	static const char uuid[] = "6fa459ea-ee8a-4ca4-894e-db77e160355e";
	agentcg *first, *second = NULL;

	CHECK_OK(agentcg_new(NULL, uuid, NULL, 0, 0, &first, &why));
	PROVOKE(agentcg_new, NULL, uuid, NULL, 0, 0, &second);
	CHECK(second == NULL);
	destroy_group(first);
}

static void the_uuid_is_invalid(void)
{
	agentcg *cg;

	PROVOKE(agentcg_new, NULL, "agent-7", NULL, 0, 0, &cg);
}

static void a_limit_is_out_of_range(void)
{
	const agentcg_limits limits = { .mask = AGENTCG_LIMIT_CPU_WEIGHT, .cpu_weight = 10001 };
	agentcg *cg;

	PROVOKE(agentcg_new, NULL, NULL, &limits, sizeof(limits), 0, &cg);
}

static void a_field_is_set_without_its_bit(void)
{
	static const char *const fields[] = {
		"memory_max_bytes", "memory_high_bytes", "memory_low_bytes", "memory_min_bytes", "swap_max_bytes",
		"oom_group", "cpu_max_millicpu", "cpu_period_us", "cpu_burst_us", "cpu_weight", "cpu_idle", "pids_max",
		"io_weight", "max_depth", "max_descendants",
	};
	agentcg *cg = NULL;

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		agentcg_limits limits = { 0 };

		((uint64_t *)&limits)[1 + i] = 1;   /* behind the mask */
		PROVOKE(agentcg_new, NULL, NULL, &limits, sizeof(limits), 0, &cg);
		CHECK_EQ(outcome->code, -EINVAL);
		if (!strstr(outcome->error.message, fields[i]))
			CHECK_FAIL("%s is not named: %s", fields[i], outcome->error.message);
	}
	CHECK(cg == NULL);
}

static void the_size_is_that_of_a_pointer(void)
{
	const agentcg_limits limits = { 0 }, *pointer = &limits;
	agentcg *cg;

	PROVOKE(agentcg_new, NULL, NULL, pointer, sizeof(pointer), 0, &cg);
}

static void the_parent_to_open_from_is_missing(void)
{
	agentcg *cg = NULL;

	PROVOKE(agentcg_open, "/nonexistent/parent", "6fa459ea-ee8a-4ca4-894e-db77e160355e", 0, &cg);
	CHECK(cg == NULL);
}

static void the_parent_to_list_is_missing(void)
{
	PROVOKE(agentcg_list, "/nonexistent/parent", NULL, 0, 0);
}

static void the_parent_to_reap_is_missing(void)
{
	PROVOKE(agentcg_reap, "/nonexistent/parent", 0);
}

static const agentcg_limits some = { .mask = AGENTCG_LIMIT_PIDS_MAX, .pids_max = 50 };

static void the_parent_to_limit_is_missing(void)
{
	agentcg_limits limits;

	PROVOKE(agentcg_get_place_limits, "/nonexistent/parent", &limits, sizeof(limits));
	CHECK_EQ(outcome->code, -ENOENT);
	PROVOKE(agentcg_set_place_limits, "/nonexistent/parent", &some, sizeof(some), 0);
}

static void the_parent_to_limit_is_no_cgroup(void)
{
	PROVOKE(agentcg_set_place_limits, "/dev/shm", &some, sizeof(some), 0);
	CHECK(!is_directory("/dev/shm/synwire"));
}

static void the_place_has_no_agents_and_no_limits(void)
{
	agentcg_limits limits;

	PROVOKE(agentcg_get_place_limits, NULL, &limits, sizeof(limits));
}

static void a_limit_of_a_place_is_out_of_range(void)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_CPU_WEIGHT, .cpu_weight = 10001 };

	PROVOKE(agentcg_set_place_limits, NULL, &limits, sizeof(limits), 0);
}

static void a_limit_of_a_place_is_unknown(void)
{
	agentcg_limits limits = { .mask = 1ull << 40 };

	PROVOKE(agentcg_set_place_limits, NULL, &limits, sizeof(limits), 0);
}

static void the_place_belongs_to_another_user(void)
{
	PROVOKE(agentcg_set_place_limits, "/sys/fs/cgroup/user.slice", &some, sizeof(some), 0);
}

static void the_parent_of_a_tag_is_missing(void)
{
	agentcg_new_options options = { .parent = "/nonexistent/parent", .tag = "x" };
	agentcg *cg = NULL;

	PROVOKE(agentcg_new_with, &options, sizeof(options), &cg);
	CHECK_EQ(outcome->code, -ENOENT);
	PROVOKE(agentcg_open_tagged, "/nonexistent/parent", "6fa459ea-ee8a-4ca4-894e-db77e160355e", "x", 0, &cg);
	CHECK_EQ(outcome->code, -ENOENT);
	CHECK(cg == NULL);
	PROVOKE(agentcg_list_tagged, "/nonexistent/parent", "x", NULL, 0, 0);
	CHECK_EQ(outcome->code, -ENOENT);
	PROVOKE(agentcg_reap_tagged, "/nonexistent/parent", "x", 0);
}

static void the_label_has_a_control_character(void)
{
	agentcg_new_options options = { .label = "a\033[2J" };
	agentcg *cg;

	PROVOKE(agentcg_new_with, &options, sizeof(options), &cg);
}

static void the_tag_has_a_blank(void)
{
	agentcg_new_options options = { .tag = "a b" };
	agentcg *cg;

	PROVOKE(agentcg_new_with, &options, sizeof(options), &cg);
}

static void the_agent_has_another_tag(void)
{
	agentcg_new_options options = { .uuid = "6fa459ea-ee8a-4ca4-894e-db77e160355e", .tag = "mine" };
	agentcg *cg, *same = NULL;

	CHECK_OK(agentcg_new_with(&options, sizeof(options), &cg, &why));
	PROVOKE(agentcg_open_tagged, NULL, options.uuid, "other", AGENTCG_OPEN_OWN, &same);
	CHECK(same == NULL);
	destroy_group(cg);
}

static void the_label_is_changed_by_a_non_owner(void)
{
	agentcg *cg = new_group(), *guest;
	char uuid[AGENTCG_UUID_SIZE];

	CHECK_EQ(agentcg_uuid(cg, uuid, sizeof(uuid)), AGENTCG_UUID_SIZE - 1);
	CHECK_OK(agentcg_open(NULL, uuid, 0, &guest, &why));
	PROVOKE(agentcg_set_label, guest, "x");
	agentcg_free(guest);
	destroy_group(cg);
}

static const struct refusal refusals[] = {
	ROW(the_parent_is_missing, -ENOENT, 0, "/nonexistent/parent does not exist", ANYBODY),
	ROW(the_parent_to_open_from_is_missing, -ENOENT, 0, "/nonexistent/parent does not exist", ANYBODY),
	ROW(the_parent_to_list_is_missing, -ENOENT, 0, "/nonexistent/parent does not exist", ANYBODY),
	ROW(the_parent_to_reap_is_missing, -ENOENT, 0, "/nonexistent/parent does not exist", ANYBODY),
	ROW(the_parent_of_a_tag_is_missing, -ENOENT, 0, "/nonexistent/parent does not exist", ANYBODY),
	ROW(the_parent_to_limit_is_missing, -ENOENT, 0, "/nonexistent/parent does not exist", ANYBODY),
	ROW(the_parent_to_limit_is_no_cgroup, -ENODEV, WHY(NO_CGROUP2), "/dev/shm", ANYBODY),
	ROW(the_place_has_no_agents_and_no_limits, -ENOENT, 0, "has no agents and no limits", ANYBODY),
	ROW(a_limit_of_a_place_is_out_of_range, -ERANGE, 0, "10001", ANYBODY),
	ROW(a_limit_of_a_place_is_unknown, -E2BIG, 0, "limits.mask", ANYBODY),
	ROW(the_place_belongs_to_another_user, -EACCES, WHY(NOT_DELEGATED), "user.slice", NOT_ROOT),
	ROW(the_label_has_a_control_character, -EINVAL, 0, "63 bytes", ANYBODY),
	ROW(the_tag_has_a_blank, -EINVAL, 0, "1 to 63 letters", ANYBODY),
	ROW(the_agent_has_another_tag, -ENOENT, 0, "does not have the tag other", ANYBODY),
	ROW(the_label_is_changed_by_a_non_owner, -EPERM, 0, "owner", ANYBODY),
	ROW(a_field_is_set_without_its_bit, -EINVAL, 0, "AGENTCG_LIMIT_MAX_DESCENDANTS is not in limits.mask",
	    ANYBODY),
	ROW(the_size_is_that_of_a_pointer, -EINVAL, 0, "size of a pointer", ANYBODY),
	ROW(the_parent_is_no_cgroup, -ENODEV, WHY(NO_CGROUP2), "/dev/shm", ANYBODY),
	ROW(the_parent_is_a_file, -ENODEV, WHY(NO_CGROUP2), "cgroup.procs", ANYBODY),
	ROW(the_parent_has_processes_and_does_not_change, -EBUSY, WHY(POPULATED), "process", ANYBODY),
	ROW(the_parent_is_a_threaded_domain, -EOPNOTSUPP, WHY(THREADED), "thread", ANYBODY),
	ROW(the_parent_allows_no_more_cgroups, -EAGAIN, WHY(NESTING_LIMIT), "cgroup.max.descendants", ANYBODY),
	ROW(the_parent_belongs_to_another_user, -EACCES, WHY(NOT_DELEGATED), "user.slice", NOT_ROOT),
	ROW(a_limit_needs_a_controller_that_is_not_available, -EOPNOTSUPP, WHY(NO_CONTROLLER), "memory.max",
	    ANYBODY),
	ROW(the_uuid_is_in_use, -EEXIST, 0, "6fa459ea-ee8a-4ca4-894e-db77e160355e", ANYBODY),
	ROW(the_uuid_is_invalid, -EINVAL, 0, "uuid", ANYBODY),
	ROW(a_limit_is_out_of_range, -ERANGE, 0, "10001", ANYBODY),
};

int main(void)
{
	run_refusals(refusals, sizeof(refusals) / sizeof(refusals[0]));
	return 0;
}
