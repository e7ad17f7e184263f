/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* agentcg_destroy(): all of it goes, or nothing is lost. */
#include "support.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Make <group>/name by hand, as an agent with rights in its own group can, and put a child in it. */
static pid_t child_in_nested(agentcg *cg, const char *name)
{
	char file[PATH_SIZE], pid_text[16];
	pid_t child = pausing_child();

	CHECK_EQ(mkdirat(agentcg_fd(cg), name, 0755), 0);
	snprintf(file, sizeof(file), "%s/cgroup.procs", name);
	snprintf(pid_text, sizeof(pid_text), "%d", child);
	CHECK_EQ(write_in(agentcg_fd(cg), file, pid_text), 0);
	return child;
}

static void nested_cgroups_go_too_with_all_who_live_in_them(void)
{
	agentcg *cg = new_group();
	char path[PATH_SIZE];
	pid_t children[5];

	agentcg_path(cg, path, sizeof(path));
	children[0] = pausing_child();
	CHECK_OK(agentcg_move_pid(cg, children[0], &why));
	children[1] = child_in_nested(cg, "a");
	children[2] = child_in_nested(cg, "a/b");
	children[3] = child_in_nested(cg, "a/b/c");
	children[4] = child_in_nested(cg, "d");
	CHECK_EQ(mkdirat(agentcg_fd(cg), "empty", 0755), 0);

	destroy_group(cg);
	CHECK(!is_directory(path));
	for (int i = 0; i < 5; i++)
		check_killed(children[i]);
}

static void nesting_past_what_a_path_can_hold_goes_too(void)
{
	agentcg *cg = new_group();
	char name[201], path[PATH_SIZE];
	int home, levels = 30;   /* 6,000 bytes */

	/* cgroupfs lets an agent go as deep as it likes; only relative to a directory can one follow. */
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	CHECK((size_t)levels * sizeof(name) > PATH_SIZE);
	agentcg_path(cg, path, sizeof(path));
	CHECK(chdir(path) == 0);
	for (home = 0; home < levels; home++)
		CHECK(mkdir(name, 0755) == 0 && chdir(name) == 0);
	CHECK_EQ(chdir("/"), 0);

	destroy_group(cg);
	CHECK(!is_directory(path));
}

static void if_empty_refuses_a_group_in_which_something_lives(void)
{
	agentcg *cg = new_group();
	char path[PATH_SIZE];
	pid_t child = pausing_child();
	agentcg_stats final;

	agentcg_path(cg, path, sizeof(path));
	CHECK_OK(agentcg_move_pid(cg, child, &why));
	check_poison(&final, sizeof(final));
	CHECK_ERR(agentcg_destroy(cg, AGENTCG_DESTROY_IF_EMPTY, SOON_MS, &final, sizeof(final), &why), -EBUSY);
	CHECK(check_untouched(&final, sizeof(final)));
	CHECK(holds(cg, child));
	CHECK_EQ(waitpid(child, NULL, WNOHANG), 0);

	kill_and_reap(child);
	CHECK_OK(agentcg_wait_empty(cg, SOON_MS, &why));
	CHECK_OK(agentcg_destroy(cg, AGENTCG_DESTROY_IF_EMPTY, SOON_MS, &final, sizeof(final), &why));
	CHECK(!is_directory(path));
}

static void if_empty_looks_into_nested_cgroups(void)
{
	agentcg *cg = new_group();
	char path[PATH_SIZE];
	pid_t child = child_in_nested(cg, "inner");

	agentcg_path(cg, path, sizeof(path));
	CHECK_ERR(agentcg_destroy(cg, AGENTCG_DESTROY_IF_EMPTY, SOON_MS, NULL, 0, &why), -EBUSY);
	CHECK_EQ(count_subdirectories(path), 1);
	CHECK_EQ(waitpid(child, NULL, WNOHANG), 0);

	/* Directories that nobody lives in are no reason to refuse. */
	kill_and_reap(child);
	CHECK_OK(agentcg_wait_empty(cg, SOON_MS, &why));
	CHECK_OK(agentcg_destroy(cg, AGENTCG_DESTROY_IF_EMPTY, SOON_MS, NULL, 0, &why));
	CHECK(!is_directory(path));
}

