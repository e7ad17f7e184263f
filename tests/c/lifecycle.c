/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The main job, as a C program does it: put processes in, watch them, kill them all, leave nothing. */
#include "support.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t processes_in(agentcg *cg)
{
	agentcg_stats stats;

	CHECK_OK(agentcg_read_stats(cg, AGENTCG_STAT_PIDS, &stats, sizeof(stats), &why));
	CHECK_EQ(stats.mask, AGENTCG_STAT_PIDS);
	return stats.pids_current;
}

/* Start a shell that is in the group before it is a shell. */
static pid_t shell_inside(agentcg *cg, const char *script, int output)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		if (agentcg_move_self(cg) != 0 || dup2(output, STDOUT_FILENO) < 0)
			_exit(125);
		execl("/bin/sh", "sh", "-c", script, (char *)NULL);
		_exit(126);
	}
	return pid;
}

static void a_process_is_put_in_measured_killed_and_gone(void)
{
	agentcg_limits limits = { 0 };
	agentcg_stats stats;
	agentcg *cg;
	char path[PATH_SIZE];
	pid_t child = pausing_child();

	limits.mask = AGENTCG_LIMIT_MEMORY_MAX | AGENTCG_LIMIT_CPU_MAX | AGENTCG_LIMIT_PIDS_MAX;
	limits.memory_max_bytes = 64 << 20;
	limits.cpu_max_millicpu = 500;
	limits.pids_max = 32;
	CHECK_OK(agentcg_new(NULL, NULL, &limits, sizeof(limits), 0, &cg, &why));
	CHECK(agentcg_path(cg, path, sizeof(path)) < PATH_SIZE);
	CHECK(is_directory(path));

	CHECK_OK(agentcg_move_pid(cg, child, &why));
	CHECK(holds(cg, child));

	CHECK_OK(agentcg_read_stats(cg, AGENTCG_STAT_BASIC | AGENTCG_STAT_PIDS | AGENTCG_STAT_STATE,
	                            &stats, sizeof(stats), &why));
	CHECK_EQ(stats.pids_current, 1);
	CHECK_EQ(stats.populated, 1);

	CHECK_OK(agentcg_kill_all(cg, SOON_MS, &why));
	CHECK_EQ(key_in(cg, "cgroup.events", "populated"), 0);
	check_killed(child);

	CHECK_OK(agentcg_destroy(cg, 0, SOON_MS, &stats, sizeof(stats), &why));
	CHECK_EQ(stats.populated, 0);
	CHECK(!is_directory(path));
}

static void a_child_that_moves_itself_is_inside_before_exec(void)
{
	agentcg *cg = new_group();
	char uuid[AGENTCG_UUID_SIZE], line[PATH_SIZE];
	int ends[2];
	pid_t shell;
	ssize_t length = 0, got;

	CHECK_EQ(pipe(ends), 0);
	shell = shell_inside(cg, "grep '^0::' /proc/self/cgroup", ends[1]);
	close(ends[1]);
	while ((got = read(ends[0], line + length, sizeof(line) - 1 - (size_t)length)) > 0)
		length += got;
	close(ends[0]);
	CHECK_EQ(reap(shell), 0);

	line[length] = '\0';
	agentcg_uuid(cg, uuid, sizeof(uuid));
	CHECK(length > 37 && line[length - 1] == '\n');
	line[length - 1] = '\0';
	CHECK_STR(line + length - 37, uuid);
	destroy_group(cg);
}

static void what_a_member_starts_is_inside_and_dies_with_it(void)
{
	agentcg *cg = new_group();
	int ends[2];
	char byte;
	pid_t shell;

	/* Grandchildren in sessions of their own, one with its parent gone. */
	CHECK_EQ(pipe(ends), 0);
	shell = shell_inside(cg, "(setsid sleep 1000 & setsid sh -c 'sleep 1000 & echo; wait' &); exec sleep 1000",
	                     ends[1]);
	close(ends[1]);
	CHECK_EQ(read(ends[0], &byte, 1), 1);
	CHECK(processes_in(cg) >= 3);

	CHECK_OK(agentcg_kill_all(cg, SOON_MS, &why));
	check_killed(shell);
	/* All held the pipe: end of file is the word of the kernel that none lives. */
	CHECK_EQ(read(ends[0], &byte, 1), 0);
	close(ends[0]);
	destroy_group(cg);
}

static void a_group_can_be_used_again_after_kill_all(void)
{
	agentcg *cg = new_group();

	for (int round = 0; round < 5; round++) {
		pid_t moved = pausing_child(), self;

		CHECK_OK(agentcg_move_pid(cg, moved, &why));
		self = shell_inside(cg, "exec sleep 1000", STDERR_FILENO);
		CHECK(holds(cg, moved));
		CHECK_OK(agentcg_kill_all(cg, SOON_MS, &why));
		check_killed(moved);
		kill(self, SIGKILL);   /* it may not have been in yet */
		check_killed(self);
		CHECK_EQ(processes_in(cg), 0);
	}
	destroy_group(cg);
}

static void killing_nobody_is_fine(void)
{
	agentcg *cg = new_group();

	CHECK_OK(agentcg_kill_all(cg, 0, &why));
	CHECK_OK(agentcg_kill_all(cg, SOON_MS, &why));
	CHECK_OK(agentcg_kill_all(cg, AGENTCG_FOREVER, &why));
	CHECK_OK(agentcg_kill_all(cg, INT32_MAX, &why));
	CHECK_OK(agentcg_wait_empty(cg, INT32_MAX, &why));
	destroy_group(cg);
}

