/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The library keeps few descriptors, returns all of them with the handle, and works when few are left. */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

static void read_all_stats(agentcg *cg)
{
	agentcg_stats stats;

	CHECK_OK(agentcg_read_stats(cg, AGENTCG_STAT_ALL, &stats, sizeof(stats), &why));
	CHECK(stats.mask & AGENTCG_STAT_CPU);
	CHECK(stats.mask & AGENTCG_STAT_MEMORY);
	CHECK(stats.mask & AGENTCG_STAT_PIDS);
	CHECK(stats.mask & AGENTCG_STAT_STATE);
}

static void all_are_closed_with_the_handle(void)
{
	int before = count_descriptors();

	for (int round = 0; round < 3; round++) {
		agentcg *cg = new_group(), *other = new_group();
		char path[PATH_SIZE];
		agentcg_info info;
		pid_t child = pausing_child();

		CHECK_OK(agentcg_move_pid(cg, child, &why));
		read_all_stats(cg);
		read_all_stats(other);
		CHECK_OK(agentcg_get_info(cg, &info, sizeof(info), &why));
		CHECK_ERR(agentcg_wait_empty(cg, 1, &why), -ETIMEDOUT);
		CHECK_OK(agentcg_event_fd(cg, AGENTCG_EVENT_EMPTY | AGENTCG_EVENT_GONE, &why));
		CHECK_OK(agentcg_freeze(cg, SOON_MS, &why));
		CHECK_OK(agentcg_thaw(cg, SOON_MS, &why));
		CHECK_EQ(agentcg_signal_all(cg, 0, &why), 1);
		CHECK_EQ(agentcg_pids(cg, NULL, 0, &why), 1);
		CHECK_EQ(agentcg_contains(cg, child, &why), 1);
		CHECK_OK(agentcg_move_out(cg, child, &why));
		CHECK_OK(agentcg_move_pid(cg, child, &why));
		CHECK_OK(agentcg_kill_all(cg, SOON_MS, &why));
		check_killed(child);
		destroy_group(cg);
		agentcg_path(other, path, sizeof(path));
		agentcg_free(other);
		CHECK_EQ(rmdir(path), 0);
		CHECK_EQ(count_descriptors(), before);
	}
}

static void failures_keep_no_descriptor(void)
{
	int before = count_descriptors();
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_CPU_WEIGHT, .cpu_weight = 0 };
	agentcg *cg = NULL, *second = NULL;
	char uuid[AGENTCG_UUID_SIZE];

	CHECK_ERR(agentcg_new(NULL, NULL, &limits, sizeof(limits), 0, &cg, &why), -ERANGE);
	CHECK_ERR(agentcg_new("/dev/shm", NULL, NULL, 0, 0, &cg, &why), -ENODEV);
	CHECK_EQ(count_descriptors(), before);

	cg = new_group();
	before = count_descriptors();
	agentcg_uuid(cg, uuid, sizeof(uuid));
	CHECK_ERR(agentcg_new(NULL, uuid, NULL, 0, 0, &second, &why), -EEXIST);
	CHECK_ERR(agentcg_move_pid(cg, -1, &why), -EINVAL);
	CHECK_EQ(count_descriptors(), before);
	destroy_group(cg);
}

static void a_kill_caches_no_descriptor_and_read_stats_at_most_sixteen(void)
{
	int before = count_descriptors();
	agentcg *cg = new_group();
	agentcg_stats stats;
	pid_t child = pausing_child();

	/* The directory, cgroup.kill and cgroup.events; and five for all groups: the
	 * place, the directory of the agents and its cgroup.subtree_control, and the
	 * cgroup and the oom_score_adj of the caller. */
	CHECK(count_descriptors() - before <= 8);
	before = count_descriptors();

	CHECK_OK(agentcg_move_pid(cg, child, &why));
	CHECK_ERR(agentcg_wait_empty(cg, 0, &why), -ETIMEDOUT);
	CHECK_OK(agentcg_kill_all(cg, SOON_MS, &why));
	check_killed(child);
	CHECK_EQ(count_descriptors(), before);

	for (int i = 0; i < 3; i++) {
		CHECK_OK(agentcg_read_stats(cg, AGENTCG_STAT_BASIC, &stats, sizeof(stats), &why));
		CHECK_EQ(count_descriptors() - before, 2);   /* cpu.stat and memory.current */
	}
	for (int i = 0; i < 3; i++) {
		read_all_stats(cg);
		CHECK(count_descriptors() - before <= 15);   /* cgroup.events is open */
	}
	destroy_group(cg);
}

static void cached_descriptors_are_close_on_exec(void)
{
	int before[64], highest = 0;
	agentcg *cg;

	for (int fd = 0; fd < 64; fd++)
		before[fd] = is_open(fd);
	cg = new_group();
	read_all_stats(cg);
	for (int fd = 0; fd < 64; fd++) {
		if (before[fd] || !is_open(fd))
			continue;
		CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		highest = fd;
	}
	CHECK(highest > 0);
	CHECK(fcntl(agentcg_fd(cg), F_GETFD) & FD_CLOEXEC);
	destroy_group(cg);
}

/* ---- when there are few ---- */

/* Open descriptors up to this number, which must be free. Returns how many were opened. */
static int fill_up_to(int highest, int *fillers)
{
	int count = 0;

	do {
		fillers[count] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		CHECK(fillers[count] >= 0);
	} while (fillers[count++] < highest);
	return count;
}

static void close_all(const int *fillers, int count)
{
	while (count > 0)
		close(fillers[--count]);
}

static struct rlimit limit_descriptors(rlim_t soft)
{
	struct rlimit before, now;

	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
	now = before;
	now.rlim_cur = soft;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &now), 0);
	return before;
}

