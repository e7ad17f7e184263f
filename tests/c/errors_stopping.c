/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The errors of the functions that kill, freeze, signal and terminate. */
#include "refusal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>

static pid_t victim;

static void kill_the_own_group(void *cg)
{
	CHECK_EQ(agentcg_move_self(cg), 0);
	PROVOKE(agentcg_kill_all, cg, SOON_MS);
}

static void kill_the_own_group_with_others(void *cg)
{
	CHECK_EQ(agentcg_move_self(cg), 0);
	PROVOKE(agentcg_kill_all_of, (agentcg *[]){ cg }, 1, NULL, SOON_MS);
}

static void destroy_the_own_group(void *cg)
{
	CHECK_EQ(agentcg_move_self(cg), 0);
	PROVOKE(agentcg_destroy, cg, 0, SOON_MS, NULL, 0);
	CHECK(holds(cg, victim));
}

static void kill_from_a_nested_cgroup(void *cg)
{
	CHECK_EQ(write_in(agentcg_fd(cg), "inner/cgroup.procs", "0"), 0);
	PROVOKE(agentcg_kill_all, cg, SOON_MS);
}

static void freeze_the_own_group(void *cg)
{
	CHECK_EQ(agentcg_move_self(cg), 0);
	PROVOKE(agentcg_freeze, cg, SOON_MS);
	CHECK_EQ(number_in(cg, "cgroup.freeze"), 0);
}

static void move_out_of_the_own_group(void *cg)
{
	CHECK_EQ(agentcg_move_self(cg), 0);
	PROVOKE(agentcg_move_out, cg, getpid());
	CHECK_EQ(agentcg_contains(cg, getpid(), &why), 1);
}

static void terminate_the_own_group(void *cg)
{
	CHECK_EQ(agentcg_move_self(cg), 0);
	/* The victim is signalled, the caller is not. */
	CHECK_EQ(agentcg_signal_all(cg, 0, &why), 1);
	CHECK_EQ(agentcg_contains(cg, getpid(), &why), 1);
	CHECK_EQ(agentcg_pids(cg, NULL, 0, &why), 2);
	PROVOKE(agentcg_terminate, cg, 0, SOON_MS);
}

static void signal_all_of_it(void *cg)
{
	PROVOKE(agentcg_signal_all, cg, SIGTERM);
	CHECK_EQ(agentcg_pids(cg, NULL, 0, NULL), 0);
}

static void signal_from_another_pid_namespace(void *cg)
{
	CHECK_EQ(unshare(geteuid() == 0 ? CLONE_NEWPID : CLONE_NEWPID | CLONE_NEWUSER), 0);
	in_child(signal_all_of_it, cg);
}

static void in_a_member(void (*body)(void *))
{
	agentcg *cg = new_group();

	victim = pausing_child();
	CHECK_OK(agentcg_move_pid(cg, victim, &why));
	CHECK_EQ(mkdirat(agentcg_fd(cg), "inner", 0755), 0);
	in_child(body, cg);
	/* No process was killed. */
	CHECK(holds(cg, victim));
	destroy_group(cg);
	check_killed(victim);
}

static void the_killer_is_inside(void)
{
	in_a_member(kill_the_own_group);
}

static void the_killer_of_many_is_inside_one(void)
{
	in_a_member(kill_the_own_group_with_others);
}

static void the_destroyer_is_inside(void)
{
	in_a_member(destroy_the_own_group);
}

static void the_killer_is_in_a_nested_cgroup(void)
{
	in_a_member(kill_from_a_nested_cgroup);
}

static void the_freezer_is_inside(void)
{
	in_a_member(freeze_the_own_group);
}

static void the_mover_is_inside(void)
{
	in_a_member(move_out_of_the_own_group);
}

static void the_terminator_is_inside(void)
{
	in_a_member(terminate_the_own_group);
}

static void the_signaller_is_in_another_pid_namespace(void)
{
	in_a_member(signal_from_another_pid_namespace);
}

static void there_is_no_such_signal(void)
{
	agentcg *cg = new_group();

	PROVOKE(agentcg_signal_all, cg, 65);
	destroy_group(cg);
}

static void look_for(pid_t pid)
{
	agentcg *cg = new_group();

	PROVOKE(agentcg_contains, cg, pid);
	destroy_group(cg);
}

static void the_process_to_look_for_is_gone(void)
{
	pid_t child = pausing_child();

	kill_and_reap(child);
	look_for(child);
}

static void the_process_to_look_for_is_a_zombie(void)
{
	pid_t child = zombie_child();

	look_for(child);
	CHECK_EQ(reap(child), 0);
}

static void find(pid_t pid)
{
	agentcg_found found;
	char place[PATH_SIZE];

	PROVOKE(agentcg_find, pid, &found, sizeof(found), place, sizeof(place));
}

static void the_process_to_find_is_gone(void)
{
	pid_t child = pausing_child();

	kill_and_reap(child);
	find(child);
}

