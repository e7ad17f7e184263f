/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* agentcg_spawn(): the program's end, its arguments and its environment, and the thread that calls. */
#include "spawning.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define SH(script) WORDS("/bin/sh", "-c", script)
#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* ---- the end of the program ---- */

static void waitpid_returns_its_status(void)
{
	agentcg *cg = new_group();
	int status;

	CHECK_EQ(reap(started(cg, WORDS("/bin/true"), NULL, OWN)), 0);
	status = reap(started(cg, SH("exit 7"), NULL, OWN));
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	check_ended_by(started(cg, SH("kill -TERM $$"), NULL, OWN), SIGTERM);
	destroy_group(cg);
}

static void its_pidfd_is_close_on_exec_and_can_be_waited_for(void)
{
	agentcg *cg = new_group();
	siginfo_t info = { 0 };
	int pidfd = -1;
	pid_t pid = -1;

	CHECK_OK(agentcg_spawn(cg, "/bin/sh", SH("exit 9"), NULL, NULL, 0, &pid, &pidfd, &why));
	CHECK_EQ(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED), 0);
	CHECK_EQ(info.si_pid, pid);
	CHECK(info.si_code == CLD_EXITED && info.si_status == 9);
	close(pidfd);
	destroy_group(cg);
}

static void it_can_be_waited_for_without_its_pid(void)
{
	agentcg *cg = new_group();
	int status = -1;

	CHECK_OK(agentcg_spawn(cg, "/bin/sh", SH("exit 5"), NULL, NULL, 0, NULL, NULL, &why));
	CHECK(waitpid(-1, &status, 0) > 0);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5);
	destroy_group(cg);
}

/* ---- what the program gets ---- */

static void its_environment_is_the_given_one_or_that_of_the_caller(void)
{
	agentcg *cg = new_group();

	CHECK_EQ(setenv("AGENTCG_TESTED", "by this", 1), 0);
	CHECK(strstr(output_of(cg, WORDS("/usr/bin/env"), NULL, OWN), "AGENTCG_TESTED=by this\n"));
	unsetenv("AGENTCG_TESTED");
	CHECK_STR(output_of(cg, WORDS("/usr/bin/env"), WORDS("A=1", "B="), OWN), "A=1\nB=\n");
	CHECK_STR(output_of(cg, WORDS("/usr/bin/env"), ((char *[]){ NULL }), OWN), "");
	destroy_group(cg);
}

static void argv_0_may_differ_from_the_file(void)
{
	agentcg *cg = new_group();
	int ends[2];
	pid_t pid;
	agentcg_spawn_options options = OWN;

	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	options.stdout_fd = ends[1];
	CHECK_OK(agentcg_spawn(cg, "/bin/sh", WORDS("another", "-c", "echo $0 $1", "one", "two words"), NULL,
	                       &options, sizeof(options), &pid, NULL, &why));
	close(ends[1]);
	CHECK_STR(all_of(ends[0]), "one two words\n");
	close(ends[0]);
	CHECK_EQ(reap(pid), 0);
	destroy_group(cg);
}

/* Check the program's process group and session in /proc/self/stat. */
static void check_session(agentcg *cg, uint64_t flags, int is_its_own)
{
	agentcg_spawn_options options = OWN;
	int pid, group, session;

	options.flags = flags;
	CHECK_EQ(sscanf(output_of(cg, WORDS("/bin/cat", "/proc/self/stat"), NULL, options), "%d (cat) R %*d %d %d", &pid,
	                &group, &session), 3);
	CHECK_EQ(group, is_its_own ? pid : getpgrp());
	CHECK_EQ(session, is_its_own ? pid : getsid(0));
}

static void it_has_a_new_session_if_the_flag_is_set(void)
{
	agentcg *cg = new_group();

	check_session(cg, 0, 0);
	check_session(cg, AGENTCG_SPAWN_NEW_SESSION, 1);
	destroy_group(cg);
}

static void nothing_to_do(int signal)
{
	(void)signal;
}