static void none_is_cached_above_half_of_the_limit(void)
{
	struct rlimit before = limit_descriptors(64);
	int fillers[64], count, open_now;
	agentcg *cg = new_group();

	/* 31 is the last number below half: one file is kept open, the others are opened, read and closed. */
	count = fill_up_to(30, fillers);
	open_now = count_descriptors();
	for (int i = 0; i < 3; i++) {
		read_all_stats(cg);
		CHECK_EQ(count_descriptors() - open_now, 1);
	}
	for (int fd = 32; fd < 64; fd++)
		CHECK(!is_open(fd));

	close_all(fillers, count);
	destroy_group(cg);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void one_free_descriptor_is_enough_to_measure(void)
{
	struct rlimit before = limit_descriptors(32);
	int fillers[32], count, open_now;
	agentcg *cg = new_group();

	count = fill_up_to(30, fillers);
	open_now = count_descriptors();
	for (int i = 0; i < 3; i++) {
		read_all_stats(cg);
		CHECK_EQ(count_descriptors(), open_now);
	}
	close_all(fillers, count);
	destroy_group(cg);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void without_a_free_descriptor_calls_fail_with_emfile_and_kills_succeed(void)
{
	agentcg *cg = new_group(), *second = NULL;
	pid_t child = pausing_child();
	agentcg_stats stats;
	char text[16];
	struct rlimit before;
	int fillers[32], count, agents = agents_below(NULL);

	CHECK_OK(agentcg_read_stats(cg, AGENTCG_STAT_BASIC, &stats, sizeof(stats), &why));
	CHECK_OK(agentcg_move_pid(cg, child, &why));
	before = limit_descriptors(32);
	count = fill_up_to(31, fillers);

	check_poison(&stats, sizeof(stats));
	CHECK_ERR(agentcg_new(NULL, NULL, NULL, 0, 0, &second, &why), -EMFILE);
	CHECK(strstr(why.message, "open files") != NULL);
	CHECK_ERR(agentcg_discover_parent(text, sizeof(text), &why), -EMFILE);
	CHECK_ERR(agentcg_move_pid(cg, child, &why), -EMFILE);
	CHECK_EQ(agentcg_move_self(cg), -EMFILE);
	CHECK_ERR(agentcg_read_stats(cg, AGENTCG_STAT_STATE, &stats, sizeof(stats), &why), -EMFILE);
	CHECK_ERR(agentcg_wait_empty(cg, 0, &why), -ETIMEDOUT);
	CHECK_ERR(agentcg_freeze(cg, SOON_MS, &why), -EMFILE);
	CHECK_ERR(agentcg_thaw(cg, SOON_MS, &why), -EMFILE);
	CHECK_ERR(agentcg_signal_all(cg, SIGTERM, &why), -EMFILE);
	CHECK_ERR(agentcg_pids(cg, NULL, 0, &why), -EMFILE);
	CHECK_ERR(agentcg_event_fd(cg, AGENTCG_EVENT_EMPTY, &why), -EMFILE);
	CHECK_ERR(agentcg_contains(cg, child, &why), -EMFILE);
	CHECK_ERR(agentcg_move_out(cg, child, &why), -EMFILE);
	/* A kill needs none. */
	CHECK_OK(agentcg_kill_all(cg, SOON_MS, &why));
	check_killed(child);
	CHECK_ERR(agentcg_destroy(cg, 0, SOON_MS, &stats, sizeof(stats), &why), -EMFILE);
	CHECK(second == NULL);
	CHECK(check_untouched(&stats, sizeof(stats)));
	/* Cached files are read without another descriptor. */
	CHECK_OK(agentcg_read_stats(cg, AGENTCG_STAT_BASIC, &stats, sizeof(stats), &why));
	CHECK_EQ(stats.mask, AGENTCG_STAT_BASIC);

	close_all(fillers, count);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
	CHECK_EQ(agents_below(NULL), agents);
	destroy_group(cg);
}

/* A failure at any step leaves neither an incomplete group nor a descriptor. */
static void with_few_descriptors_a_group_is_made_completely_or_not_at_all(void)
{
	struct rlimit before = limit_descriptors(64);
	int failed = 0, made = 0;

	for (int left = 1; left <= 12; left++) {
		const agentcg_limits limits = {
			.mask = AGENTCG_LIMIT_PIDS_MAX | AGENTCG_LIMIT_MEMORY_MAX, .pids_max = 5,
			.memory_max_bytes = 16 << 20,
		};
		int fillers[64], count = fill_up_to(63, fillers), open_now, result;
		agentcg *cg = NULL;

		close_all(fillers + count - left, left);
		count -= left;
		open_now = count_descriptors();
		result = agentcg_new(NULL, NULL, &limits, sizeof(limits), 0, &cg, &why);
		if (result == 0) {
			made++;
		} else {
			failed++;
			CHECK_EQ(result, -EMFILE);
			CHECK_EQ(count_descriptors(), open_now);
		}
		close_all(fillers, count);
		CHECK_EQ(agents_below(NULL), result == 0);
		if (cg) {
			CHECK_EQ(number_in(cg, "pids.max"), 5);
			destroy_group(cg);
		}
	}
	CHECK(failed > 0 && made > 0);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

int main(void)
{
	RUN(all_are_closed_with_the_handle);
	RUN(failures_keep_no_descriptor);
	RUN(a_kill_caches_no_descriptor_and_read_stats_at_most_sixteen);
	RUN(cached_descriptors_are_close_on_exec);
	RUN(none_is_cached_above_half_of_the_limit);
	RUN(one_free_descriptor_is_enough_to_measure);
	RUN(without_a_free_descriptor_calls_fail_with_emfile_and_kills_succeed);
	RUN(with_few_descriptors_a_group_is_made_completely_or_not_at_all);
	return 0;
}
