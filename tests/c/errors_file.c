/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* agentcg_read_file() and agentcg_write_file(): results and errors. */
#include "refusal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char *const invalid_names[] = {
	"", ".", "..", "/", "a/b", "../memory.max", "cgroup.procs/", "cgroup.procs\n", "cgroup procs", ".procs", "1", "-x",
	"\xc3\xa9", "\xff",
};
static char long_name[257], long_value[4097];

/* ---- results ---- */

static void a_file_is_returned_unchanged(void)
{
	static const char *const files[] = { "cgroup.procs", "pids.max", "memory.events", "cgroup.controllers" };
	agentcg *cg = new_group();
	pid_t child = pausing_child();
	char expected[4096], got[4096];

	CHECK_OK(agentcg_move_pid(cg, child, &why));
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		int length = read_in(agentcg_fd(cg), files[i], expected, sizeof(expected));

		CHECK(length > 0);
		CHECK_EQ(agentcg_read_file(cg, files[i], got, sizeof(got), &why), length);
		CHECK_STR(got, expected);
		CHECK_EQ(got[length - 1], '\n');
	}
	kill_and_reap(child);
	CHECK_EQ(agentcg_read_file(cg, "cgroup.procs", got, sizeof(got), &why), 0);
	CHECK_STR(got, "");
	destroy_group(cg);
}

static void text_is_cut_to_the_size_and_its_full_length_is_returned(void)
{
	agentcg *cg = new_group();
	char got[8];

	CHECK_OK(agentcg_write_file(cg, "pids.max", "12345", &why));
	CHECK_EQ(agentcg_read_file(cg, "pids.max", NULL, 0, &why), 6);
	for (size_t size = 1; size <= sizeof(got); size++) {
		check_poison(got, sizeof(got));
		CHECK_EQ(agentcg_read_file(cg, "pids.max", got, size, &why), 6);
		CHECK_EQ(strlen(got), size <= 6 ? size - 1 : 6);
		CHECK_EQ(strncmp(got, "12345\n", size - 1), 0);
		CHECK(check_untouched(got + size, sizeof(got) - size));
	}
	destroy_group(cg);
}

static void a_value_is_written_with_and_without_a_newline(void)
{
	agentcg *cg = new_group();

	CHECK_OK(agentcg_write_file(cg, "pids.max", "7", &why));
	CHECK_EQ(number_in(cg, "pids.max"), 7);
	CHECK_OK(agentcg_write_file(cg, "pids.max", "8\n", &why));
	CHECK_EQ(number_in(cg, "pids.max"), 8);
	CHECK_OK(agentcg_write_file(cg, "memory.max", "64M", &why));
	CHECK_EQ(number_in(cg, "memory.max"), 64 << 20);
	destroy_group(cg);
}

static void a_refused_call_changes_nothing(void)
{
	agentcg *cg = new_group();
	char got[16];

	CHECK_OK(agentcg_write_file(cg, "pids.max", "7", &why));
	CHECK_ERR(agentcg_write_file(cg, "pids.max", "", &why), -EINVAL);
	CHECK_ERR(agentcg_write_file(cg, "pids.max", "7 of them", &why), -EINVAL);
	CHECK_ERR(agentcg_write_file(cg, "pids.max", long_value, &why), -E2BIG);
	CHECK_EQ(number_in(cg, "pids.max"), 7);
	for (size_t i = 0; i < sizeof(invalid_names) / sizeof(invalid_names[0]); i++) {
		check_poison(got, sizeof(got));
		CHECK_ERR(agentcg_read_file(cg, invalid_names[i], got, sizeof(got), &why), -EINVAL);
		CHECK(check_untouched(got, sizeof(got)));
		CHECK_ERR(agentcg_write_file(cg, invalid_names[i], "1", &why), -EINVAL);
	}
	CHECK_ERR(agentcg_read_file(cg, long_name, got, sizeof(got), &why), -EINVAL);
	long_name[255] = '\0';
	CHECK_ERR(agentcg_read_file(cg, long_name, got, sizeof(got), &why), -ENOENT);
	long_name[255] = 'a';
	long_value[4095] = '\0';
	CHECK_ERR(agentcg_write_file(cg, "pids.max", long_value, &why), -ERANGE);
	long_value[4095] = '7';
	destroy_group(cg);
}

/* ---- errors ---- */

static void try_to_read(const char *file)
{
	agentcg *cg = new_group();
	char got[64];

	PROVOKE(agentcg_read_file, cg, file, got, sizeof(got));
	destroy_group(cg);
}

static void try_to_write(const char *file, const char *value)
{
	agentcg *cg = new_group();

	PROVOKE(agentcg_write_file, cg, file, value);
	destroy_group(cg);
}

static void the_name_has_a_slash(void)
{
	try_to_read("../cgroup.procs");
}

static void the_value_is_empty(void)
{
	try_to_write("pids.max", "");
}

static void the_value_is_more_than_a_page(void)
{
	try_to_write("pids.max", long_value);
}

