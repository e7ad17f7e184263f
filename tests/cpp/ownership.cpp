// SPDX-License-Identifier: MIT OR Apache-2.0
// The agent when its group object is destroyed, moved, assigned to, freed or released.
#include "throwing.hpp"

#include <csignal>
#include <unistd.h>

namespace {

/// An agent with a process in it, and checks of its state without the object.
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

void the_agent_ends_when_an_exception_leaves_the_scope()
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

void a_group_that_does_not_own_its_agent_does_not_end_it()
{
	populated agent;
	group::open(agent.cg.uuid()).read_stats();
	agent.check_alive();
	agent.cg.destroy(soon);
	agent.check_ended();
}

void a_freed_agent_lives_on_and_ends_with_the_group_that_adopts_it()
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
	agent.cg.free();   // an empty group may be freed
}

void a_released_handle_is_used_in_C_until_it_is_adopted()
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

void an_adopted_handle_without_ownership_does_not_end_the_agent()
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

void a_group_assigned_to_itself_does_not_change()
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

void groups_can_be_in_containers()
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

void destroy_the_copy(void *agent)
{
	group copy = std::move(static_cast<populated *>(agent)->cg);
	CHECK_EQ(copy.pids().size(), 1);
}

void a_forked_childs_group_does_not_end_the_agent()
{
	populated agent;
	in_child(destroy_the_copy, &agent);
	agent.check_alive();
	CHECK_EQ(agent.cg.get_info().owned, 1);
	agent.cg.destroy(soon);
	agent.check_ended();
}

void destroy_the_own_group(void *)
{
	group own = group::make();
	CHECK_EQ(own.move_self(), 0);
	THROWN_BY(own.destroy(soon), resource_deadlock_would_occur);
}

void an_agent_whose_owner_is_inside_becomes_an_orphan()
{
	in_child(destroy_the_own_group, nullptr);
	CHECK_EQ(agentcgpp::list().size(), 1);
	CHECK_EQ(agentcgpp::list()[0].orphan, 1);
	CHECK_EQ(agentcgpp::reap(soon), 1);
}

void a_failed_destroy_does_not_change_the_group()
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

void an_agent_that_another_program_has_removed_can_be_destroyed()
{
	group cg = group::make();
	CHECK_EQ(rmdir(cg.path().c_str()), 0);
	cg.destroy(soon);
	CHECK(!cg);
}

void every_method_of_an_empty_group_throws()
{
	const agentcgpp::limits limits;
	group moved = group::make(), empty, destroyed = group::make();
	group kept = std::move(moved);
	destroyed.destroy(soon);

	agentcgpp::verdict verdict;
	for (group *cg : {&moved, &empty, &destroyed}) {
		CHECK(!*cg);
#define REFUSED(...) CHECK(strstr(THROWN_BY(cg->__VA_ARGS__, invalid_argument).what(), "empty"))
		REFUSED(destroy(soon));
		REFUSED(destroy_explained(soon, verdict));
		REFUSED(explain());
		REFUSED(new_in());
		REFUSED(uuid());
		REFUSED(path());
		REFUSED(fd());
		REFUSED(get_info());
		REFUSED(set_label("x"));
		REFUSED(move_pid(1));
		REFUSED(move_pidfd(0));
		REFUSED(move_out(1));
		REFUSED(move_out_pidfd(0));
		REFUSED(spawn({"/bin/true"}));
		REFUSED(contains(1));
		REFUSED(spawn_result(1));
		REFUSED(pids());
		REFUSED(set_limits(limits));
		REFUSED(get_limits());
		REFUSED(read_file("cgroup.procs"));
		REFUSED(write_file("cgroup.freeze", "1"));
		REFUSED(read_stats());
		REFUSED(event_fd(AGENTCG_EVENT_EMPTY));
		REFUSED(next_events(0s));
		REFUSED(watch_stall(AGENTCG_STALL_CPU, AGENTCG_STALL_SOME, 1ms, 1s));
		REFUSED(wait_empty(0s));
		REFUSED(freeze(0s));
		REFUSED(thaw(0s));
		REFUSED(signal_all(0));
		REFUSED(kill_all(0s));
		REFUSED(terminate(0s, 0s));
		CHECK_EQ(cg->move_self(), -EINVAL);
#undef REFUSED
	}
	moved = std::move(kept);   // an empty group can be assigned to
	CHECK(moved && moved.pids().empty());
}

}

int main()
{
	RUN(the_agent_ends_when_its_group_goes_out_of_scope);
	RUN(the_agent_ends_when_an_exception_leaves_the_scope);
	RUN(a_group_that_does_not_own_its_agent_does_not_end_it);
	RUN(a_freed_agent_lives_on_and_ends_with_the_group_that_adopts_it);
	RUN(a_released_handle_is_used_in_C_until_it_is_adopted);
	RUN(an_adopted_handle_without_ownership_does_not_end_the_agent);
	RUN(an_assignment_ends_the_agent_that_was_there);
	RUN(a_group_assigned_to_itself_does_not_change);
	RUN(groups_can_be_in_containers);
	RUN(a_forked_childs_group_does_not_end_the_agent);
	RUN(an_agent_whose_owner_is_inside_becomes_an_orphan);
	RUN(a_failed_destroy_does_not_change_the_group);
	RUN(an_agent_that_another_program_has_removed_can_be_destroyed);
	RUN(every_method_of_an_empty_group_throws);
}
