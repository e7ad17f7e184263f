// SPDX-License-Identifier: MIT OR Apache-2.0
// Several threads use one group, and each its own group.
#include "throwing.hpp"

#include <atomic>
#include <thread>

namespace {

constexpr int rounds = 200;

void two_threads_use_one_group()
{
	group cg = group::make();
	pid_t child = pausing_child();
	cg.move_pid(child);
	std::thread changes([&] {
		for (int i = 1; i <= rounds; i++) {
			agentcgpp::limits limits;
			limits.pids_max = static_cast<std::uint64_t>(i);
			cg.set_limits(limits);
		}
	});
	std::uint64_t last = 0;
	for (int i = 0; i < rounds || last != rounds; i++) {
		agentcgpp::stats stats = cg.read_stats(AGENTCG_STAT_ALL);
		CHECK(stats.has(AGENTCG_STAT_BASIC | AGENTCG_STAT_PIDS) && stats.pids_current == 1);
		CHECK(cg.pids() == std::vector<pid_t>{child});
		std::uint64_t now = cg.get_limits().pids_max.value();
		CHECK(now >= last || last == agentcgpp::unlimited || i == 0);
		last = now;
	}
	changes.join();
	cg.destroy(soon);
	check_killed(child);
}

void a_waiting_thread_returns_after_the_kill_of_another()
{
	group cg = group::make();
	pid_t child = pausing_child();
	cg.move_pid(child);
	std::atomic<bool> waits{false};
	std::thread waiting([&] {
		waits = true;
		CHECK(cg.wait_empty(soon));
	});
	while (!waits)
		std::this_thread::yield();
	cg.kill_all(soon);
	waiting.join();
	check_killed(child);
}

void each_thread_gets_its_own_errors()
{
	group one = group::make(), other = group::make();
	auto refused = [](group &cg, const char *file) {
		for (int i = 0; i < rounds; i++)
			CHECK_STR(THROWN_BY(cg.read_file(file), no_such_file_or_directory).file(), file);
	};
	std::thread beside([&] { refused(one, "memory.nothing"); });
	refused(other, "pids.nothing");
	beside.join();
}

void threads_make_and_destroy_their_own_groups()
{
	auto makes = [] {
		for (int i = 0; i < rounds / 20; i++) {
			group cg = group::make();
			if (i % 2)
				cg.destroy(soon);
		}
	};
	std::thread beside(makes);
	makes();
	beside.join();
}

}

int main()
{
	RUN(two_threads_use_one_group);
	RUN(a_waiting_thread_returns_after_the_kill_of_another);
	RUN(each_thread_gets_its_own_errors);
	RUN(threads_make_and_destroy_their_own_groups);
}
