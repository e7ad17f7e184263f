/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* agentcg_spawn(): the program has its three standard descriptors and no others. */
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

/* The names of the program's three descriptors in /proc, one per line. */
static const char *descriptors_with(agentcg *cg, agentcg_spawn_options options)
{
	char script[200];
	const char *text;
	int ends[2];
	pid_t pid;

	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	/* The script writes to a pipe of the test, because it cannot use the three descriptors that are tested. */
	snprintf(script, sizeof(script), "n() { readlink /proc/$$/fd/$1; }; a=$(n 0); b=$(n 1); c=$(n 2); "
	         "printf '%%s\\n' \"$a\" \"$b\" \"$c\" >/proc/%d/fd/%d", (int)getpid(), ends[1]);
	pid = started(cg, WORDS("/bin/sh", "-c", script), NULL, options);
	CHECK_EQ(reap(pid), 0);
	close(ends[1]);
	text = all_of(ends[0]);
	close(ends[0]);
	return text;
}

/* Replace the host's standard descriptors with the files a, b and c, with these flags. */
static void become_a_b_c(int flags)
{
	static const char *const names[] = { "a", "b", "c" };

	for (int target = 0; target < 3; target++) {
		int fd = memory_file(names[target]);

		CHECK_EQ(dup3(fd, target, flags), target);
		close(fd);
	}
}

#define A "/memfd:a (deleted)\n"
#define B "/memfd:b (deleted)\n"
#define C "/memfd:c (deleted)\n"
#define D "/memfd:d (deleted)\n"
#define NOWHERE "/dev/null\n"

static void spawn_with_each(void *cg)
{
	agentcg_spawn_options options = OWN;
	int d;

	become_a_b_c(0);
	d = memory_file("d");
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
	/* The caller's descriptors have not changed. */
	CHECK_STR(descriptors_with(cg, OWN), A B C);
}

static void each_is_inherited_dev_null_or_another_descriptor(void)
{
	agentcg *cg = new_group();

	in_child(spawn_with_each, cg);
	destroy_group(cg);
}

static void spawn_with_other_orders(void *cg)
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

static void the_caller_s_three_may_be_passed_in_another_order(void)
{
	agentcg *cg = new_group();

	in_child(spawn_with_other_orders, cg);
	destroy_group(cg);
}

static void spawn_with_close_on_exec_ones(void *cg)
{
	agentcg_spawn_options options = { 0, AGENTCG_INHERIT, 1, 2, AGENTCG_INHERIT };

	become_a_b_c(O_CLOEXEC);
	CHECK_STR(descriptors_with(cg, options), A B C);
	for (int fd = 0; fd < 3; fd++)
		CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
}

static void close_on_exec_descriptors_of_the_caller_are_passed(void)
{
	agentcg *cg = new_group();

	in_child(spawn_with_close_on_exec_ones, cg);
	destroy_group(cg);
}

/* The program would see a descriptor of the library that has one of these numbers. */
static void spawn_with_closed_ones(void *cg)
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

static void closed_descriptors_of_the_caller_are_closed_in_the_program(void)
{
	agentcg *cg = new_group();

	in_child(spawn_with_closed_ones, cg);
	destroy_group(cg);
}

static void it_has_no_other_descriptors(void)
{
	agentcg *cg = new_group();
	int others[] = { open("/dev/null", O_RDONLY), fcntl(0, F_DUPFD, 100), memfd_create("e", 0) };

	/* ls has opened the fourth. */
	CHECK_STR(output_of(cg, WORDS("/bin/ls", "/proc/self/fd"), NULL, OWN), "0\n1\n2\n3\n");
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
	CHECK_STR(output_of(cg, WORDS("/bin/bash", "-c", (char *)script), NULL, OWN), "");
	/* A lower limit does not close them. */
	limit_descriptors(64);
	CHECK_STR(output_of(cg, WORDS("/bin/bash", "-c", (char *)script), NULL, OWN), "");
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

static void it_has_no_other_descriptors_without_close_range_and_with_a_lowered_limit(void)
{
	agentcg *cg = new_group();

	in_child(spawn_without_close_range, cg);
	in_child(spawn_without_close_range_and_proc, cg);
	destroy_group(cg);
}

int main(void)
{
	RUN(each_is_inherited_dev_null_or_another_descriptor);
	RUN(the_caller_s_three_may_be_passed_in_another_order);
	RUN(close_on_exec_descriptors_of_the_caller_are_passed);
	RUN(closed_descriptors_of_the_caller_are_closed_in_the_program);
	RUN(it_has_no_other_descriptors);
	RUN(it_has_no_other_descriptors_without_close_range_and_with_a_lowered_limit);
	return 0;
}
