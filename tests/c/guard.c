/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * AGENTCG_NEW_GUARD in a C program, with the library and the guard as they are
 * installed. tests/behaviour/guard.rs tests the guard in detail.
 *
 * The program also runs with AddressSanitizer, and with a preloaded library that
 * replaces a function of libc. Neither is in the guard's process.
 */
#include "support.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static agentcg *new_guarded(void)
{
	agentcg *cg = NULL;

	CHECK_OK(agentcg_new(NULL, NULL, NULL, 0, AGENTCG_NEW_GUARD, &cg, &why));
	return cg;
}

static unsigned int guarded(agentcg *cg)
{
	agentcg_info info;

	CHECK_OK(agentcg_get_info(cg, &info, sizeof(info), &why));
	return info.guarded;
}

static void use_guarded_agents(void *unused)
{
	agentcg *plain = new_group(), *cg = new_guarded(), *second = new_guarded();
	pid_t child = pausing_child();

	(void)unused;
	CHECK_EQ(guarded(plain), 0);
	CHECK_EQ(guarded(cg), 1);
	CHECK_EQ(guarded(second), 1);
	CHECK_OK(agentcg_move_pid(cg, child, &why));
	destroy_group(cg);
	check_killed(child);
	CHECK_EQ(guarded(second), 1);
	destroy_group(second);
	destroy_group(plain);
}

/* In a child, because the library keeps the guard's socket as long as the guard runs. */
static void a_guarded_agent_is_reported_as_guarded_and_can_be_destroyed(void)
{
	CHECK_EQ(reap(child_that_runs(use_guarded_agents, NULL)), 0);
}

/* malloc's lock is held most of the time, also when the guard is started. */
static void *allocate_without_end(void *unused)
{
	(void)unused;
	for (size_t size = 1;; size = size * 7 % 100003 + 1)
		free(malloc(size));
	return NULL;
}

static void *guard_and_be_killed(void *unused)
{
	agentcg *cg = new_guarded();
	pid_t child = pausing_child();

	(void)unused;
	CHECK_OK(agentcg_move_pid(cg, child, &why));
	CHECK_EQ(guarded(cg), 1);
	kill(getpid(), SIGKILL);
	return NULL;
}

static void a_program_with_threads(void *from_a_thread)
{
	pthread_t thread;

	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&thread, NULL, allocate_without_end, NULL), 0);
	if (!*(int *)from_a_thread)
		guard_and_be_killed(NULL);
	CHECK_EQ(pthread_create(&thread, NULL, guard_and_be_killed, NULL), 0);
	pthread_join(thread, NULL);
}

static void a_killed_program_with_busy_threads_leaves_nothing(void)
{
	for (int round = 0; round < 10; round++) {
		int from_a_thread = round % 2, status = reap(child_that_runs(a_program_with_threads, &from_a_thread));
		int64_t start = now_ms();

		CHECK(WIFSIGNALED(status));
		while (agents_below(NULL) > 0) {
			CHECK(now_ms() - start < SOON_MS);
			sched_yield();
		}
	}
}

/* The pid of the calling process's guard, from the guard's cgroup beside "agents". */
static pid_t guard_of(agentcg *cg)
{
	char path[PATH_SIZE], procs[2 * PATH_SIZE];
	int pid = 0;

	CHECK(agentcg_path(cg, path, sizeof(path)) > 0);
	snprintf(procs, sizeof(procs), "%s/../../guard-%d/cgroup.procs", path, (int)getpid());
	FILE *file = fopen(procs, "r");
	CHECK(file != NULL);
	CHECK_EQ(fscanf(file, "%d", &pid), 1);
	fclose(file);
	return pid;
}

static void guard_without_a_limit(void *resource)
{
	agentcg *cg = new_guarded();
	pid_t child = pausing_child();
	struct rlimit none = { 0, 0 };

	CHECK_OK(agentcg_move_pid(cg, child, &why));
	CHECK_EQ(prlimit(guard_of(cg), *(int *)resource, &none, NULL), 0);
	kill(getpid(), SIGKILL);
}

