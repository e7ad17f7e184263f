// SPDX-License-Identifier: MIT OR Apache-2.0
// The header compiles as the first one, included twice, in each standard and with strict warnings. Every function is used.
#include <agentcg.hpp>
#include <agentcg.hpp>

using namespace std::chrono_literals;

std::size_t use_header(agentcg *cg);
std::size_t use_header(agentcg *cg)
{
	agentcgpp::limits limits;
	limits.memory_max_bytes = 64 << 20;
	limits.pids_max = agentcgpp::unlimited;
#if __cplusplus >= 202002L
	limits = {.memory_max_bytes = 64 << 20, .cpu_max_millicpu = 500, .pids_max = 32};
#endif
	try {
		auto group = agentcgpp::group::make(limits, AGENTCG_NEW_GUARD), other = agentcgpp::group::adopt(cg);
		other = agentcgpp::group::open(group.uuid(), AGENTCG_OPEN_OWN, group.path());
		agentcgpp::new_options labelled;
		labelled.label = "a label";
		labelled.tag = "header";
#if __cplusplus >= 202002L
		labelled = {.limits = limits, .label = "a label", .tag = "header"};
#endif
		other = agentcgpp::group::make_with(labelled);
		other = group.new_in(labelled);
		other.set_label(std::string("another"));
		other = agentcgpp::group::open_tagged(group.uuid(), "header", AGENTCG_OPEN_OWN, group.path());
		if (agentcgpp::list_tagged("header").size() > std::size_t(agentcgpp::reap_tagged("header", 1s)))
			return 2;
		if (!group || other.move_self() != 0 || !group.contains(1) || group.get_info().owned)
			group.move_pid(1);
		agentcgpp::spawn_options options;
		options.env = {"A=b"};
		group.move_out(1);
		group.move_out_pidfd(0);
		group.move_pidfd(group.spawn({"/bin/true", "-x"}, options));
#if __cplusplus >= 202002L
		group.spawn({"/bin/true"}, {.stdout_fd = AGENTCG_DEVNULL, .env = std::vector<std::string>{}});
#endif
		group.set_limits(group.get_limits(), AGENTCG_SET_FORCE);
		agentcgpp::set_place_limits(agentcgpp::get_place_limits(), group.path(), AGENTCG_SET_FORCE);
		group.write_file("memory.max", group.read_file(std::string("memory.max")));
		if (group.event_fd(AGENTCG_EVENT_EMPTY) != group.fd() && group.next_events(1h) == AGENTCG_EVENT_EMPTY)
			group.freeze(1min);
		group.watch_stall(AGENTCG_STALL_MEMORY, AGENTCG_STALL_FULL, 100ms, 1s);
		group.thaw(0s);
		group.signal_all(15);
		if (group.wait_empty(agentcgpp::infinite) || group.terminate(100ms, 3us))
			group.kill_all(1.5s);
		agentcgpp::kill_all_of(std::vector<std::reference_wrapper<agentcgpp::group>>{group, other}, 1s);
		if (group.read_stats().has(AGENTCG_STAT_CPU) && group.destroy(1ns).has(AGENTCG_STAT_STATE))
			other.free();
		if (agentcgpp::find(1).place != agentcgpp::find_pidfd(0).place)
			return 1;
		return group.pids().size() + agentcgpp::list().size() + agentcgpp::diagnose().text.size() +
		       agentcgpp::discover_parent().size() + (other.release() != group.get());
	} catch (const agentcgpp::error &e) {
		return e.reason() == agentcgpp::why::populated && *e.file() && e.c().code;
	}
	return agentcgpp::is_available() && agentcgpp::reap(5s);
}