static void its_signals_are_default_and_the_caller_s_do_not_change(void)
{
	static const int ignored[] = { SIGINT, SIGPIPE };
	agentcg *cg = new_group();
	struct sigaction now;
	sigset_t some, before, after;
	int late = SIGRTMIN + 3;
	const char *text;

	for (size_t i = 0; i < 2; i++)
		signal(ignored[i], SIG_IGN);
	signal(late, SIG_IGN);
	signal(SIGUSR2, nothing_to_do);
	sigemptyset(&some);
	sigaddset(&some, SIGUSR1);
	sigaddset(&some, SIGTERM);
	CHECK_EQ(sigprocmask(SIG_BLOCK, &some, &before), 0);

	text = output_of(cg, WORDS("/bin/cat", "/proc/self/status"), NULL, OWN);
	CHECK(strstr(text, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n"));

	CHECK_EQ(sigprocmask(SIG_SETMASK, &before, &after), 0);
	for (int signal = 1; signal < SIGRTMIN; signal++)
		if (signal < 32)
			CHECK_EQ(sigismember(&after, signal), signal == SIGUSR1 || signal == SIGTERM);
	CHECK_EQ(sigaction(SIGPIPE, NULL, &now), 0);
	CHECK(now.sa_handler == SIG_IGN);
	CHECK_EQ(sigaction(SIGUSR2, NULL, &now), 0);
	CHECK(now.sa_handler == nothing_to_do);
	for (size_t i = 0; i < 2; i++)
		signal(ignored[i], SIG_DFL);
	signal(late, SIG_DFL);
	signal(SIGUSR2, SIG_DFL);
	destroy_group(cg);
}

/* ---- the caller ---- */

static void *spawn_twice(void *cg)
{
	CHECK_EQ(reap(started(cg, WORDS("/bin/true"), NULL, OWN)), 0);
	CHECK_ERR(agentcg_spawn(cg, "/nowhere", WORDS("x"), NULL, NULL, 0, NULL, NULL, &why), -ENOENT);
	return cg;
}

static void a_thread_with_the_smallest_stack_can_spawn(void)
{
	agentcg *cg = new_group();
	pthread_attr_t small;
	pthread_t thread;
	void *result;

	CHECK_EQ(pthread_attr_init(&small), 0);
	CHECK_EQ(pthread_attr_setstacksize(&small, PTHREAD_STACK_MIN), 0);
	CHECK_EQ(pthread_create(&thread, &small, spawn_twice, cg), 0);
	CHECK_EQ(pthread_join(thread, &result), 0);
	CHECK(result == cg);
	pthread_attr_destroy(&small);
	destroy_group(cg);
}

/* A cancellation point inside the call would end the thread, or the child in its place. */
static void *spawn_cancelled(void *cg)
{
	static pid_t pids[3];

	pthread_cancel(pthread_self());
	for (int i = 0; i < 3; i++)
		if (agentcg_spawn(cg, "/bin/true", WORDS("true"), NULL, NULL, 0, &pids[i], NULL, NULL) != 0)
			return NULL;
	if (agentcg_spawn(cg, "/nowhere", WORDS("x"), NULL, NULL, 0, NULL, NULL, NULL) != -ENOENT)
		return NULL;
	return pids;
}

static void spawn_is_no_cancellation_point(void)
{
	agentcg *cg = new_group();
	pthread_t thread;
	void *result;

	CHECK_EQ(pthread_create(&thread, NULL, spawn_cancelled, cg), 0);
	CHECK_EQ(pthread_join(thread, &result), 0);
	CHECK(result != NULL && result != PTHREAD_CANCELED);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(reap(((pid_t *)result)[i]), 0);
	destroy_group(cg);
}

static void start_in_a_fork(void *cg)
{
	spawn_twice(cg);
	CHECK_STR(output_of(cg, WORDS("/bin/echo", "here"), NULL, OWN), "here\n");
}

static void a_forked_child_of_the_host_can_spawn(void)
{
	agentcg *cg = new_group();

	in_child(start_in_a_fork, cg);   /* before the host's first spawn */
	spawn_twice(cg);
	in_child(start_in_a_fork, cg);
	destroy_group(cg);
}

int main(void)
{
	RUN(waitpid_returns_its_status);
	RUN(its_pidfd_is_close_on_exec_and_can_be_waited_for);
	RUN(it_can_be_waited_for_without_its_pid);
	RUN(its_environment_is_the_given_one_or_that_of_the_caller);
	RUN(argv_0_may_differ_from_the_file);
	RUN(it_has_a_new_session_if_the_flag_is_set);
	RUN(its_signals_are_default_and_the_caller_s_do_not_change);
	RUN(a_thread_with_the_smallest_stack_can_spawn);
	RUN(spawn_is_no_cancellation_point);
	RUN(a_forked_child_of_the_host_can_spawn);
	return 0;
}