static void zombies_hinder_nobody_and_stay_their_parents_to_wait_for(void)
{
	agentcg *cg = new_group();
	pid_t killed = pausing_child();
	siginfo_t info;

	CHECK_OK(agentcg_move_pid(cg, killed, &why));
	CHECK_EQ(kill(killed, SIGTERM), 0);
	CHECK_EQ(waitid(P_PID, (id_t)killed, &info, WEXITED | WNOWAIT), 0);
	CHECK_OK(agentcg_wait_empty(cg, SOON_MS, &why));
	CHECK_OK(agentcg_destroy(cg, AGENTCG_DESTROY_IF_EMPTY, SOON_MS, NULL, 0, &why));

	int status = reap(killed);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

static void a_frozen_group_is_destroyed_without_a_thaw(void)
{
	agentcg *cg = new_group();
	pid_t child = pausing_child();

	CHECK_OK(agentcg_move_pid(cg, child, &why));
	CHECK_EQ(write_in(agentcg_fd(cg), "cgroup.freeze", "1"), 0);
	destroy_group(cg);
	check_killed(child);
}

static void a_destroy_that_failed_can_be_tried_again(void)
{
	agentcg *cg = new_group();
	char path[PATH_SIZE];
	pid_t children[50];
	int result;

	agentcg_path(cg, path, sizeof(path));
	for (int i = 0; i < 50; i++) {
		children[i] = pausing_child();
		CHECK_OK(agentcg_move_pid(cg, children[i], &why));
	}
	CHECK_ERR(agentcg_destroy(cg, UINT64_MAX, SOON_MS, NULL, 0, &why), -EINVAL);
	CHECK(holds(cg, children[49]));

	/* With no time at all it may or may not be done at once. */
	while ((result = agentcg_destroy(cg, 0, 0, NULL, 0, &why)) == -ETIMEDOUT)
		CHECK_EQ(agentcg_fd(cg) >= 0, 1);
	CHECK_EQ(result, 0);
	CHECK(!is_directory(path));
	for (int i = 0; i < 50; i++)
		check_killed(children[i]);
}

static void a_group_that_somebody_removed_by_hand_is_as_good_as_destroyed(void)
{
	agentcg *cg = new_group();
	agentcg_stats final;
	char path[PATH_SIZE];

	agentcg_path(cg, path, sizeof(path));
	CHECK_EQ(rmdir(path), 0);
	CHECK_OK(agentcg_destroy(cg, 0, SOON_MS, &final, sizeof(final), &why));
	CHECK_EQ(final.mask, 0);   /* there is nothing left to read */
}

static void many_rounds_leave_no_directory(void)
{
	for (int round = 0; round < 50; round++) {
		agentcg *cg = new_group();
		pid_t child = pausing_child();

		CHECK_OK(agentcg_move_pid(cg, child, &why));
		destroy_group(cg);
		CHECK_EQ(agents_below(NULL), 0);
		check_killed(child);
	}
}

int main(void)
{
	RUN(nested_cgroups_go_too_with_all_who_live_in_them);
	RUN(nesting_past_what_a_path_can_hold_goes_too);
	RUN(if_empty_refuses_a_group_in_which_something_lives);
	RUN(if_empty_looks_into_nested_cgroups);
	RUN(zombies_hinder_nobody_and_stay_their_parents_to_wait_for);
	RUN(a_frozen_group_is_destroyed_without_a_thaw);
	RUN(a_destroy_that_failed_can_be_tried_again);
	RUN(a_group_that_somebody_removed_by_hand_is_as_good_as_destroyed);
	RUN(many_rounds_leave_no_directory);
	return 0;
}
