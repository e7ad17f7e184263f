/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The errors of functions that take a handle. */
#include "refusal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- agentcg_move_pid ---- */

static void try_to_move(pid_t pid)
{
	agentcg *cg = new_group();

	PROVOKE(agentcg_move_pid, cg, pid);
	CHECK_EQ(key_in(cg, "cgroup.events", "populated"), 0);
	destroy_group(cg);
}

static void the_pid_is_0(void)
{
	try_to_move(0);
}

static void the_pid_is_negative(void)
{
	try_to_move(-1);
}

static void the_process_is_gone(void)
{
	pid_t child = pausing_child();

	kill_and_reap(child);
	try_to_move(child);
}

/* The kernel returns success and does not move it. */
static void the_process_is_a_zombie(void)
{
	pid_t child = zombie_child();

	try_to_move(child);
	CHECK_EQ(reap(child), 0);
}

static void the_process_is_kthreadd(void)
{
	try_to_move(2);
}

/* Root could move those that are not bound to a CPU, which would disturb the system. */
static void the_process_is_any_kernel_thread(void)
{
	agentcg *cg = new_group();
	char file[64], stat[512];
	int found = 0;

	for (pid_t pid = 3; pid < 100; pid++) {
		int parent;

		snprintf(file, sizeof(file), "/proc/%d/stat", pid);
		if (read_in(AT_FDCWD, file, stat, sizeof(stat)) < 0 ||
		    sscanf(strrchr(stat, ')'), ") %*c %d", &parent) != 1 || parent != 2)
			continue;
		found++;
		if (PROVOKE(agentcg_move_pid, cg, pid) != -EINVAL)
			break;
	}
	CHECK(found > 0);
	CHECK_EQ(key_in(cg, "cgroup.events", "populated"), 0);
	destroy_group(cg);
}

static void the_process_belongs_to_root(void)
{
	try_to_move(1);
}

static void the_group_has_become_a_parent_with_controllers(void)
{
	agentcg *cg = new_group();
	pid_t child = pausing_child();

	CHECK_EQ(mkdirat(agentcg_fd(cg), "inner", 0755), 0);
	CHECK_EQ(write_in(agentcg_fd(cg), "cgroup.subtree_control", "+memory"), 0);
	PROVOKE(agentcg_move_pid, cg, child);
	kill_and_reap(child);
	destroy_group(cg);
}

static void the_group_is_in_a_threaded_domain(void)
{
	char parent[PATH_SIZE], threads[PATH_SIZE + 32];
	pid_t child = pausing_child();
	agentcg *cg;

	/* agents/ can become a threaded domain only without domain controllers. */
	make_parent(parent, "becomes-threaded", "");
	strcat(parent, "/inner");
	CHECK_EQ(mkdir(parent, 0755), 0);
	CHECK_OK(agentcg_new(parent, NULL, NULL, 0, 0, &cg, &why));
	snprintf(threads, sizeof(threads), "%s/synwire/agents/threads", parent);
	CHECK_EQ(mkdir(threads, 0755), 0);
	write_to(threads, "cgroup.type", "threaded");
	PROVOKE(agentcg_move_pid, cg, child);
	CHECK_EQ(agentcg_move_self(cg), -EOPNOTSUPP);
	kill_and_reap(child);

	CHECK_EQ(rmdir(threads), 0);
	destroy_group(cg);
	remove_parent(parent);
	*strrchr(parent, '/') = '\0';
	CHECK_EQ(rmdir(parent), 0);
}

/* ---- agentcg_move_out ---- */

static void the_process_to_move_out_is_not_in_the_group(void)
{
	agentcg *cg = new_group();
	pid_t child = pausing_child();

	PROVOKE(agentcg_move_out, cg, child);
	kill_and_reap(child);
	destroy_group(cg);
}

static void the_pidfd_to_move_out_is_a_directory(void)
{
	agentcg *cg = new_group();

	PROVOKE(agentcg_move_out_pidfd, cg, agentcg_fd(cg));
	destroy_group(cg);
}

/* ---- a group that another program removed ---- */

static agentcg *removed_group(void)
{
	agentcg *cg = new_group();
	char path[PATH_SIZE];

	agentcg_path(cg, path, sizeof(path));
	CHECK_EQ(rmdir(path), 0);
	return cg;
}

static void the_group_to_move_to_was_removed(void)
{
	agentcg *cg = removed_group();
	pid_t child = pausing_child();

	PROVOKE(agentcg_move_pid, cg, child);
	CHECK_EQ(agentcg_move_self(cg), -ENODEV);
	kill_and_reap(child);
	agentcg_free(cg);
}

static void the_group_to_move_out_of_was_removed(void)
{
	agentcg *cg = removed_group();
	pid_t child = pausing_child();

	PROVOKE(agentcg_move_out, cg, child);
	kill_and_reap(child);
	agentcg_free(cg);
}

static void the_group_to_measure_was_removed(void)
{
	agentcg *cg = new_group();
	char path[PATH_SIZE];
	agentcg_stats stats;

	/* With cached descriptors, and with files that are opened now. */
	CHECK_OK(agentcg_read_stats(cg, AGENTCG_STAT_BASIC, &stats, sizeof(stats), &why));
	agentcg_path(cg, path, sizeof(path));
	CHECK_EQ(rmdir(path), 0);
	CHECK_ERR(agentcg_read_stats(cg, AGENTCG_STAT_BASIC, &stats, sizeof(stats), &why), -ENODEV);
	PROVOKE(agentcg_read_stats, cg, AGENTCG_STAT_PIDS | AGENTCG_STAT_STATE, &stats, sizeof(stats));
	agentcg_free(cg);
}

