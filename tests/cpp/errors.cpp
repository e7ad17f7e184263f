// SPDX-License-Identifier: MIT OR Apache-2.0
// The exceptions for the errors of C: code, reason, file and message.
#include "throwing.hpp"

#include <unistd.h>

namespace {

using agentcgpp::why;

void an_invalid_limit_names_its_file_and_leaves_nothing()
{
	agentcgpp::limits limits;
	limits.memory_max_bytes = 1;
	agentcgpp::error e = THROWN_BY(group::make(limits), result_out_of_range);
	CHECK_STR(e.file(), "memory.max");
	CHECK(strstr(e.what(), "memory.max"));
	CHECK(e.reason() == why::unsaid);

	group cg = group::make();
	CHECK_STR(THROWN_BY(cg.set_limits(limits), result_out_of_range).file(), "memory.max");
}

void a_uuid_in_use_throws_file_exists()
{
	group cg = group::make();
	agentcgpp::error e = THROWN_BY(group::make({}, 0, cg.uuid()), file_exists);
	CHECK(strstr(e.what(), cg.uuid().c_str()));
}

void a_living_owner_throws_device_or_resource_busy()
{
	group cg = group::make();
	THROWN_BY(group::open(cg.uuid(), AGENTCG_OPEN_OWN), device_or_resource_busy);
	CHECK(cg.get_info().owned);
}

void missing_and_invalid_arguments_throw()
{
	THROWN_BY(group::open("01234567-89ab-4def-8123-456789abcdef"), no_such_file_or_directory);
	THROWN_BY(group::open(nullptr), invalid_argument);
	THROWN_BY(group::make({}, 0, ""), invalid_argument);
	THROWN_BY(group::make({}, 1ull << 63), invalid_argument);
	CHECK(strstr(THROWN_BY(group::make({}, AGENTCG_NEW_SYSTEMD | AGENTCG_NEW_NO_SYSTEMD), invalid_argument).what(), "exclude"));
	THROWN_BY(agentcgpp::list("/proc"), no_such_device);
	THROWN_BY(agentcgpp::reap(soon, "/proc"), no_such_device);
	THROWN_BY(agentcgpp::get_place_limits("/proc"), no_such_device);
	THROWN_BY(agentcgpp::set_place_limits({}, "/proc"), no_such_device);
	THROWN_BY(agentcgpp::set_place_limits({}, nullptr, 1ull << 63), invalid_argument);
	THROWN_BY(agentcgpp::get_place_limits(), no_such_file_or_directory);
	THROWN_BY(group::make({}, 0, nullptr, "/proc"), no_such_device);

	agentcgpp::new_options options;
	options.parent = "/proc";
	CHECK(strstr(THROWN_BY(group::make().new_in(options), invalid_argument).what(), "parent"));
	options.parent.reset();
	options.label = "two\nlines";
	CHECK(strstr(THROWN_BY(group::make_with(options), invalid_argument).what(), "label"));
	options.label = std::string("a\0b", 3);
	THROWN_BY(group::make_with(options), invalid_argument);
	options.label.clear();
	options.tag = "a b";
	CHECK(strstr(THROWN_BY(group::make_with(options), invalid_argument).what(), "tag"));
	THROWN_BY(group::open_tagged("01234567-89ab-4def-8123-456789abcdef", "x"), no_such_file_or_directory);
	THROWN_BY(agentcgpp::list_tagged(nullptr), invalid_argument);
	THROWN_BY(agentcgpp::reap_tagged("", soon), invalid_argument);

	group cg = group::make();
	CHECK_STR(THROWN_BY(cg.read_file("memory.nothing"), no_such_file_or_directory).file(), "memory.nothing");
	THROWN_BY(cg.set_label("\x7f"), invalid_argument);
	THROWN_BY(group::open(cg.uuid()).set_label("x"), operation_not_permitted);
	THROWN_BY(cg.read_file("../cgroup.procs"), invalid_argument);
	THROWN_BY(cg.write_file("pids.max", "many"), invalid_argument);
	THROWN_BY(cg.write_file(std::string("pids.max\0", 9), "1"), invalid_argument);
	CHECK(cg.read_file("pids.max") == "max\n");
	THROWN_BY(cg.move_pid(0), invalid_argument);
	THROWN_BY(cg.contains(0), invalid_argument);
	THROWN_BY(agentcgpp::find(0), invalid_argument);
	THROWN_BY(agentcgpp::find_pidfd(-1), bad_file_descriptor);
	THROWN_BY(cg.spawn_result(0), invalid_argument);
	THROWN_BY(cg.signal_all(-1), invalid_argument);
	THROWN_BY(cg.next_events(0s), invalid_argument);
	THROWN_BY(cg.watch_stall(AGENTCG_STALL_CPU, AGENTCG_STALL_SOME, 2s, 1s), invalid_argument);
	THROWN_BY(cg.watch_stall(AGENTCG_STALL_CPU, AGENTCG_STALL_SOME, -1us, 1s), invalid_argument);
}

void an_ended_process_throws_no_such_process()
{
	group cg = group::make();
	pid_t child = pausing_child();
	kill_and_reap(child);
	THROWN_BY(cg.move_pid(child), no_such_process);
	THROWN_BY(cg.contains(child), no_such_process);
}

void a_removed_group_throws_the_reason_gone()
{
	group cg = group::make();
	CHECK_EQ(rmdir(cg.path().c_str()), 0);
	for (const agentcgpp::error &e : {
		THROWN_BY(cg.get_info(), no_such_device),
		THROWN_BY(cg.pids(), no_such_device),
		THROWN_BY(cg.get_limits(), no_such_device),
		THROWN_BY(cg.read_file("pids.max"), no_such_device),
		THROWN_BY(cg.kill_all(soon), no_such_device),
		THROWN_BY(cg.terminate(soon, soon), no_such_device),
		THROWN_BY(cg.freeze(soon), no_such_device),
		THROWN_BY(cg.event_fd(AGENTCG_EVENT_EMPTY), no_such_device),
	})
		CHECK(e.reason() == why::gone);
}

void kill_the_own_group(void *)
{
	group cg = group::make();
	CHECK_EQ(cg.move_self(), 0);
	CHECK(THROWN_BY(cg.kill_all(soon), resource_deadlock_would_occur).reason() == why::caller_inside);
}

void a_caller_inside_its_group_throws_caller_inside()
{
	in_child(kill_the_own_group, nullptr);
	CHECK_EQ(agentcgpp::reap(soon), 1);
}

}

int main()
{
	RUN(an_invalid_limit_names_its_file_and_leaves_nothing);
	RUN(a_uuid_in_use_throws_file_exists);
	RUN(a_living_owner_throws_device_or_resource_busy);
	RUN(missing_and_invalid_arguments_throw);
	RUN(an_ended_process_throws_no_such_process);
	RUN(a_removed_group_throws_the_reason_gone);
	RUN(a_caller_inside_its_group_throws_caller_inside);
}
