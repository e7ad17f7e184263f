// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A host with one epoll loop starts 100 programs in a group with 5 millicpu, by AGENTCG_SPAWN_ASYNC. No turn of the loop
 * may be longer than the milliseconds in the first argument (20 without it). A start that waits takes seconds there.
 */
#include <errno.h>
#include <inttypes.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "spawning.h"

enum { PROGRAMS = 100, MILLICPU = 5 };

static uint64_t longest_ns, limit_ns = 20000000;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void set_cpu(agentcg *cg, uint64_t millicpu)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_CPU_MAX, .cpu_max_millicpu = millicpu };

	CHECK_OK(agentcg_set_limits(cg, &limits, sizeof(limits), 0, &why));
}

static void start_one(agentcg *cg, int epoll)
{
	agentcg_spawn_options options = OWN;
	struct epoll_event event = { .events = EPOLLIN };
	int pidfd;

	options.flags = AGENTCG_SPAWN_ASYNC;
	CHECK_OK(agentcg_spawn(cg, "/bin/true", WORDS("true"), NULL, &options, sizeof(options), NULL, &pidfd, &why));
	event.data.fd = pidfd;
	CHECK_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, pidfd, &event), 0);
}

static void take_end(agentcg *cg, int epoll, int pidfd)
{
	siginfo_t end = { 0 };

	/* close(2) is not enough: children that have not begun hold copies of the descriptor. */
	CHECK_EQ(epoll_ctl(epoll, EPOLL_CTL_DEL, pidfd, NULL), 0);
	CHECK_OK(agentcg_spawn_result(cg, pidfd, &why));
	CHECK_EQ(waitid(P_PIDFD, (id_t)pidfd, &end, WEXITED), 0);
	CHECK_EQ(end.si_code, CLD_EXITED);
	CHECK_EQ(end.si_status, 0);
	CHECK_EQ(close(pidfd), 0);
}

static void a_throttled_group_does_not_hold_its_host(void)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC), started = 0, ended = 0, lifted = 0;
	agentcg *cg = new_group();
	agentcg_stats stats;

	CHECK(epoll >= 0);
	set_cpu(cg, MILLICPU);
	while (ended < PROGRAMS) {
		struct epoll_event events[16];
		int count = epoll_wait(epoll, events, 16, started < PROGRAMS ? 0 : SOON_MS);
		uint64_t begin = now_ns(), turn;

		CHECK(count > 0 || started < PROGRAMS);
		for (int i = 0; i < count; i++)
			take_end(cg, epoll, events[i].data.fd);
		ended += count;
		if (started < PROGRAMS) {
			start_one(cg, epoll);
			started++;
		}
		turn = now_ns() - begin;
		longest_ns = turn > longest_ns ? turn : longest_ns;
		if (started == PROGRAMS && !lifted) {
			lifted = 1;
			CHECK_OK(agentcg_read_stats(cg, AGENTCG_STAT_CPU_THROTTLE, &stats, sizeof(stats), &why));
			CHECK(stats.cpu_nr_throttled > 0 && ended < PROGRAMS);
			set_cpu(cg, AGENTCG_UNLIMITED);         /* they would need minutes */
		}
	}
	printf("the longest turn: %" PRIu64 " us\n", longest_ns / 1000);
	CHECK(longest_ns <= limit_ns);
	CHECK_EQ(close(epoll), 0);
	check_nothing_is_left(cg);
	destroy_group(cg);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		limit_ns = (uint64_t)atoi(argv[1]) * 1000000;
	RUN(a_throttled_group_does_not_hold_its_host);
	return 0;
}
