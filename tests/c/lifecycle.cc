// SPDX-License-Identifier: MIT OR Apache-2.0
// The C header in C++11: a program that calls the functions of one agent's life.
#include "support.h"

#include <cerrno>
#include <csignal>
#include <memory>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace {

struct Free {
	void operator()(agentcg *cg) const { agentcg_free(cg); }
};
using Group = std::unique_ptr<agentcg, Free>;

Group make(const char *parent, const char *uuid, const agentcg_limits &limits)
{
	agentcg *cg = nullptr;

	CHECK_OK(agentcg_new(parent, uuid, &limits, sizeof(limits), 0, &cg, &why));
	return Group(cg);
}

std::string text(int (*get)(agentcg *, char *, size_t), const Group &group)
{
	int length = get(group.get(), nullptr, 0);

	CHECK(length > 0);
	std::string result(static_cast<size_t>(length) + 1, '\0');
	CHECK_EQ(get(group.get(), &result[0], result.size()), length);
	result.pop_back();
	return result;
}

void a_cxx_program_makes_uses_and_destroys_an_agent()
{
	agentcg_limits limits{};
	limits.mask = AGENTCG_LIMIT_MEMORY_MAX | AGENTCG_LIMIT_PIDS_MAX;
	limits.memory_max_bytes = 64 << 20;
	limits.pids_max = 32;

	CHECK_EQ(agentcg_version_number(), AGENTCG_VERSION_NUMBER);
	CHECK(*agentcg_version_string() != '\0');
	CHECK_EQ(agentcg_is_available(), 1);
	char parent[PATH_SIZE];
	CHECK_OK(agentcg_discover_parent(parent, sizeof(parent), &why));

	Group group = make(nullptr, nullptr, limits);
	std::string uuid = text(agentcg_uuid, group), path = text(agentcg_path, group);
	CHECK(path == std::string(parent) + "/synwire/agents/" + uuid);
	CHECK(agentcg_fd(group.get()) >= 0);
	agentcg_info info{};
	CHECK_OK(agentcg_get_info(group.get(), &info, sizeof(info), &why));
	CHECK(info.controllers & AGENTCG_CONTROLLER_MEMORY);

	pid_t moved = pausing_child();
	CHECK_OK(agentcg_move_pid(group.get(), moved, &why));
	pid_t self = fork();
	CHECK(self >= 0);
	if (self == 0) {
		if (agentcg_move_self(group.get()) == 0)
			raise(SIGSTOP);
		_exit(1);
	}
	siginfo_t stopped;
	CHECK_EQ(waitid(P_PID, static_cast<id_t>(self), &stopped, WSTOPPED), 0);

	agentcg_stats stats{};
	CHECK_OK(agentcg_read_stats(group.get(), AGENTCG_STAT_ALL, &stats, sizeof(stats), &why));
	CHECK_EQ(stats.pids_current, 2);
	CHECK_ERR(agentcg_wait_empty(group.get(), 0, &why), -ETIMEDOUT);
	CHECK_OK(agentcg_kill_all(group.get(), SOON_MS, &why));
	for (pid_t child : {moved, self})
		check_killed(child);

	CHECK_OK(agentcg_destroy(group.release(), 0, AGENTCG_FOREVER, &stats, sizeof(stats), &why));
	CHECK(!is_directory(path.c_str()));
}

}

int main()
{
	RUN(a_cxx_program_makes_uses_and_destroys_an_agent);
}
