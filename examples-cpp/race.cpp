// SPDX-License-Identifier: MIT OR Apache-2.0
//
// race - run several commands, each in its own agent, until one of them has succeeded. The others are then killed, with
// all their descendants.
//
//	$ ./race 'sleep 60' 'sleep 1; exit 1' 'sleep 2; echo here'
//	here
//	race: "sleep 2; echo here" has won, with 4 ms of CPU time
//
// By hand: c++ -std=c++17 race.cpp -o race $(pkg-config --cflags --libs agentcg)
#include <agentcg.hpp>

#include <cstdio>
#include <string>
#include <sys/wait.h>
#include <vector>

using namespace std::chrono_literals;

namespace {

struct runner {
	std::string command;
	agentcgpp::group group;
	pid_t pid;
};

/// Makes a group, with limits if they are available.
agentcgpp::group make()
{
	agentcgpp::limits limits;
	limits.memory_max_bytes = 1 << 30;
	limits.swap_max_bytes = 0;   // otherwise a group above its memory limit continues to grow in swap
	limits.pids_max = 1000;
	try {
		return agentcgpp::group::make(limits, AGENTCG_NEW_GUARD);
	} catch (const agentcgpp::error &e) {
		if (e.reason() != agentcgpp::why::no_controller)
			throw;
		fprintf(stderr, "race: without limits: %s\n", e.what());
		return agentcgpp::group::make({}, AGENTCG_NEW_GUARD);
	}
}

runner start(std::string command)
{
	agentcgpp::group group = make();
	pid_t pid = group.spawn({"/bin/sh", "-c", command});
	return {std::move(command), std::move(group), pid};
}

/// Returns the first runner that succeeds, or nullptr.
runner *winner_of(std::vector<runner> &runners)
{
	for (std::size_t running = runners.size(); running > 0; running--) {
		int status = 0;
		pid_t ended = wait(&status);
		for (runner &each : runners)
			if (each.pid == ended && WIFEXITED(status) && WEXITSTATUS(status) == 0)
				return &each;
	}
	return nullptr;
}

} // namespace

int main(int argc, char **argv)
try {
	std::vector<runner> runners;
	for (int i = 1; i < argc; i++)
		runners.push_back(start(argv[i]));
	runner *winner = winner_of(runners);
	if (!winner) {
		fprintf(stderr, argc < 2 ? "usage: race COMMAND...\n" : "race: no command has succeeded\n");
		return argc < 2 ? 2 : 1;
	}
	agentcgpp::stats last = winner->group.destroy(10s);
	fprintf(stderr, "race: \"%s\" has won, with %.0f ms of CPU time\n", winner->command.c_str(),
	        static_cast<double>(last.cpu_usage_ns) / 1e6);
	return 0;       // the destructors of the other groups end their agents
} catch (const std::exception &e) {
	fprintf(stderr, "race: %s\n", e.what());
	return 1;
}