static void the_value_is_no_number(void)
{
	try_to_write("pids.max", "many");
}

static void the_value_is_out_of_range(void)
{
	try_to_write("cpu.weight", "10001");
}

static void there_is_no_such_process(void)
{
	try_to_write("cgroup.procs", "4194303");
}

static void there_is_no_such_controller(void)
{
	char parent[PATH_SIZE];
	agentcg *cg;

	/* Cgroups below it have only the memory controller. */
	make_parent(parent, "memory-alone", "+memory");
	strcat(parent, "/inner");
	CHECK_EQ(mkdir(parent, 0755), 0);
	CHECK_OK(agentcg_new(parent, NULL, NULL, 0, 0, &cg, &why));
	PROVOKE(agentcg_write_file, cg, "cgroup.subtree_control", "+pids");
	CHECK_ERR(agentcg_read_file(cg, "pids.max", NULL, 0, &why), -ENOENT);
	CHECK_EQ(why.reason, AGENTCG_WHY_NO_CONTROLLER);
	destroy_group(cg);
	remove_parent(parent);
	*strrchr(parent, '/') = '\0';
	CHECK_EQ(rmdir(parent), 0);
}

static void there_is_no_such_file(void)
{
	try_to_read("memory.limit_in_bytes");
}

static void there_is_no_such_file_to_write_to(void)
{
	try_to_write("cgroup.limit", "1");
}

static void the_controller_is_not_enabled(void)
{
	try_to_read("cpuset.cpus");
}

static void the_file_is_write_only(void)
{
	try_to_read("cgroup.kill");
}

static void the_file_is_read_only(void)
{
	try_to_write("cgroup.events", "1");
}

static void the_name_is_a_nested_cgroup(void)
{
	agentcg *cg = new_group();
	char got[64];

	CHECK_EQ(mkdirat(agentcg_fd(cg), "inner", 0755), 0);
	CHECK_ERR(agentcg_write_file(cg, "inner", "1", &why), -EINVAL);
	PROVOKE(agentcg_read_file, cg, "inner", got, sizeof(got));
	destroy_group(cg);
}

static void the_group_was_removed(void)
{
	agentcg *cg = new_group();
	char path[PATH_SIZE], got[64];

	agentcg_path(cg, path, sizeof(path));
	CHECK_EQ(rmdir(path), 0);
	CHECK_ERR(agentcg_write_file(cg, "pids.max", "1", &why), -ENODEV);
	PROVOKE(agentcg_read_file, cg, "pids.max", got, sizeof(got));
	agentcg_free(cg);
}

static void the_group_cannot_be_threaded(void)
{
	agentcg *cg = new_group();

	PROVOKE(agentcg_write_file, cg, "cgroup.type", "threaded");
	destroy_group(cg);
}

static const struct refusal refusals[] = {
	ROW(the_group_cannot_be_threaded, -EOPNOTSUPP, WHY(THREADED), "memory", ANYBODY),
	ROW(the_name_has_a_slash, -EINVAL, 0, "../cgroup.procs", ANYBODY),
	ROW(the_value_is_empty, -EINVAL, 0, "empty", ANYBODY),
	ROW(the_value_is_more_than_a_page, -E2BIG, 0, "4095", ANYBODY),
	ROW(the_value_is_no_number, -EINVAL, 0, "\"many\" to pids.max", ANYBODY),
	ROW(the_value_is_out_of_range, -ERANGE, 0, "cpu.weight", ANYBODY),
	ROW(there_is_no_such_process, -ESRCH, 0, "cgroup.procs", ANYBODY),
	ROW(there_is_no_such_controller, -ENOENT, 0, "\"+pids\" to cgroup.subtree_control", ANYBODY),
	ROW(there_is_no_such_file, -ENOENT, 0, "kernel", ANYBODY),
	ROW(there_is_no_such_file_to_write_to, -ENOENT, 0, "kernel", ANYBODY),
	ROW(the_controller_is_not_enabled, -ENOENT, WHY(NO_CONTROLLER), "controller cpuset", ANYBODY),
	ROW(the_file_is_write_only, -EACCES, 0, "only be written", NOT_ROOT),
	ROW(the_file_is_read_only, -EACCES, 0, "only be read", NOT_ROOT),
	ROW(the_name_is_a_nested_cgroup, -EINVAL, 0, "inner", ANYBODY),
	ROW(the_group_was_removed, -ENODEV, WHY(GONE), "removed", ANYBODY),
};

int main(void)
{
	memset(long_name, 'a', sizeof(long_name) - 1);
	memset(long_value, '7', sizeof(long_value) - 1);
	RUN(a_file_is_returned_unchanged);
	RUN(text_is_cut_to_the_size_and_its_full_length_is_returned);
	RUN(a_value_is_written_with_and_without_a_newline);
	RUN(a_refused_call_changes_nothing);
	run_refusals(refusals, sizeof(refusals) / sizeof(refusals[0]));
	return 0;
}
