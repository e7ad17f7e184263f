/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One agent from agentcg_new() to agentcg_destroy(), as a C program uses it;
 * agentcg_move_self() between fork(2) and execve(2); what timeout_ms means; and
 * a host whose signal handlers interrupt system calls. tests/behaviour/kill.rs,
 * tests/behaviour/hostile.rs and tests/behaviour/destroy.rs test which processes are killed.
 */
#include "support.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* Start a shell that moves itself into the group before it calls execve(2). */
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

static void a_process_is_moved_measured_and_killed_and_its_group_removed(void)
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

static void an_empty_group_is_killed_and_waited_for_with_every_timeout(void)
{
	static const int timeouts[] = { 0, SOON_MS, INT32_MAX, AGENTCG_FOREVER };
	agentcg *cg = new_group();

	for (size_t i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
		CHECK_OK(agentcg_kill_all(cg, timeouts[i], &why));
		CHECK_OK(agentcg_wait_empty(cg, timeouts[i], &why));
	}
	destroy_group(cg);
}

static void a_timeout_is_in_milliseconds(void)
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

static void agentcg_forever_waits_until_the_last_process_has_ended(void)
{
	static const int timeouts[] = { INT32_MAX, AGENTCG_FOREVER };
	agentcg *cg = new_group();

	for (size_t i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
		pid_t child = fork();

		CHECK(child >= 0);
		if (child == 0) {
			poll(NULL, 0, 200);
			raise(SIGTERM);
		}
		CHECK_OK(agentcg_move_pid(cg, child, &why));
		CHECK_OK(agentcg_wait_empty(cg, timeouts[i], &why));
		reap(child);   /* only now: a zombie does not count */
	}
	destroy_group(cg);
}

static void do_nothing(int signal)
{
	(void)signal;
}

static void signal_handlers_do_not_shorten_a_wait(void)
{
	const struct sigaction interrupting = { .sa_handler = do_nothing };   /* without SA_RESTART */
	const struct itimerval often = { { 0, 3000 }, { 0, 3000 } }, never = { { 0, 0 }, { 0, 0 } };
	agentcg *cg = new_group();
	pid_t child = pausing_child();
	int64_t start;

	CHECK_EQ(sigaction(SIGALRM, &interrupting, NULL), 0);
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
	RUN(a_process_is_moved_measured_and_killed_and_its_group_removed);
	RUN(a_child_that_moves_itself_is_inside_before_exec);
	RUN(an_empty_group_is_killed_and_waited_for_with_every_timeout);
	RUN(a_timeout_is_in_milliseconds);
	RUN(agentcg_forever_waits_until_the_last_process_has_ended);
	RUN(signal_handlers_do_not_shorten_a_wait);
	return 0;
}
