/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* agentcg_spawn(): the three descriptors of a program, and that it has no other. */
#include "spawning.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What /proc calls its three descriptors, each on a line. */
static const char *descriptors_with(agentcg *cg, agentcg_spawn_options options)
{
	char script[200];
	const char *text;
	int ends[2];
	pid_t pid;

	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	/* By the tester's own, since none of its three is one that it could tell by. */
	snprintf(script, sizeof(script), "n() { readlink /proc/$$/fd/$1; }; a=$(n 0); b=$(n 1); c=$(n 2); "
	         "printf '%%s\\n' \"$a\" \"$b\" \"$c\" >/proc/%d/fd/%d", (int)getpid(), ends[1]);
	pid = started(cg, WORDS("/bin/sh", "-c", script), NULL, options);
	CHECK_EQ(reap(pid), 0);
	close(ends[1]);
	text = all_of(ends[0]);
	close(ends[0]);
	return text;
}

/* The host's own three are the files a, b and c; with flags. */
static void become_a_b_c(int flags)
{
	static const char *const names[] = { "a", "b", "c" };

	for (int target = 0; target < 3; target++) {
		int fd = file_named(names[target]);

		CHECK_EQ(dup3(fd, target, flags), target);
		close(fd);
	}
}

#define A "/memfd:a (deleted)\n"
#define B "/memfd:b (deleted)\n"
#define C "/memfd:c (deleted)\n"
#define D "/memfd:d (deleted)\n"
#define NOWHERE "/dev/null\n"

static void ask_for_each(void *cg)
{
	agentcg_spawn_options options = OWN;
	int d;

	become_a_b_c(0);
	d = file_named("d");
	CHECK_STR(descriptors_with(cg, options), A B C);
	options.stdin_fd = AGENTCG_DEVNULL;
	CHECK_STR(descriptors_with(cg, options), NOWHERE B C);
	options = OWN;
	options.stdout_fd = AGENTCG_DEVNULL;
	CHECK_STR(descriptors_with(cg, options), A NOWHERE C);
	options = OWN;
	options.stderr_fd = AGENTCG_DEVNULL;
	CHECK_STR(descriptors_with(cg, options), A B NOWHERE);
	options = (agentcg_spawn_options){ 0, d, AGENTCG_INHERIT, AGENTCG_DEVNULL, AGENTCG_INHERIT };
	CHECK_STR(descriptors_with(cg, options), D B NOWHERE);
	options = (agentcg_spawn_options){ 0, AGENTCG_DEVNULL, d, d, AGENTCG_INHERIT };
	CHECK_STR(descriptors_with(cg, options), NOWHERE D D);
	/* The caller's own are as they were. */
	CHECK_STR(descriptors_with(cg, OWN), A B C);
}

static void each_is_the_caller_s_or_nowhere_or_another(void)
{
	agentcg *cg = new_group();

	in_child(ask_for_each, cg);
	destroy_group(cg);
}

static void ask_for_others_of_the_three(void *cg)
{
	agentcg_spawn_options options = { 0, 1, 2, 0, AGENTCG_INHERIT };

	become_a_b_c(0);
	CHECK_STR(descriptors_with(cg, options), B C A);
	options = (agentcg_spawn_options){ 0, 2, 0, 1, AGENTCG_INHERIT };
	CHECK_STR(descriptors_with(cg, options), C A B);
	options = (agentcg_spawn_options){ 0, 1, 0, AGENTCG_INHERIT, AGENTCG_INHERIT };
	CHECK_STR(descriptors_with(cg, options), B A C);
	options = (agentcg_spawn_options){ 0, 2, 2, AGENTCG_DEVNULL, AGENTCG_INHERIT };
	CHECK_STR(descriptors_with(cg, options), C C NOWHERE);
	options = (agentcg_spawn_options){ 0, 0, 0, 0, AGENTCG_INHERIT };
	CHECK_STR(descriptors_with(cg, options), A A A);
}

static void they_may_be_the_caller_s_own_three_in_another_order(void)
{
	agentcg *cg = new_group();

	in_child(ask_for_others_of_the_three, cg);
	destroy_group(cg);
}

