// SPDX-License-Identifier: MIT OR Apache-2.0
// Every function: its arguments reach C, and the results of C are returned. Both are compared with the kernel's files.
#include "throwing.hpp"

#include <algorithm>
#include <csignal>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

void an_agent_is_made_with_the_given_place_limits_and_uuid()
{
	const char *uuid = "01234567-89ab-4def-8123-456789abcdef";
	char parent[PATH_SIZE];
	make_parent(parent, "named", "+memory +pids");
	agentcgpp::limits limits;
	limits.memory_max_bytes = 64 << 20;
	limits.pids_max = agentcgpp::unlimited;
	group cg = group::make(limits, AGENTCG_NEW_NO_SYSTEMD, uuid, std::string(parent));

	CHECK(cg.uuid() == uuid);
	CHECK(cg.path() == std::string(parent) + "/synwire/agents/" + uuid);
	CHECK_EQ(number_in(cg.get(), "memory.max"), 64 << 20);
	agentcg_info info = cg.get_info();
	CHECK(info.owned && info.place == AGENTCG_PLACE_GIVEN);
	struct stat by_fd;
	CHECK_EQ(fstat(cg.fd(), &by_fd), 0);
	CHECK_EQ(by_fd.st_ino, info.id);

	auto found = agentcgpp::list(parent);
	CHECK_EQ(found.size(), 1);
	CHECK_STR(found[0].uuid, uuid);
	CHECK(group::open(uuid, 0, parent).path() == cg.path());
	cg.free();
	CHECK_EQ(agentcgpp::reap(soon, parent), 1);
	CHECK_EQ(agentcgpp::list(parent).size(), 0);
	remove_parent(parent);
}

void a_child_is_made_in_its_session_and_ends_with_its_object()
{
	agentcgpp::new_options options;
	options.uuid = "01234567-89ab-4def-8123-456789abcdef";
	options.limits.pids_max = 7;
	options.tag = "verbs";
	group session = group::make(), other = session.new_in();
	{
		group child = session.new_in(options);

		CHECK(child.uuid() == options.uuid);
		CHECK(child.path() == session.path() + "/" + *options.uuid);
		CHECK_EQ(number_in(child.get(), "pids.max"), 7);
		CHECK(std::string(child.get_info().session) == session.uuid());
		CHECK(std::string(child.get_info().tag) == "verbs");
	}
	CHECK_EQ(access((session.path() + "/" + *options.uuid).c_str(), F_OK), -1);
	CHECK_EQ(access(other.path().c_str(), F_OK), 0);
	CHECK(std::string(session.get_info().session).empty());
}

void an_agent_is_made_with_a_label_and_found_by_its_tag()
{
	char parent[PATH_SIZE];
	make_parent(parent, "labelled", "+pids");
	agentcgpp::new_options options;
	options.parent = parent;
	options.uuid = "01234567-89ab-4def-8123-456789abcdef";
	options.limits.pids_max = 7;
	options.flags = AGENTCG_NEW_NO_SYSTEMD;
	options.label = "pull request 7";
	options.tag = "verbs";
	group cg = group::make_with(options);

	CHECK(cg.uuid() == options.uuid);
	CHECK_EQ(number_in(cg.get(), "pids.max"), 7);
	CHECK(std::string(cg.get_info().label) == "pull request 7");
	CHECK(std::string(cg.get_info().tag) == "verbs");
	cg.set_label("pull request 8");
	auto found = agentcgpp::list_tagged("verbs", parent);
	CHECK_EQ(found.size(), 1);
	CHECK_STR(found[0].label, "pull request 8");
	CHECK_EQ(agentcgpp::list_tagged("other", parent).size(), 0);
	cg.free();
	CHECK_EQ(agentcgpp::reap_tagged("other", soon, parent), 0);
	cg = group::open_tagged(*options.uuid, "verbs", AGENTCG_OPEN_OWN, parent);
	CHECK(cg.get_info().owned);
	CHECK(std::string(cg.get_info().label) == "pull request 8");
	cg.set_label(nullptr);
	CHECK(std::string(cg.get_info().label) == "");
	cg.free();
	CHECK_EQ(agentcgpp::reap_tagged("verbs", soon, parent), 1);
	remove_parent(parent);

	cg = group::make_with({});
	CHECK(std::string(cg.get_info().tag) == "");
	CHECK_EQ(agentcgpp::list().size(), 1);
}

