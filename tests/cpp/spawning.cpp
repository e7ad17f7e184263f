// SPDX-License-Identifier: MIT OR Apache-2.0
// group::spawn(): the arguments reach the program, and errors are thrown.
#include "throwing.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

namespace {

using agentcgpp::spawn_options;

/// The program's standard output. The program must end with status 0.
std::string output_of(group &cg, const std::vector<std::string> &argv, spawn_options options = {})
{
	int ends[2];
	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	options.stdout_fd = ends[1];
	pid_t pid = cg.spawn(argv, options);
	close(ends[1]);
	std::string output;
	char part[512];
	for (ssize_t got; (got = read(ends[0], part, sizeof(part))) > 0;)
		output.append(part, static_cast<std::size_t>(got));
	close(ends[0]);
	CHECK_EQ(reap(pid), 0);
	return output;
}

void a_program_is_in_the_group_when_it_begins()
{
	group cg = group::make();
	std::string seen = output_of(cg, {"/bin/grep", "^0::", "/proc/self/cgroup"}), end = cg.uuid() + "\n";
	CHECK(seen.size() > end.size() && seen.compare(seen.size() - end.size(), end.size(), end) == 0);
}

void a_program_ends_with_its_group()
{
	pid_t pid;
	{
		group cg = group::make();
		pid = cg.spawn({"/bin/sleep", "1000"});
		CHECK(cg.contains(pid) && cg.pids() == std::vector<pid_t>{pid});
	}
	check_killed(pid);
}

void a_program_has_the_given_arguments_and_environment()
{
	group cg = group::make();
	CHECK(output_of(cg, {"/usr/bin/printf", "%s|", "a b", "", "c"}) == "a b||c|");
	spawn_options options;
	options.file = "/bin/sh";
	CHECK(output_of(cg, {"by another name", "-c", "echo $0"}, options) == "by another name\n");
	options = {};
	options.env = {"A=b c", "D="};
	CHECK(output_of(cg, {"/usr/bin/env"}, options) == "A=b c\nD=\n");
	options.env = std::vector<std::string>{};
	CHECK(output_of(cg, {"/usr/bin/env"}, options).empty());
	CHECK(output_of(cg, {"/usr/bin/env"}).find("PATH=") != std::string::npos);
}

void a_program_has_the_given_descriptors_directory_and_session()
{
	group cg = group::make();
	spawn_options options;
	options.stdin_fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	CHECK(output_of(cg, {"/bin/head", "-n", "1"}, options).compare(0, 5, "Name:") == 0);
	close(options.stdin_fd);
	options.stdin_fd = options.stderr_fd = AGENTCG_DEVNULL;
	CHECK(output_of(cg, {"/bin/readlink", "/proc/self/fd/0", "/proc/self/fd/2"}, options) == "/dev/null\n/dev/null\n");
	options.cwd_fd = open("/usr", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(output_of(cg, {"/bin/pwd"}, options) == "/usr\n");
	close(options.cwd_fd);
	options = {};
	options.flags = AGENTCG_SPAWN_NEW_SESSION | AGENTCG_SPAWN_SEARCH_PATH;
	std::string seen = output_of(cg, {"cat", "/proc/self/stat"}, options);
	int pid, session;
	CHECK_EQ(sscanf(seen.c_str(), "%d (cat) R %*d %*d %d", &pid, &session), 2);
	CHECK_EQ(session, pid);
}

void a_program_has_pipes_and_other_descriptors()
{
	group cg = group::make();
	spawn_options options;
	int ends[3], file = open("/usr", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	options.stdin_fd = options.stdout_fd = AGENTCG_PIPE;
	options.ret_pipes = ends;
	options.fds = {{file, 7}, {file, 5}};
	pid_t pid = cg.spawn({"/bin/sh", "-c", "read -r fd; readlink /proc/$$/fd/$fd /proc/$$/fd/7"}, options);
	CHECK_EQ(write(ends[0], "5\n", 2), 2);
	char text[40] = {};
	std::size_t length = 0;
	for (ssize_t got; (got = read(ends[1], text + length, sizeof(text) - 1 - length)) > 0;)
		length += static_cast<std::size_t>(got);
	CHECK(std::string(text) == "/usr\n/usr\n");
	CHECK_EQ(ends[2], -1);
	close(ends[0]);
	close(ends[1]);
	close(file);
	CHECK_EQ(reap(pid), 0);
}

void a_program_has_the_given_attributes()
{
	group cg = group::make();
	spawn_options options;
	options.umask = 0;
	options.nice = 3;
	options.oom_score_adj = 12;
	options.uid = geteuid();
	options.gid = getegid();
	options.rlimits = {{RLIMIT_CORE, 0, 0}};
	options.flags = AGENTCG_SPAWN_NO_NEW_PRIVS;
	CHECK(output_of(cg, {"/bin/sh", "-c", "umask; nice; cat /proc/$$/oom_score_adj; ulimit -c"}, options) ==
	      "0000\n3\n12\n0\n");
	options = {};
	options.pgroup = 0;
	options.ignored_signals = options.blocked_signals = 1;
	options.file_fd = open("/bin/cat", O_PATH | O_CLOEXEC);
	std::string seen = output_of(cg, {"by another name", "/proc/self/status"}, options);
	CHECK(seen.find("SigBlk:\t0000000000000001\nSigIgn:\t0000000000000001") != std::string::npos);
	close(*options.file_fd);
	options = {};
	if (geteuid() == 0) {
		options.groups = {7};
		CHECK(output_of(cg, {"/usr/bin/id", "-G"}, options) == "0 7\n");
	}
}

void a_start_is_not_waited_for()
{
	group cg = group::make();
	spawn_options options;
	options.flags = AGENTCG_SPAWN_ASYNC;
	int pidfd = -1;
	pid_t pid = cg.spawn({"/bin/true"}, options, &pidfd);
	/* The program ends at once, which makes its pidfd readable. */
	pollfd ended = {pidfd, POLLIN, 0};
	while (!cg.spawn_result(pidfd))
		CHECK_EQ(poll(&ended, 1, SOON_MS), 1);
	CHECK_EQ(reap(pid), 0);
	THROWN_BY(cg.spawn_result(pidfd), no_child_process);
	close(pidfd);
}

void spawn_returns_a_pidfd_that_moves_the_process()
{
	group cg = group::make(), other = group::make();
	int pidfd = -1;
	pid_t pid = cg.spawn({"/bin/sleep", "1000"}, {}, &pidfd);
	CHECK(fcntl(pidfd, F_GETFD) & FD_CLOEXEC);
	other.move_pidfd(pidfd);
	CHECK(holds(other.get(), pid) && !cg.contains(pid));
	agentcgpp::found agent = agentcgpp::find_pidfd(pidfd);
	CHECK(agent.uuid == other.uuid() && agent.place + "/synwire/agents/" + agent.uuid == other.path());
	THROWN_BY(cg.move_out(pid), no_such_process);
	other.move_out(pid);
	CHECK(!other.contains(pid));
	other.move_pidfd(pidfd);
	other.move_out_pidfd(pidfd);
	CHECK(!other.contains(pid));
	THROWN_BY(other.move_out_pidfd(pidfd), no_such_process);
	other.move_pidfd(pidfd);
	other.kill_all(soon);
	pollfd ended = {pidfd, POLLIN, 0};
	CHECK_EQ(poll(&ended, 1, SOON_MS), 1);
	check_killed(pid);
	THROWN_BY(cg.move_pidfd(pidfd), no_such_process);
	close(pidfd);
	THROWN_BY(cg.move_pidfd(pidfd), bad_file_descriptor);
}

void a_failed_spawn_throws_and_leaves_nothing()
{
	group cg = group::make();
	THROWN_BY(cg.spawn({"/nonexistent/program"}), no_such_file_or_directory);
	THROWN_BY(cg.spawn({"true"}), no_such_file_or_directory);   // without AGENTCG_SPAWN_SEARCH_PATH
	THROWN_BY(cg.spawn({"/"}), permission_denied);
	THROWN_BY(cg.spawn({}), invalid_argument);
	THROWN_BY(cg.spawn({"/bin/echo", std::string("a\0b", 3)}), invalid_argument);
	spawn_options options;
	options.env = {std::string("A=\0", 3)};
	THROWN_BY(cg.spawn({"/bin/echo"}, options), invalid_argument);
	options = {};
	options.file = std::string("/bin/echo\0", 10);
	THROWN_BY(cg.spawn({"/bin/echo"}, options), invalid_argument);
	options = {};
	options.flags = 1ull << 63;
	THROWN_BY(cg.spawn({"/bin/echo"}, options), invalid_argument);
	options = {};
	options.stdin_fd = -7;
	THROWN_BY(cg.spawn({"/bin/echo"}, options), invalid_argument);
	CHECK(cg.wait_empty(0s));
}

}

int main()
{
	RUN(a_program_is_in_the_group_when_it_begins);
	RUN(a_program_ends_with_its_group);
	RUN(a_program_has_the_given_arguments_and_environment);
	RUN(a_program_has_the_given_descriptors_directory_and_session);
	RUN(a_program_has_pipes_and_other_descriptors);
	RUN(a_program_has_the_given_attributes);
	RUN(a_start_is_not_waited_for);
	RUN(spawn_returns_a_pidfd_that_moves_the_process);
	RUN(a_failed_spawn_throws_and_leaves_nothing);
}