static void the_process_to_find_is_in_no_agent(void)
{
	find(getpid());
}

static void the_pid_to_find_is_negative(void)
{
	find(-1);
}

static void find_by(int pidfd)
{
	agentcg_found found;

	PROVOKE(agentcg_find_pidfd, pidfd, &found, sizeof(found), NULL, 0);
}

static void the_descriptor_to_find_by_is_no_pidfd(void)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	find_by(null);
	close(null);
}

static void the_descriptor_to_find_by_is_closed(void)
{
	find_by(1000);
}

static void the_process_to_find_by_its_pidfd_is_gone(void)
{
	agentcg *cg = new_group();
	pid_t child;
	int pidfd;

	CHECK_OK(agentcg_spawn(cg, "/bin/sleep", (char *const[]){ "sleep", "1000", NULL }, NULL, NULL, 0, &child, &pidfd, &why));
	kill_and_reap(child);
	destroy_group(cg);
	find_by(pidfd);
	close(pidfd);
}

static void the_pid_to_look_for_is_0(void)
{
	look_for(0);
}

static void a_group_to_destroy_if_empty_has_a_process(void)
{
	agentcg *cg = new_group();
	pid_t child = pausing_child();

	CHECK_OK(agentcg_move_pid(cg, child, &why));
	PROVOKE(agentcg_destroy, cg, AGENTCG_DESTROY_IF_EMPTY, SOON_MS, NULL, 0);
	kill_and_reap(child);
	destroy_group(cg);
}

static void the_group_does_not_become_empty_in_time(void)
{
	agentcg *cg = new_group();
	pid_t child = pausing_child();

	CHECK_OK(agentcg_move_pid(cg, child, &why));
	PROVOKE(agentcg_wait_empty, cg, 1);
	kill_and_reap(child);
	destroy_group(cg);
}

static void the_timeout_is_0(void)
{
	agentcg *cg = new_group();
	pid_t child = pausing_child();

	CHECK_OK(agentcg_move_pid(cg, child, &why));
	PROVOKE(agentcg_wait_empty, cg, 0);
	kill_and_reap(child);
	destroy_group(cg);
}

static const struct refusal refusals[] = {
	ROW(the_timeout_is_0, -ETIMEDOUT, 0, "timeout_ms 0 does not wait", ANYBODY),
	ROW(the_killer_is_inside, -EDEADLK, WHY(CALLER_INSIDE), "outside", ANYBODY),
	ROW(the_killer_of_many_is_inside_one, -EDEADLK, WHY(CALLER_INSIDE), "outside", ANYBODY),
	ROW(the_destroyer_is_inside, -EDEADLK, WHY(CALLER_INSIDE), "outside", ANYBODY),
	ROW(the_killer_is_in_a_nested_cgroup, -EDEADLK, WHY(CALLER_INSIDE), "outside", ANYBODY),
	ROW(the_freezer_is_inside, -EDEADLK, WHY(CALLER_INSIDE), "outside", ANYBODY),
	ROW(the_mover_is_inside, -EDEADLK, WHY(CALLER_INSIDE), "outside", ANYBODY),
	ROW(the_terminator_is_inside, -EDEADLK, WHY(CALLER_INSIDE), "outside", ANYBODY),
	ROW(the_signaller_is_in_another_pid_namespace, -EACCES, 0, "pid namespace", ANYBODY),
	ROW(there_is_no_such_signal, -EINVAL, 0, "65", ANYBODY),
	ROW(the_process_to_look_for_is_gone, -ESRCH, 0, "ended", ANYBODY),
	ROW(the_process_to_look_for_is_a_zombie, -ESRCH, 0, "zombie", ANYBODY),
	ROW(the_process_to_find_is_gone, -ESRCH, 0, "ended", ANYBODY),
	ROW(the_process_to_find_is_in_no_agent, -ENOENT, 0, "in no agent", ANYBODY),
	ROW(the_pid_to_find_is_negative, -EINVAL, 0, "-1 ", ANYBODY),
	ROW(the_descriptor_to_find_by_is_no_pidfd, -EBADF, 0, "pidfd", ANYBODY),
	ROW(the_descriptor_to_find_by_is_closed, -EBADF, 0, "pidfd", ANYBODY),
	ROW(the_process_to_find_by_its_pidfd_is_gone, -ESRCH, 0, "ended", ANYBODY),
	ROW(the_pid_to_look_for_is_0, -EINVAL, 0, "0 ", ANYBODY),
	ROW(a_group_to_destroy_if_empty_has_a_process, -EBUSY, 0, "process", ANYBODY),
	ROW(the_group_does_not_become_empty_in_time, -ETIMEDOUT, 0, "process", ANYBODY),
};

int main(void)
{
	run_refusals(refusals, sizeof(refusals) / sizeof(refusals[0]));
	return 0;
}
