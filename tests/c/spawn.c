/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A program that is started in a group: its end, and with what it begins. */
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

/* ---- its end ---- */

static void its_end_is_told_by_waitpid(void)
{
	agentcg *cg = new_group();
	int status;

	CHECK_EQ(reap(started(cg, WORDS("/bin/true"), NULL, OWN)), 0);
	status = reap(started(cg, SH("exit 7"), NULL, OWN));
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	check_ended_by(started(cg, SH("kill -TERM $$"), NULL, OWN), SIGTERM);
	destroy_group(cg);
}

static void its_end_is_told_by_a_pidfd_that_is_close_on_exec(void)
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

static void who_does_not_ask_for_pid_and_pidfd_waits_for_any(void)
{
	agentcg *cg = new_group();
	int status = -1;

	CHECK_OK(agentcg_spawn(cg, "/bin/sh", SH("exit 5"), NULL, NULL, 0, NULL, NULL, &why));
	CHECK(waitpid(-1, &status, 0) > 0);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5);
	destroy_group(cg);
}

/* ---- with what it begins ---- */

static void its_environment_is_the_caller_s_or_the_one_that_is_given(void)
{
	agentcg *cg = new_group();

	CHECK_EQ(setenv("AGENTCG_TESTED", "by this", 1), 0);
	CHECK(strstr(said(cg, WORDS("/usr/bin/env"), NULL, OWN), "AGENTCG_TESTED=by this\n"));
	unsetenv("AGENTCG_TESTED");
	CHECK_STR(said(cg, WORDS("/usr/bin/env"), WORDS("A=1", "B="), OWN), "A=1\nB=\n");
	CHECK_STR(said(cg, WORDS("/usr/bin/env"), ((char *[]){ NULL }), OWN), "");
	destroy_group(cg);
}

static void its_first_word_is_its_name_and_need_not_be_its_file(void)
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

/* Its process group and session, by the file that proc(5) tells of. */
static void check_session(agentcg *cg, uint64_t flags, int is_its_own)
{
	agentcg_spawn_options options = OWN;
	int pid, group, session;

	options.flags = flags;
	CHECK_EQ(sscanf(said(cg, WORDS("/bin/cat", "/proc/self/stat"), NULL, options), "%d (cat) R %*d %d %d", &pid,
	                &group, &session), 3);
	CHECK_EQ(group, is_its_own ? pid : getpgrp());
	CHECK_EQ(session, is_its_own ? pid : getsid(0));
}

static void it_has_a_session_of_its_own_if_that_is_asked_for(void)
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

static void no_signal_is_blocked_ignored_or_handled_in_it_and_the_caller_s_stay(void)
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

	text = said(cg, WORDS("/bin/cat", "/proc/self/status"), NULL, OWN);
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

/* ---- from where it is started ---- */

static void *spawn_twice(void *cg)
{
	CHECK_EQ(reap(started(cg, WORDS("/bin/true"), NULL, OWN)), 0);
	CHECK_ERR(agentcg_spawn(cg, "/nowhere", WORDS("x"), NULL, NULL, 0, NULL, NULL, &why), -ENOENT);
	return cg;
}

static void a_thread_with_the_smallest_stack_can_start_it(void)
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

/* In each system call that is a cancellation point the thread would end, with the child or in its place. */
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

static void a_thread_that_is_to_be_cancelled_starts_it_all_the_same(void)
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
	CHECK_STR(said(cg, WORDS("/bin/echo", "here"), NULL, OWN), "here\n");
}

static void a_forked_child_of_the_host_can_start_it(void)
{
	agentcg *cg = new_group();

	in_child(start_in_a_fork, cg);   /* before the host has ever */
	spawn_twice(cg);
	in_child(start_in_a_fork, cg);
	destroy_group(cg);
}

int main(void)
{
	RUN(its_end_is_told_by_waitpid);
	RUN(its_end_is_told_by_a_pidfd_that_is_close_on_exec);
	RUN(who_does_not_ask_for_pid_and_pidfd_waits_for_any);
	RUN(its_environment_is_the_caller_s_or_the_one_that_is_given);
	RUN(its_first_word_is_its_name_and_need_not_be_its_file);
	RUN(it_has_a_session_of_its_own_if_that_is_asked_for);
	RUN(no_signal_is_blocked_ignored_or_handled_in_it_and_the_caller_s_stay);
	RUN(a_thread_with_the_smallest_stack_can_start_it);
	RUN(a_thread_that_is_to_be_cancelled_starts_it_all_the_same);
	RUN(a_forked_child_of_the_host_can_start_it);
	return 0;
}