/* Any process of the same uid can set these limits to 0. The installed guard must need none of these resources then. */
static void a_guard_without_its_limits_leaves_nothing(void)
{
	int resources[] = { RLIMIT_NOFILE, RLIMIT_AS, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_FSIZE };

	for (size_t i = 0; i < sizeof(resources) / sizeof(*resources); i++) {
		int64_t start = now_ms();
		int status = reap(child_that_runs(guard_without_a_limit, &resources[i]));

		CHECK(WIFSIGNALED(status));
		while (agents_below(NULL) > 0) {
			CHECK(now_ms() - start < SOON_MS);
			sched_yield();
		}
	}
}

/* Descriptors that a child of the host opens where the host's copies of the library's were. */
enum { FIRST = 3, LAST = 63 };

static void open_own_files(ino_t *files)
{
	for (int fd = FIRST; fd <= LAST; fd++) {
		char path[] = "/tmp/own-XXXXXX";
		struct stat stat;

		close(fd);
		CHECK_EQ(mkostemp(path, O_CLOEXEC), fd);
		CHECK_EQ(unlink(path), 0);
		CHECK_EQ(fstat(fd, &stat), 0);
		files[fd] = stat.st_ino;
	}
}

static void check_own_files(const ino_t *files)
{
	for (int fd = FIRST; fd <= LAST; fd++) {
		struct stat stat;

		CHECK_EQ(fstat(fd, &stat), 0);
		CHECK_EQ(stat.st_ino, files[fd]);
		CHECK_EQ(stat.st_size, 0);
	}
}

static void close_all_and_make_agents(void *parent)
{
	ino_t files[LAST + 1];
	const char *parents[] = { NULL, parent };

	open_own_files(files);
	for (size_t i = 0; i < 2; i++) {
		agentcg_stats stats;
		agentcg *cg = NULL;
		pid_t child = pausing_child();

		CHECK_OK(agentcg_new(parents[i], NULL, NULL, 0, AGENTCG_NEW_GUARD, &cg, &why));
		CHECK_EQ(guarded(cg), 1);
		CHECK_OK(agentcg_move_pid(cg, child, &why));
		CHECK_OK(agentcg_event_fd(cg, AGENTCG_EVENT_EMPTY | AGENTCG_EVENT_GONE, &why));
		CHECK_OK(agentcg_read_stats(cg, AGENTCG_STAT_ALL, &stats, sizeof(stats), &why));
		CHECK_OK(agentcg_kill_all(cg, SOON_MS, &why));
		check_killed(child);
		destroy_group(cg);
		check_own_files(files);
	}
}

static void use_agents_and_fork(void *unused)
{
	char path[PATH_SIZE], *end;
	agentcg *found = new_guarded(), *named = NULL;
	agentcg_stats stats;

	(void)unused;
	CHECK(agentcg_path(found, path, sizeof(path)) > 0);
	end = strstr(path, "/synwire");
	CHECK(end != NULL);
	*end = 0;
	CHECK_OK(agentcg_new(path, NULL, NULL, 0, AGENTCG_NEW_GUARD, &named, &why));
	CHECK_OK(agentcg_event_fd(found, AGENTCG_EVENT_EMPTY | AGENTCG_EVENT_GONE, &why));
	CHECK_OK(agentcg_event_fd(named, AGENTCG_EVENT_EMPTY | AGENTCG_EVENT_GONE, &why));
	CHECK_OK(agentcg_read_stats(found, AGENTCG_STAT_ALL, &stats, sizeof(stats), &why));
	in_child(close_all_and_make_agents, path);
	CHECK_EQ(guarded(found), 1);
	CHECK_EQ(guarded(named), 1);
	destroy_group(named);
	destroy_group(found);
}

/* As a daemon does. The library keeps descriptors of the place, the guard and the watches. */
static void a_forked_child_that_closes_all_descriptors_makes_agents_and_uses_none_of_the_numbers(void)
{
	in_child(use_agents_and_fork, NULL);
}

int main(void)
{
	RUN(a_forked_child_that_closes_all_descriptors_makes_agents_and_uses_none_of_the_numbers);
	RUN(a_guarded_agent_is_reported_as_guarded_and_can_be_destroyed);
	RUN(a_killed_program_with_busy_threads_leaves_nothing);
	RUN(a_guard_without_its_limits_leaves_nothing);
	return 0;
}