static void ask_for_close_on_exec_ones(void *cg)
{
	agentcg_spawn_options options = { 0, AGENTCG_INHERIT, 1, 2, AGENTCG_INHERIT };

	become_a_b_c(O_CLOEXEC);
	CHECK_STR(descriptors_with(cg, options), A B C);
	for (int fd = 0; fd < 3; fd++)
		CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
}

static void they_are_there_though_they_are_close_on_exec_in_the_caller(void)
{
	agentcg *cg = new_group();

	in_child(ask_for_close_on_exec_ones, cg);
	destroy_group(cg);
}

/* A descriptor of the library's own that took one of their numbers would be seen here. */
static void ask_where_they_are_closed(void *cg)
{
	agentcg_spawn_options options = OWN;
	int ends[2];

	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	options.stdout_fd = ends[1];
	CHECK_EQ(reap(started(cg, WORDS("/bin/ls", "/proc/self/fd"), NULL, options)), 0);
	close(ends[1]);
	/* ls has opened the directory as 0. */
	CHECK_STR(all_of(ends[0]), "0\n1\n");
	close(ends[0]);
	options = (agentcg_spawn_options){ 0, AGENTCG_DEVNULL, AGENTCG_DEVNULL, AGENTCG_DEVNULL, AGENTCG_INHERIT };
	CHECK_EQ(reap(started(cg, WORDS("/bin/sh", "-c", "echo to nowhere && echo again >&2 && ! read -r _"), NULL,
	                      options)), 0);
}

static void what_is_closed_in_the_caller_is_closed_in_it(void)
{
	agentcg *cg = new_group();

	in_child(ask_where_they_are_closed, cg);
	destroy_group(cg);
}

static void it_has_no_other(void)
{
	agentcg *cg = new_group();
	int others[] = { open("/dev/null", O_RDONLY), fcntl(0, F_DUPFD, 100), memfd_create("e", 0) };

	/* The fourth is of ls itself. */
	CHECK_STR(said(cg, WORDS("/bin/ls", "/proc/self/fd"), NULL, OWN), "0\n1\n2\n3\n");
	for (size_t i = 0; i < 3; i++)
		CHECK_EQ(close(others[i]), 0);
	destroy_group(cg);
}

static void limit_descriptors(rlim_t most)
{
	const struct rlimit limit = { most, most };

	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void check_it_has_no_other(agentcg *cg)
{
	static const char script[] = "for fd in 5 70 900; do { : <&$fd; } 2>/dev/null && echo $fd; done; :";
	static const int others[] = { 5, 70, 900 };
	struct rlimit limit;

	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	CHECK(limit.rlim_max > 900);
	limit_descriptors(limit.rlim_max);
	for (size_t i = 0; i < 3; i++)
		CHECK_EQ(dup2(STDIN_FILENO, others[i]), others[i]);
	CHECK_STR(said(cg, WORDS("/bin/bash", "-c", (char *)script), NULL, OWN), "");
	/* They stay open above a limit that is lowered. */
	limit_descriptors(64);
	CHECK_STR(said(cg, WORDS("/bin/bash", "-c", (char *)script), NULL, OWN), "");
}

static void spawn_without_close_range(void *cg)
{
	refuse(SYS_close_range);
	check_it_has_no_other(cg);
}

static void spawn_without_close_range_and_proc(void *cg)
{
	CHECK_EQ(unshare(CLONE_NEWNS | (geteuid() ? CLONE_NEWUSER : 0)), 0);
	CHECK_EQ(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	CHECK_EQ(mount("tmpfs", "/proc", "tmpfs", 0, NULL), 0);
	refuse(SYS_close_range);
	check_it_has_no_other(cg);
}

static void it_has_no_other_without_close_range_whatever_became_of_the_limit(void)
{
	agentcg *cg = new_group();

	in_child(spawn_without_close_range, cg);
	in_child(spawn_without_close_range_and_proc, cg);
	destroy_group(cg);
}

int main(void)
{
	RUN(each_is_the_caller_s_or_nowhere_or_another);
	RUN(they_may_be_the_caller_s_own_three_in_another_order);
	RUN(they_are_there_though_they_are_close_on_exec_in_the_caller);
	RUN(what_is_closed_in_the_caller_is_closed_in_it);
	RUN(it_has_no_other);
	RUN(it_has_no_other_without_close_range_whatever_became_of_the_limit);
	return 0;
}