static void the_group_to_kill_was_removed(void)
{
	agentcg *cg = removed_group();

	PROVOKE(agentcg_kill_all, cg, SOON_MS);
	agentcg_free(cg);
}

static void the_group_to_freeze_was_removed(void)
{
	agentcg *cg = removed_group();

	CHECK_ERR(agentcg_thaw(cg, SOON_MS, &why), -ENODEV);
	PROVOKE(agentcg_freeze, cg, SOON_MS);
	agentcg_free(cg);
}

static void the_group_to_watch_was_removed(void)
{
	agentcg *cg = removed_group();

	PROVOKE(agentcg_watch_stall, cg, AGENTCG_STALL_MEMORY, AGENTCG_STALL_SOME, 100000, 1000000);
	agentcg_free(cg);
}

static void the_group_to_signal_was_removed(void)
{
	agentcg *cg = removed_group();

	CHECK_ERR(agentcg_terminate(cg, 0, SOON_MS, &why), -ENODEV);
	CHECK_ERR(agentcg_event_fd(cg, AGENTCG_EVENT_GONE, &why), -ENODEV);
	CHECK_EQ(why.reason, AGENTCG_WHY_GONE);
	PROVOKE(agentcg_signal_all, cg, SIGTERM);
	agentcg_free(cg);
}

static void the_group_to_search_was_removed(void)
{
	agentcg *cg = removed_group();

	CHECK_ERR(agentcg_pids(cg, NULL, 0, &why), -ENODEV);
	PROVOKE(agentcg_contains, cg, getpid());
	agentcg_free(cg);
}

static void the_group_to_wait_for_was_removed(void)
{
	agentcg *cg = removed_group();

	PROVOKE(agentcg_wait_empty, cg, SOON_MS);
	agentcg_free(cg);
}

static void the_group_to_describe_was_removed(void)
{
	agentcg *cg = removed_group();
	agentcg_info info;

	PROVOKE(agentcg_get_info, cg, &info, sizeof(info));
	agentcg_free(cg);
}

/* A host closes the descriptor of agentcg_event_fd(), which it must not. */
static void the_events_descriptor_was_closed(void)
{
	agentcg *cg = new_group();
	uint64_t events;
	int fd, copy;

	CHECK_OK(fd = agentcg_event_fd(cg, AGENTCG_EVENT_EMPTY, &why));
	copy = dup(fd);
	close(fd);
	PROVOKE(agentcg_next_events, cg, 0, &events);
	/* The handle will close that number. */
	CHECK_EQ(dup2(copy, fd), fd);
	close(copy);
	destroy_group(cg);
}

static const struct refusal refusals[] = {
	ROW(the_pid_is_0, -EINVAL, 0, "0 ", ANYBODY),
	ROW(the_pid_is_negative, -EINVAL, 0, "-1", ANYBODY),
	ROW(the_process_is_gone, -ESRCH, 0, "ended", ANYBODY),
	ROW(the_process_is_a_zombie, -ESRCH, 0, "zombie", ANYBODY),
	ROW(the_process_is_kthreadd, -EINVAL, 0, "kernel", ANYBODY),
	ROW(the_process_is_any_kernel_thread, -EINVAL, 0, "kernel", ANYBODY),
	ROW(the_process_belongs_to_root, -EACCES, WHY(NOT_DELEGATED), "process 1 ", NOT_ROOT),
	ROW(the_group_has_become_a_parent_with_controllers, -EBUSY, WHY(POPULATED), "controllers", ANYBODY),
	ROW(the_group_is_in_a_threaded_domain, -EOPNOTSUPP, WHY(THREADED), "threaded", ANYBODY),
	ROW(the_process_to_move_out_is_not_in_the_group, -ESRCH, 0, "not in ", ANYBODY),
	ROW(the_pidfd_to_move_out_is_a_directory, -EBADF, 0, "pidfd", ANYBODY),

	ROW(the_group_to_move_to_was_removed, -ENODEV, WHY(GONE), "removed", ANYBODY),
	ROW(the_group_to_move_out_of_was_removed, -ENODEV, WHY(GONE), "removed", ANYBODY),
	ROW(the_group_to_measure_was_removed, -ENODEV, WHY(GONE), "removed", ANYBODY),
	ROW(the_group_to_kill_was_removed, -ENODEV, WHY(GONE), "removed", ANYBODY),
	ROW(the_group_to_freeze_was_removed, -ENODEV, WHY(GONE), "removed", ANYBODY),
	ROW(the_group_to_signal_was_removed, -ENODEV, WHY(GONE), "removed", ANYBODY),
	ROW(the_group_to_watch_was_removed, -ENODEV, WHY(GONE), "removed", ANYBODY),
	ROW(the_group_to_search_was_removed, -ENODEV, WHY(GONE), "removed", ANYBODY),
	ROW(the_group_to_wait_for_was_removed, -ENODEV, WHY(GONE), "removed", ANYBODY),
	ROW(the_group_to_describe_was_removed, -ENODEV, WHY(GONE), "removed", ANYBODY),

	ROW(the_events_descriptor_was_closed, -EBADF, 0, "file", ANYBODY),
};

int main(void)
{
	/* The first agentcg_event_fd() creates an inotify instance for all groups: RUN() must not count it. */
	agentcg *cg = new_group();

	CHECK_OK(agentcg_event_fd(cg, AGENTCG_EVENT_EMPTY, &why));
	destroy_group(cg);
	run_refusals(refusals, sizeof(refusals) / sizeof(refusals[0]));
	return 0;
}