static void kill_all_reaches_a_stopped_and_a_frozen_process(void)
{
	agentcg *cg = new_group();
	pid_t stopped = pausing_child(), frozen = pausing_child();
	siginfo_t info;

	CHECK_EQ(kill(stopped, SIGSTOP), 0);
	CHECK_EQ(waitid(P_PID, (id_t)stopped, &info, WSTOPPED), 0);
	CHECK_OK(agentcg_move_pid(cg, stopped, &why));
	CHECK_OK(agentcg_move_pid(cg, frozen, &why));
	CHECK_EQ(write_in(agentcg_fd(cg), "cgroup.freeze", "1"), 0);

	CHECK_OK(agentcg_kill_all(cg, SOON_MS, &why));
	check_killed(stopped);
	check_killed(frozen);
	destroy_group(cg);
}

static void kill_all_leaves_other_groups_alone(void)
{
	agentcg *cg = new_group(), *other = new_group();
	pid_t child = pausing_child(), bystander = pausing_child();

	CHECK_OK(agentcg_move_pid(cg, child, &why));
	CHECK_OK(agentcg_move_pid(other, bystander, &why));
	destroy_group(cg);
	check_killed(child);
	CHECK(holds(other, bystander));
	CHECK_EQ(kill(bystander, 0), 0);
	destroy_group(other);
	check_killed(bystander);
}

static void with_timeout_0_kill_all_sends_and_wait_empty_waits(void)
{
	agentcg *cg = new_group();
	pid_t child = pausing_child();
	int result;

	CHECK_OK(agentcg_move_pid(cg, child, &why));
	/* 0 would mean that none lives any more, which it may be too early to say. */
	result = agentcg_kill_all(cg, 0, &why);
	CHECK(result == 0 || result == -ETIMEDOUT);
	CHECK_OK(agentcg_wait_empty(cg, SOON_MS, &why));
	check_killed(child);
	destroy_group(cg);
}

static void wait_empty_gives_up_when_its_time_is_over(void)
{
	agentcg *cg = new_group();
	pid_t child = pausing_child();
	int64_t start;

	CHECK_OK(agentcg_move_pid(cg, child, &why));
	CHECK_ERR(agentcg_wait_empty(cg, 0, &why), -ETIMEDOUT);
	start = now_ms();
	CHECK_ERR(agentcg_wait_empty(cg, 120, &why), -ETIMEDOUT);
	CHECK(now_ms() - start >= 119);
	CHECK(holds(cg, child));
	kill_and_reap(child);
	destroy_group(cg);
}

static void wait_empty_returns_when_the_last_process_has_ended(void)
{
	static const int timeouts[] = { SOON_MS, AGENTCG_FOREVER };
	agentcg *cg = new_group();

	CHECK_OK(agentcg_wait_empty(cg, 0, &why));
	CHECK_OK(agentcg_wait_empty(cg, AGENTCG_FOREVER, &why));
	for (int i = 0; i < 2; i++) {
		/* Not reaped before: zombies count as gone. */
		pid_t child = fork();

		CHECK(child >= 0);
		if (child == 0) {
			poll(NULL, 0, 200);
			raise(SIGTERM);
		}
		CHECK_OK(agentcg_move_pid(cg, child, &why));
		CHECK_OK(agentcg_wait_empty(cg, timeouts[i], &why));
		reap(child);
	}
	destroy_group(cg);
}

static void note_alarm(int signal)
{
	(void)signal;
}

static void signals_do_not_cut_a_wait_short(void)
{
	const struct sigaction noting = { .sa_handler = note_alarm };   /* no SA_RESTART: system calls are cut */
	const struct itimerval often = { { 0, 3000 }, { 0, 3000 } }, never = { { 0, 0 }, { 0, 0 } };
	agentcg *cg = new_group();
	pid_t child = pausing_child();
	int64_t start;

	CHECK_EQ(sigaction(SIGALRM, &noting, NULL), 0);
	CHECK_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
	CHECK_OK(agentcg_move_pid(cg, child, &why));
	start = now_ms();
	CHECK_ERR(agentcg_wait_empty(cg, 250, &why), -ETIMEDOUT);
	CHECK(now_ms() - start >= 249);
	CHECK_OK(agentcg_kill_all(cg, SOON_MS, &why));
	CHECK_OK(agentcg_destroy(cg, 0, SOON_MS, NULL, 0, &why));
	CHECK_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
	check_killed(child);
	signal(SIGALRM, SIG_DFL);
}

int main(void)
{
	CHECK(agentcg_is_available() == 1);
	RUN(a_process_is_put_in_measured_killed_and_gone);
	RUN(a_child_that_moves_itself_is_inside_before_exec);
	RUN(what_a_member_starts_is_inside_and_dies_with_it);
	RUN(a_group_can_be_used_again_after_kill_all);
	RUN(killing_nobody_is_fine);
	RUN(kill_all_reaches_a_stopped_and_a_frozen_process);
	RUN(kill_all_leaves_other_groups_alone);
	RUN(with_timeout_0_kill_all_sends_and_wait_empty_waits);
	RUN(wait_empty_gives_up_when_its_time_is_over);
	RUN(wait_empty_returns_when_the_last_process_has_ended);
	RUN(signals_do_not_cut_a_wait_short);
	return 0;
}
