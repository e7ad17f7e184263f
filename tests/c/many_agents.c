/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Many at once: threads and processes that make groups beside each other, and
 * threads that share one. An argument scales the numbers: "many_agents 10" does a
 * tenth, for valgrind.
 */
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 8
#define PROCESSES 8

static int divisor = 1;

static struct {
	pthread_barrier_t start;
	int made;      /* in all threads and processes */
	int to_make;
} *common;

static void prepare(int to_make, unsigned workers)
{
	pthread_barrierattr_t attributes;

	if (!common) {
		common = mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		CHECK(common != MAP_FAILED);
	}
	common->made = 0;
	common->to_make = to_make;
	pthread_barrierattr_init(&attributes);
	pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	CHECK_EQ(pthread_barrier_init(&common->start, &attributes, workers), 0);
	pthread_barrierattr_destroy(&attributes);
}

static void run_threads(void *(*body)(void *), void *argument)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, body, argument), 0);
	for (int i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

/* ---- new and destroy ---- */

/* Two groups at a time, so that they overlap in each worker as well. */
static void *make_and_destroy(void *unused)
{
	agentcg *older = NULL;

	(void)unused;
	pthread_barrier_wait(&common->start);
	while (__atomic_fetch_add(&common->made, 1, __ATOMIC_RELAXED) < common->to_make) {
		agentcg_limits limits = { .mask = AGENTCG_LIMIT_PIDS_MAX | AGENTCG_LIMIT_MEMORY_MAX };
		agentcg *cg;

		limits.pids_max = 3;
		limits.memory_max_bytes = 16 << 20;
		CHECK_OK(agentcg_new(NULL, NULL, &limits, sizeof(limits), 0, &cg, &why));
		CHECK_EQ(number_in(cg, "pids.max"), 3);
		CHECK_EQ(number_in(cg, "memory.max"), 16 << 20);
		if (older)
			destroy_group(older);
		older = cg;
	}
	if (older)
		destroy_group(older);
	return NULL;
}

static void make_and_destroy_in_child(void *unused)
{
	make_and_destroy(unused);
}

/* Children first: a process with threads is no good to fork from. */
static void start_children(pid_t *children, void (*body)(void *))
{
	for (int i = 0; i < PROCESSES; i++)
		children[i] = child_that_runs(body, NULL);
}

static void reap_children(const pid_t *children)
{
	for (int i = 0; i < PROCESSES; i++)
		CHECK_EQ(reap(children[i]), 0);
}

static void threads_and_processes_make_a_thousand_groups_and_none_fails(void)
{
	pid_t children[PROCESSES];

	prepare(1000 / divisor, THREADS + PROCESSES);
	start_children(children, make_and_destroy_in_child);
	run_threads(make_and_destroy, NULL);
	reap_children(children);
	CHECK(common->made >= common->to_make);
	CHECK_EQ(agents_below(NULL), 0);
}

static void make_one(void *unused)
{
	agentcg *cg;

	(void)unused;
	pthread_barrier_wait(&common->start);
	cg = new_group();
	CHECK(number_in(cg, "pids.current") == 0);
	destroy_group(cg);
}

static void the_tree_itself_may_be_made_by_all_at_once(void)
{
	for (int round = 0; round < 12 / divisor + 1; round++) {
		char path[PATH_SIZE];
		pid_t children[PROCESSES];

		/* As on the first day, or after a clean-up: neither synwire/ nor agents/ is there. */
		agents_directory(path);
		CHECK(rmdir(path) == 0 || errno == ENOENT);
		*strrchr(path, '/') = '\0';
		CHECK(rmdir(path) == 0 || errno == ENOENT);

		prepare(0, PROCESSES);
		start_children(children, make_one);
		reap_children(children);
	}
}

static const char chosen[] = "0d9a5c1e-51b0-4b2c-8f0b-3b8f0e6c2a11";

static void *want_the_same_uuid(void *winners)
{
	agentcg *cg;
	int result;

	pthread_barrier_wait(&common->start);
	result = agentcg_new(NULL, chosen, NULL, 0, 0, &cg, &why);
	CHECK(result == 0 || result == -EEXIST);
	if (result == 0)
		__atomic_fetch_add((int *)winners, 1, __ATOMIC_RELAXED);
	pthread_barrier_wait(&common->start);   /* until all have tried */
	if (result == 0)
		destroy_group(cg);
	return NULL;
}

static void of_all_who_want_one_uuid_at_once_one_gets_it(void)
{
	for (int round = 0; round < 40 / divisor + 1; round++) {
		int winners = 0;

		prepare(0, THREADS);
		run_threads(want_the_same_uuid, &winners);
		CHECK_EQ(winners, 1);
	}
}

/* ---- one handle for all ---- */

static int movers_left;

/* Ends only when a killer has got its process: one that is missed makes the test hang. */
static void move(agentcg *cg)
{
	for (int round = 0; round < 60 / divisor + 1; round++) {
		pid_t child = pausing_child();
		int result = agentcg_move_pid(cg, child, &why);

		/* Killed between the move and the look whether it worked, perhaps. */
		CHECK(result == 0 || result == -ESRCH);
		check_killed(child);
	}
	__atomic_fetch_sub(&movers_left, 1, __ATOMIC_SEQ_CST);
}

static void kill_until_all_have_moved(agentcg *cg)
{
	while (__atomic_load_n(&movers_left, __ATOMIC_SEQ_CST) > 0)
		CHECK_OK(agentcg_kill_all(cg, SOON_MS, &why));
}

static void read_until_all_have_moved(agentcg *cg)
{
	uint64_t usage_ns = 0;

	while (__atomic_load_n(&movers_left, __ATOMIC_SEQ_CST) > 0) {
		agentcg_stats stats;
		agentcg_info info;

		CHECK_OK(agentcg_read_stats(cg, AGENTCG_STAT_ALL, &stats, sizeof(stats), &why));
		CHECK(stats.mask & AGENTCG_STAT_PIDS && stats.pids_current <= THREADS);
		CHECK(stats.cpu_usage_ns >= usage_ns);
		usage_ns = stats.cpu_usage_ns;
		CHECK_OK(agentcg_get_info(cg, &info, sizeof(info), &why));
	}
}

static int next_role;

static void *take_a_role(void *cg)
{
	static void (*const roles[THREADS])(agentcg *) = {
		move, move, move, kill_until_all_have_moved, kill_until_all_have_moved,
		read_until_all_have_moved, read_until_all_have_moved, read_until_all_have_moved,
	};

	roles[__atomic_fetch_add(&next_role, 1, __ATOMIC_RELAXED)](cg);
	return NULL;
}

static void threads_share_one_handle(void)
{
	agentcg *cg = new_group();

	movers_left = 3;
	run_threads(take_a_role, cg);
	CHECK_OK(agentcg_wait_empty(cg, 0, &why));
	destroy_group(cg);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		divisor = atoi(argv[1]);
	CHECK(divisor > 0);
	RUN(threads_and_processes_make_a_thousand_groups_and_none_fails);
	RUN(the_tree_itself_may_be_made_by_all_at_once);
	RUN(of_all_who_want_one_uuid_at_once_one_gets_it);
	RUN(threads_share_one_handle);
	return 0;
}