void the_place_is_that_of_C()
{
	char parent[PATH_SIZE];
	CHECK_OK(agentcg_discover_parent(parent, sizeof(parent), &why));
	CHECK(agentcgpp::is_available());
	CHECK(agentcgpp::discover_parent() == parent);

	agentcgpp::diagnosis found = agentcgpp::diagnose();
	CHECK(found.place != 0 && found.obstacle == 0);
	CHECK(found.controllers & AGENTCG_CONTROLLER_PIDS);
	CHECK_EQ(found.text.size(), strlen(found.text.c_str()));
	CHECK(found.text.find(parent) != std::string::npos);
}

void a_diagnosis_is_for_the_given_limits_and_flags()
{
	agentcgpp::limits limits;
	limits.pids_max = 17;
	agentcgpp::diagnosis found = agentcgpp::diagnose(limits, AGENTCG_NEW_KEEP_CALLER);
	CHECK(found.place != 0 && found.obstacle == 0);
	CHECK_EQ(found.text.size(), strlen(found.text.c_str()));

	// The lab has no systemd, and the flag excludes other places.
	found = agentcgpp::diagnose(limits, AGENTCG_NEW_SYSTEMD);
	CHECK(found.place == 0 && found.obstacle == AGENTCG_WHY_NO_SYSTEMD);

	limits.cpu_max_millicpu = 0;
	THROWN_BY(agentcgpp::diagnose(limits), result_out_of_range);
	THROWN_BY(agentcgpp::diagnose({}, AGENTCG_NEW_SYSTEMD | AGENTCG_NEW_NO_SYSTEMD), invalid_argument);
}

/// Holds memory until it is killed. Memory is charged to the group in which the process is when it writes to the memory.
void hold_memory(void *cg)
{
	CHECK_EQ(static_cast<group *>(cg)->move_self(), 0);
	std::vector<char> held(1 << 20, 'x');
	CHECK_EQ(raise(SIGSTOP), 0);   // tells the parent that it holds the memory
	for (;;)
		CHECK_EQ(held.back(), 'x');
}

pid_t stopped_child_that_runs(void (*body)(void *), void *argument)
{
	pid_t child = child_that_runs(body, argument);
	siginfo_t info;
	CHECK_EQ(waitid(P_PID, static_cast<id_t>(child), &info, WSTOPPED), 0);
	return child;
}

void limits_are_set_and_returned()
{
	group cg = group::make();
	agentcgpp::limits limits;
	limits.pids_max = 17;
	limits.cpu_max_millicpu = 500;
	limits.cpu_period_us = 50000;
	cg.set_limits(limits);
	CHECK_EQ(number_in(cg.get(), "pids.max"), 17);
	CHECK(cg.read_file("cpu.max") == "25000 50000\n");

	agentcgpp::limits found_limits = cg.get_limits();
	CHECK(found_limits.pids_max == 17u && found_limits.cpu_max_millicpu == 500u && found_limits.cpu_period_us == 50000);
	CHECK(found_limits.memory_max_bytes == agentcgpp::unlimited);
	cg.set_limits({});   // changes no limit
	CHECK(cg.get_limits().pids_max == 17u);

	pid_t child = stopped_child_that_runs(hold_memory, &cg);
	limits = {};
	limits.memory_max_bytes = 4096;
	THROWN_BY(cg.set_limits(limits), device_or_resource_busy);
	cg.set_limits(limits, AGENTCG_SET_FORCE);
	CHECK_EQ(number_in(cg.get(), "memory.max"), 4096);
	cg.destroy(soon);
	check_killed(child);
}

void limits_of_a_place_are_set_and_returned_and_need_no_agent()
{
	char parent[PATH_SIZE];
	make_parent(parent, "limited", "");
	agentcgpp::limits limits;
	limits.pids_max = 170;
	agentcgpp::set_place_limits(limits, parent);
	CHECK(agentcgpp::get_place_limits(parent).pids_max == 170u);
	group cg = group::make({}, 0, nullptr, parent);
	cg.destroy(soon);
	CHECK(agentcgpp::get_place_limits(parent).pids_max == 170u);
	limits.pids_max = agentcgpp::unlimited;
	agentcgpp::set_place_limits(limits, parent);
	CHECK_EQ(agentcgpp::list(parent).size(), 0);
	CHECK_EQ(count_subdirectories(parent), 0);
	remove_parent(parent);
}

