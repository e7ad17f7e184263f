// SPDX-License-Identifier: MIT OR Apache-2.0
// What becomes of an agent when its group goes, moves, is assigned to or given up.
#include "throwing.hpp"

#include <csignal>
#include <unistd.h>

namespace {

/// An agent with a process in it, and what is to be seen of it from outside.
struct populated {
	group cg = group::make();
	std::string path = cg.path();
	pid_t child = pausing_child();

	populated() { cg.move_pid(child); }
	void check_ended() const
	{
		CHECK(!is_directory(path.c_str()));
		check_killed(child);
	}
	void check_alive() const
	{
		CHECK(is_directory(path.c_str()));
		CHECK_EQ(kill(child, 0), 0);
		group guest = group::open(path.substr(path.rfind('/') + 1));
		CHECK(holds(guest.get(), child));
	}
};

void the_agent_ends_when_its_group_goes_out_of_scope()
{
	populated agent;
	{
		group scoped = std::move(agent.cg);
		agent.check_alive();
	}
	agent.check_ended();
}

void the_agent_ends_when_an_exception_passes()
{
	populated agent;
	try {
		group scoped = std::move(agent.cg);
		scoped.move_pid(0);
	} catch (const agentcgpp::error &) {
		agent.check_ended();
		return;
	}
	CHECK_FAIL("nothing was thrown");
}

void a_guests_agent_is_left_be()
{
	populated agent;
	group::open(agent.cg.uuid()).read_stats();
	agent.check_alive();
	agent.cg.destroy(soon);
	agent.check_ended();
}

void a_freed_agent_lives_on_and_ends_with_who_takes_it_over()
{
	populated agent;
	std::string uuid = agent.cg.uuid();
	agent.cg.free();
	CHECK(!agent.cg);
	agent.check_alive();
	{
		group taken = group::open(uuid, AGENTCG_OPEN_OWN);
		CHECK_EQ(taken.get_info().owned, 1);
	}
	agent.check_ended();
	agent.cg.free();   // of nothing is nothing
}

void a_released_handle_is_Cs_until_it_is_adopted()
{
	populated agent;
	agentcg *cg = agent.cg.release();
	CHECK(!agent.cg && agent.cg.get() == nullptr && agent.cg.release() == nullptr);
	agent.cg = group();
	agent.check_alive();
	CHECK(holds(cg, agent.child));
	{
		group adopted = group::adopt(cg);
		CHECK(adopted.get() == cg);
	}
	agent.check_ended();
}

void a_guests_handle_is_adopted_as_a_guests()
{
	populated agent;
	agentcg *cg = nullptr;
	CHECK_OK(agentcg_open(nullptr, agent.cg.uuid().c_str(), 0, &cg, &why));
	static_cast<void>(group::adopt(cg));
	agent.check_alive();
	agent.cg.destroy(soon);
	agent.check_ended();
}

void an_assignment_ends_the_agent_that_was_there()
{
	populated first, second;
	group kept = std::move(first.cg);
	kept = std::move(second.cg);
	first.check_ended();
	second.check_alive();
	CHECK(!second.cg && kept.path() == second.path);
	kept = group();
	second.check_ended();
}

void a_group_assigned_to_itself_is_as_it_was()
{
	populated agent;
	group &same = agent.cg;
	agent.cg = std::move(same);
	agent.check_alive();
	CHECK_EQ(agent.cg.pids().size(), 1);
	std::swap(agent.cg, same);
	agent.check_alive();
	agent.cg.destroy(soon);
	agent.check_ended();
}

void groups_live_in_containers()
{
	std::vector<group> groups;
	for (int i = 0; i < 5; i++)
		groups.push_back(group::make());
	CHECK_EQ(agentcgpp::list().size(), 5);
	groups.erase(groups.begin() + 1);
	CHECK_EQ(agentcgpp::list().size(), 4);
	groups.clear();
	CHECK_EQ(agentcgpp::list().size(), 0);
}

void end_a_copy(void *agent)
{
	group copy = std::move(static_cast<populated *>(agent)->cg);
	CHECK_EQ(copy.pids().size(), 1);
}

void in_a_forked_child_a_group_that_goes_ends_nothing()
{
	populated agent;
	in_child(end_a_copy, &agent);
	agent.check_alive();
	CHECK_EQ(agent.cg.get_info().owned, 1);
	agent.cg.destroy(soon);
	agent.check_ended();
}

void end_ones_own(void *)
{
	group own = group::make();
	CHECK_EQ(own.move_self(), 0);
	THROWN_BY(own.destroy(soon), resource_deadlock_would_occur);
}

void an_agent_that_the_caller_is_inside_of_is_left_to_be_reaped()
{
	in_child(end_ones_own, nullptr);
	CHECK_EQ(agentcgpp::list().size(), 1);
	CHECK_EQ(agentcgpp::list()[0].orphan, 1);
	CHECK_EQ(agentcgpp::reap(soon), 1);
}

void a_group_that_could_not_be_destroyed_is_as_it_was()
{
	populated agent;
	group guest = group::open(agent.cg.uuid());
	THROWN_BY(agent.cg.destroy(soon, AGENTCG_DESTROY_IF_EMPTY), device_or_resource_busy);
	CHECK(agent.cg);
	agent.check_alive();
	THROWN_BY(agent.cg.destroy(soon, 1ull << 63), invalid_argument);
	agent.check_alive();

	agentcgpp::stats last = agent.cg.destroy(soon);
	agent.check_ended();
	CHECK(!agent.cg);
	CHECK(last.has(AGENTCG_STAT_CPU | AGENTCG_STAT_STATE));
	CHECK_EQ(last.populated, 0);
	CHECK(THROWN_BY(guest.read_stats(), no_such_device).reason() == agentcgpp::why::gone);
}

void an_agent_that_somebody_else_has_removed_is_destroyed_all_the_same()
{
	group cg = group::make();
	CHECK_EQ(rmdir(cg.path().c_str()), 0);
	cg.destroy(soon);
	CHECK(!cg);
}

void an_empty_group_says_so_whatever_it_is_asked()
{
	const agentcgpp::limits limits;
	group moved = group::make(), empty, destroyed = group::make();
	group kept = std::move(moved);
	destroyed.destroy(soon);

	for (group *cg : {&moved, &empty, &destroyed}) {
		CHECK(!*cg);
#define SAYS_SO(...) CHECK(strstr(THROWN_BY(cg->__VA_ARGS__, invalid_argument).what(), "empty"))
		SAYS_SO(destroy(soon));
		SAYS_SO(uuid());
		SAYS_SO(path());
		SAYS_SO(fd());
		SAYS_SO(get_info());
		SAYS_SO(move_pid(1));
		SAYS_SO(move_pidfd(0));
		SAYS_SO(spawn({"/bin/true"}));
		SAYS_SO(contains(1));
		SAYS_SO(pids());
		SAYS_SO(set_limits(limits));
		SAYS_SO(get_limits());
		SAYS_SO(read_file("cgroup.procs"));
		SAYS_SO(write_file("cgroup.freeze", "1"));
		SAYS_SO(read_stats());
		SAYS_SO(event_fd(AGENTCG_EVENT_EMPTY));
		SAYS_SO(next_events(0s));
		SAYS_SO(wait_empty(0s));
		SAYS_SO(freeze(0s));
		SAYS_SO(thaw(0s));
		SAYS_SO(signal_all(0));
		SAYS_SO(kill_all(0s));
		SAYS_SO(terminate(0s, 0s));
		CHECK_EQ(cg->move_self(), -EINVAL);
#undef SAYS_SO
	}
	moved = std::move(kept);   // and can be one again
	CHECK(moved && moved.pids().empty());
}

}

int main()
{
	RUN(the_agent_ends_when_its_group_goes_out_of_scope);
	RUN(the_agent_ends_when_an_exception_passes);
	RUN(a_guests_agent_is_left_be);
	RUN(a_freed_agent_lives_on_and_ends_with_who_takes_it_over);
	RUN(a_released_handle_is_Cs_until_it_is_adopted);
	RUN(a_guests_handle_is_adopted_as_a_guests);
	RUN(an_assignment_ends_the_agent_that_was_there);
	RUN(a_group_assigned_to_itself_is_as_it_was);
	RUN(groups_live_in_containers);
	RUN(in_a_forked_child_a_group_that_goes_ends_nothing);
	RUN(an_agent_that_the_caller_is_inside_of_is_left_to_be_reaped);
	RUN(a_group_that_could_not_be_destroyed_is_as_it_was);
	RUN(an_agent_that_somebody_else_has_removed_is_destroyed_all_the_same);
	RUN(an_empty_group_says_so_whatever_it_is_asked);
}