void files_are_read_completely_and_written()
{
	group cg = group::make();
	cg.write_file("pids.max", std::string("23"));
	CHECK(cg.read_file(std::string("pids.max")) == "23\n");
	CHECK(cg.read_file("cgroup.procs").empty());

	std::vector<pid_t> children(70);   // more than fit in the first buffer of pids()
	std::string expected;
	for (pid_t &child : children) {
		child = pausing_child();
		cg.move_pid(child);
	}
	std::sort(children.begin(), children.end());
	CHECK(cg.pids() == children);
	for (pid_t child : children)
		expected += std::to_string(child) + "\n";
	CHECK(cg.read_file("cgroup.procs") == expected);
	cg.destroy(soon);
	for (pid_t child : children)
		check_killed(child);
}

void processes_are_moved_found_and_counted()
{
	group cg = group::make();
	pid_t child = pausing_child();
	CHECK(!cg.contains(child));
	CHECK(cg.pids().empty());
	cg.move_pid(child);
	CHECK(cg.contains(child) && holds(cg.get(), child));
	agentcgpp::found agent = agentcgpp::find(child);
	CHECK(agent.uuid == cg.uuid() && agent.place + "/synwire/agents/" + agent.uuid == cg.path() && !agent.below);
	CHECK(cg.pids() == std::vector<pid_t>{child});

	agentcgpp::stats stats = cg.read_stats(AGENTCG_STAT_PIDS | AGENTCG_STAT_STATE);
	CHECK(stats.has(AGENTCG_STAT_PIDS | AGENTCG_STAT_STATE) && !stats.has(AGENTCG_STAT_CPU));
	CHECK(stats.pids_current == 1 && stats.populated == 1);
	CHECK(cg.read_stats().has(AGENTCG_STAT_BASIC));
	CHECK_EQ(cg.signal_all(0), 1);
	CHECK_EQ(cg.signal_all(SIGUSR1), 1);
	check_ended_by(child, SIGUSR1);
	CHECK(cg.wait_empty(soon));
	CHECK_EQ(cg.signal_all(0), 0);
}

void move_inside(void *cg)
{
	CHECK_EQ(static_cast<group *>(cg)->move_self(), 0);
	CHECK(holds(static_cast<group *>(cg)->get(), getpid()));
}

void a_forked_child_moves_itself()
{
	group cg = group::make();
	in_child(move_inside, &cg);
}

void wait_empty_returns_true_if_the_group_is_empty()
{
	group cg = group::make();
	CHECK(cg.wait_empty(0s));
	pid_t child = pausing_child();
	cg.move_pid(child);
	CHECK(!cg.wait_empty(-1s));
	int64_t start = now_ms();
	CHECK(!cg.wait_empty(30001us));
	CHECK(now_ms() - start >= 30);
	CHECK_EQ(kill(child, SIGKILL), 0);
	CHECK(cg.wait_empty(agentcgpp::infinite));
	check_killed(child);
	CHECK_EQ(rmdir(cg.path().c_str()), 0);
	THROWN_BY(cg.wait_empty(0s), no_such_device);
}

void a_group_is_frozen_thawed_and_killed()
{
	group cg = group::make();
	pid_t child = pausing_child();
	cg.move_pid(child);
	cg.freeze(soon);
	CHECK_EQ(key_in(cg.get(), "cgroup.events", "frozen"), 1);
	cg.thaw(soon);
	CHECK_EQ(key_in(cg.get(), "cgroup.events", "frozen"), 0);
	cg.kill_all(soon);
	CHECK_EQ(key_in(cg.get(), "cgroup.events", "populated"), 0);
	check_killed(child);
}

void many_groups_are_killed_by_one_call()
{
	std::vector<group> groups;
	std::vector<pid_t> children;
	for (int i = 0; i < 3; i++) {
		groups.push_back(group::make());
		children.push_back(pausing_child());
		groups.back().move_pid(children.back());
	}
	CHECK(agentcgpp::kill_all_of(groups, soon) == std::vector<int>({0, 0, 0}));
	for (pid_t child : children)
		check_killed(child);
	CHECK(agentcgpp::kill_all_of(std::vector<group>(), soon).empty());

	// With a group that is empty in the sense of C++ no process is killed.
	pid_t child = pausing_child();
	groups[0].move_pid(child);
	group moved = std::move(groups[1]);
	bool thrown = false;
	try {
		agentcgpp::kill_all_of(groups, soon);
	} catch (const agentcgpp::error &e) {
		thrown = e.code() == std::errc::invalid_argument;
	}
	CHECK(thrown);
	CHECK_EQ(key_in(groups[0].get(), "cgroup.events", "populated"), 1);
	groups[0].kill_all(soon);
	check_killed(child);
}

void ignore_sigterm(void *)
{
	CHECK(signal(SIGTERM, SIG_IGN) != SIG_ERR);
	CHECK_EQ(raise(SIGSTOP), 0);   // tells the parent that SIGTERM is ignored
	for (;;)
		pause();
}

void end_200_ms_after_sigterm(void *)
{
	sigset_t asked;
	sigemptyset(&asked);
	sigaddset(&asked, SIGTERM);
	CHECK_EQ(sigprocmask(SIG_BLOCK, &asked, nullptr), 0);
	CHECK_EQ(raise(SIGSTOP), 0);   // tells the parent that SIGTERM is blocked
	int signal;
	CHECK_EQ(sigwait(&asked, &signal), 0);
	poll(nullptr, 0, 200);         // long enough for a kill without grace to come first
}

void terminate_returns_true_if_it_has_killed()
{
	group cg = group::make();
	CHECK(!cg.terminate(soon, soon));
	pid_t slow = stopped_child_that_runs(end_200_ms_after_sigterm, nullptr);
	cg.move_pid(slow);
	CHECK(!cg.terminate(soon, 0s));
	CHECK_EQ(reap(slow), 0);

	pid_t ignoring = stopped_child_that_runs(ignore_sigterm, nullptr);
	cg.move_pid(ignoring);
	CHECK(cg.terminate(1ms, soon));
	check_killed(ignoring);
}

void events_make_a_descriptor_readable()
{
	group cg = group::make();
	int fd = cg.event_fd(AGENTCG_EVENT_POPULATED | AGENTCG_EVENT_EMPTY);
	CHECK_EQ(cg.next_events(0s), 0);
	pid_t child = pausing_child();
	cg.move_pid(child);
	pollfd readable = {fd, POLLIN, 0};
	CHECK_EQ(poll(&readable, 1, SOON_MS), 1);
	CHECK_EQ(cg.next_events(soon), AGENTCG_EVENT_POPULATED);
	cg.kill_all(soon);
	check_killed(child);
	uint64_t events = 0;
	while (!(events & AGENTCG_EVENT_EMPTY))
		events |= cg.next_events(soon);
	cg.watch_stall(AGENTCG_STALL_CPU, AGENTCG_STALL_SOME, 0us, 0us);
	CHECK_EQ(cg.event_fd(0), fd);
}

void the_end_is_explained()
{
	group cg = group::make();
	CHECK_EQ(cg.explain().cause, AGENTCG_CAUSE_UNKNOWN);
	int status = 0;
	pid_t pid = cg.spawn({"/bin/sh", "-c", "exit 137"});
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	agentcgpp::verdict exited = cg.explain(status);
	CHECK_EQ(exited.cause, AGENTCG_CAUSE_EXITED);
	CHECK_EQ(exited.exit_code, 137);
	CHECK_STR(exited.text, "The program exited with code 137.");
	CHECK(exited.has(AGENTCG_VERDICT_OOM_KILLS) && exited.oom_kills == 0);

	pid = cg.spawn({"/bin/sleep", "1000"});
	CHECK_EQ(cg.explain().cause, AGENTCG_CAUSE_RUNNING);
	agentcgpp::verdict destroyed;
	agentcgpp::stats last = cg.destroy_explained(soon, destroyed);
	CHECK(last.has(AGENTCG_STAT_CPU) && !cg);
	CHECK_EQ(destroyed.cause, AGENTCG_CAUSE_KILLED);
	CHECK_EQ(destroyed.call, AGENTCG_CALL_DESTROY);
	CHECK(destroyed.can_be(AGENTCG_CAUSE_KILLED) && !destroyed.can_be(AGENTCG_CAUSE_SIGNAL));
	check_killed(pid);
}

}

int main()
{
	RUN(an_agent_is_made_with_the_given_place_limits_and_uuid);
	RUN(a_child_is_made_in_its_session_and_ends_with_its_object);
	RUN(an_agent_is_made_with_a_label_and_found_by_its_tag);
	RUN(the_place_is_that_of_C);
	RUN(a_diagnosis_is_for_the_given_limits_and_flags);
	RUN(limits_are_set_and_returned);
	RUN(limits_of_a_place_are_set_and_returned_and_need_no_agent);
	RUN(files_are_read_completely_and_written);
	RUN(processes_are_moved_found_and_counted);
	RUN(a_forked_child_moves_itself);
	RUN(wait_empty_returns_true_if_the_group_is_empty);
	RUN(a_group_is_frozen_thawed_and_killed);
	RUN(many_groups_are_killed_by_one_call);
	RUN(terminate_returns_true_if_it_has_killed);
	RUN(events_make_a_descriptor_readable);
	RUN(the_end_is_explained);
}
