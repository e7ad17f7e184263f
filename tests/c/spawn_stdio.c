/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* agentcg_spawn(): the program has its three standard descriptors, those that it is given, and no others. */
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

static agentcg_spawn_options with_stdio(int in, int out, int err)
{
	agentcg_spawn_options options = OWN;

	options.stdin_fd = in;
	options.stdout_fd = out;
	options.stderr_fd = err;
	return options;
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
	options = with_stdio(d, AGENTCG_INHERIT, AGENTCG_DEVNULL);
	CHECK_STR(descriptors_with(cg, options), D B NOWHERE);
	options = with_stdio(AGENTCG_DEVNULL, d, d);
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
	agentcg_spawn_options options = with_stdio(1, 2, 0);

	become_a_b_c(0);
	CHECK_STR(descriptors_with(cg, options), B C A);
	options = with_stdio(2, 0, 1);
	CHECK_STR(descriptors_with(cg, options), C A B);
	options = with_stdio(1, 0, AGENTCG_INHERIT);
	CHECK_STR(descriptors_with(cg, options), B A C);
	options = with_stdio(2, 2, AGENTCG_DEVNULL);
	CHECK_STR(descriptors_with(cg, options), C C NOWHERE);
	options = with_stdio(0, 0, 0);
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
	agentcg_spawn_options options = with_stdio(AGENTCG_INHERIT, 1, 2);

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
	options = with_stdio(AGENTCG_DEVNULL, AGENTCG_DEVNULL, AGENTCG_DEVNULL);
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

/* ---- descriptors with other numbers ---- */

/*
 * All descriptors of the program except pipes, "NUMBER NAME" in each line. The shell has its standard output and its own
 * pipes from the test and from $().
 */
static const char *all_descriptors_with(agentcg *cg, agentcg_spawn_options options)
{
	static const char script[] = "cd /proc/$$/fd; for fd in *; do name=$(readlink $fd); "
	                             "case $name in pipe:*) ;; *) echo $fd $name ;; esac; done";

	options.stdin_fd = AGENTCG_DEVNULL;
	options.stderr_fd = AGENTCG_DEVNULL;
	return output_of(cg, WORDS("/bin/sh", "-c", (char *)script), NULL, options);
}

#define STDIO_OF_SH "0 /dev/null\n2 /dev/null\n"

static agentcg_spawn_options with_fds(const agentcg_spawn_fd *fds, size_t count)
{
	agentcg_spawn_options options = OWN;

	options.fds = (uintptr_t)fds;
	options.fds_count = count;
	return options;
}

static void others_are_passed_in_any_order(void)
{
	agentcg *cg = new_group();
	int a = memory_file("a"), b = memory_file("b");
	const agentcg_spawn_fd fds[] = { { b, 12 }, { a, 3 }, { a, 700 }, { AGENTCG_DEVNULL, 6 }, { b, 5 } };

	CHECK_STR(all_descriptors_with(cg, with_fds(fds, 5)),
	          "0 /dev/null\n12 " B "2 /dev/null\n3 " A "5 " B "6 /dev/null\n700 " A);
	CHECK_STR(all_descriptors_with(cg, with_fds(fds, 2)), "0 /dev/null\n12 " B "2 /dev/null\n3 " A);
	CHECK_STR(all_descriptors_with(cg, with_fds(fds, 0)), STDIO_OF_SH);
	CHECK_EQ(fcntl(a, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(fcntl(b, F_GETFD), FD_CLOEXEC);
	close(a);
	close(b);
	destroy_group(cg);
}

static void targets_may_be_sources_of_others(void)
{
	agentcg *cg = new_group();
	int a = fcntl(memory_file("a"), F_DUPFD_CLOEXEC, 50), b = fcntl(memory_file("b"), F_DUPFD_CLOEXEC, 50);
	int c = fcntl(memory_file("c"), F_DUPFD_CLOEXEC, 50);
	const agentcg_spawn_fd swapped[] = { { a, b }, { b, a } };
	const agentcg_spawn_fd rotated[] = { { c, a }, { a, b }, { b, c }, { b, 40 } };
	const agentcg_spawn_fd itself[] = { { b, b } };
	char expected[200];

	CHECK(a == 50 && b == 51 && c == 52);
	snprintf(expected, sizeof(expected), "0 /dev/null\n2 /dev/null\n%d %s%d %s", a, B, b, A);
	CHECK_STR(all_descriptors_with(cg, with_fds(swapped, 2)), expected);
	snprintf(expected, sizeof(expected), "0 /dev/null\n2 /dev/null\n40 %s%d %s%d %s%d %s", B, a, C, b, A, c, B);
	CHECK_STR(all_descriptors_with(cg, with_fds(rotated, 4)), expected);
	snprintf(expected, sizeof(expected), "0 /dev/null\n2 /dev/null\n%d %s", b, B);
	CHECK_STR(all_descriptors_with(cg, with_fds(itself, 1)), expected);
	destroy_group(cg);
	for (int fd = 3; fd <= c; fd++)
		close(fd);
}

/* No number above the targets is below the limit: a source can be moved only to a number below them. */
static void spawn_with_all_numbers(void *unused)
{
	agentcg_spawn_fd fds[22];
	agentcg *cg;
	const char *text;
	int a;

	(void)unused;
	for (int fd = 3; fd < 32; fd++)
		close(fd);
	limit_descriptors(32);
	CHECK_OK(agentcg_new(NULL, NULL, NULL, 0, 0, &cg, &why));
	a = fcntl(memory_file("a"), F_DUPFD_CLOEXEC, 12);
	for (int i = 0; i < 22; i++)
		fds[i] = (agentcg_spawn_fd){ a, i + 10 };
	text = all_descriptors_with(cg, with_fds(fds, 22));
	for (int i = 0; i < 22; i++) {
		char line[40];

		snprintf(line, sizeof(line), "\n%d " A, i + 10);
		CHECK(strstr(text, line) != NULL);
	}
	destroy_group(cg);
}

static void targets_may_be_all_numbers_below_the_limit(void)
{
	in_child(spawn_with_all_numbers, NULL);
}

static void spawn_with_gaps(void *cg)
{
	int a = memory_file("a"), others[] = { fcntl(a, F_DUPFD, 7), fcntl(a, F_DUPFD, 20), fcntl(a, F_DUPFD, 90) };
	const agentcg_spawn_fd fds[] = { { a, 8 }, { a, 30 } };

	(void)others;
	refuse(SYS_close_range);
	CHECK_STR(all_descriptors_with(cg, with_fds(fds, 2)), "0 /dev/null\n2 /dev/null\n30 " A "8 " A);
}

static void what_is_between_the_targets_is_closed_also_without_close_range(void)
{
	agentcg *cg = new_group();

	in_child(spawn_with_gaps, cg);
	destroy_group(cg);
}

static void a_standard_descriptor_may_be_a_target(void)
{
	agentcg *cg = new_group();
	int a = memory_file("a");
	const agentcg_spawn_fd fds[] = { { a, 0 }, { 1, 9 } };
	agentcg_spawn_options options = with_fds(fds, 2);

	CHECK_STR(output_of(cg, WORDS("/bin/readlink", "/proc/self/fd/0"), NULL, options), A);
	close(a);
	destroy_group(cg);
}

static void check_refused(agentcg *cg, const agentcg_spawn_options *options, int code, const char *field)
{
	CHECK_ERR(agentcg_spawn(cg, "/bin/true", WORDS("x"), NULL, options, sizeof(*options), NULL, NULL, &why), code);
	CHECK(strstr(why.message, field) != NULL);
	check_nothing_is_left(cg);
}

static void invalid_pairs_are_refused_by_name(void)
{
	agentcg *cg = new_group();
	const agentcg_spawn_fd twice[] = { { 0, 5 }, { 1, 6 }, { 2, 5 } };
	const agentcg_spawn_fd closed[] = { { 0, 5 }, { 700, 6 } };
	const agentcg_spawn_fd inherited[] = { { AGENTCG_INHERIT, 5 } };
	const agentcg_spawn_fd negative[] = { { 0, -1 } };
	const agentcg_spawn_fd too_high[] = { { 0, INT32_MAX } };
	const agentcg_spawn_fd input[] = { { 1, 0 } };
	agentcg_spawn_options options = with_fds(twice, 3);

	check_refused(cg, &options, -EINVAL, "fds: two elements have the target 5");
	options = with_fds(closed, 2);
	check_refused(cg, &options, -EBADF, "fds[1]: the source 700");
	options = with_fds(inherited, 1);
	check_refused(cg, &options, -EBADF, "fds[0]: the source -1");
	options = with_fds(negative, 1);
	check_refused(cg, &options, -EINVAL, "fds[0]: the target -1");
	options = with_fds(too_high, 1);
	check_refused(cg, &options, -EINVAL, "RLIMIT_NOFILE");
	options = with_fds(input, 1);
	options.stdin_fd = AGENTCG_DEVNULL;
	check_refused(cg, &options, -EINVAL, "stdin_fd");
	options = with_fds(NULL, 1);
	check_refused(cg, &options, -EINVAL, "fds is 0");
	destroy_group(cg);
}

/* ---- pipes ---- */

static void pipes_lead_to_the_caller(void)
{
	agentcg *cg = new_group();
	agentcg_spawn_options options = OWN;
	int ends[3] = { -5, -5, -5 };
	pid_t pid;

	options.stdin_fd = options.stdout_fd = options.stderr_fd = AGENTCG_PIPE;
	options.ret_pipes = (uintptr_t)ends;
	pid = started(cg, WORDS("/bin/sh", "-c", "read -r x; echo out $x; echo err $x >&2; read -r x || ls /proc/$$/fd"), NULL,
	              options);
	for (int i = 0; i < 3; i++) {
		CHECK(ends[i] > 2);
		CHECK_EQ(fcntl(ends[i], F_GETFD), FD_CLOEXEC);
	}
	CHECK_EQ(write(ends[0], "word\n", 5), 5);
	/* The program has no other descriptor of this pipe: it reads the end. */
	close(ends[0]);
	CHECK_STR(all_of(ends[1]), "out word\n0\n1\n2\n");
	CHECK_STR(all_of(ends[2]), "err word\n");
	close(ends[1]);
	close(ends[2]);
	CHECK_EQ(reap(pid), 0);
	destroy_group(cg);
}

static void a_descriptor_without_a_pipe_is_minus_1(void)
{
	agentcg *cg = new_group();
	agentcg_spawn_options options = OWN;
	int ends[3] = { -5, -5, -5 };
	pid_t pid;

	options.stdout_fd = AGENTCG_PIPE;
	options.ret_pipes = (uintptr_t)ends;
	pid = started(cg, WORDS("/bin/echo", "x"), NULL, options);
	CHECK(ends[0] == -1 && ends[1] > 2 && ends[2] == -1);
	CHECK_STR(all_of(ends[1]), "x\n");
	close(ends[1]);
	CHECK_EQ(reap(pid), 0);
	destroy_group(cg);
}

static void spawn_with_pipes_and_closed_ones(void *cg)
{
	agentcg_spawn_options options = OWN;
	int ends[3];
	pid_t pid;

	for (int fd = 0; fd < 3; fd++)
		close(fd);
	options.stdin_fd = options.stdout_fd = AGENTCG_PIPE;
	options.ret_pipes = (uintptr_t)ends;
	pid = started(cg, WORDS("/bin/cat"), NULL, options);
	CHECK(ends[0] > 2 && ends[1] > 2 && ends[2] == -1);
	CHECK_EQ(write(ends[0], "x", 1), 1);
	close(ends[0]);
	CHECK_STR(all_of(ends[1]), "x");
	CHECK_EQ(reap(pid), 0);
}

static void the_ends_of_pipes_are_above_2_if_the_caller_has_none_of_the_three(void)
{
	agentcg *cg = new_group();

	in_child(spawn_with_pipes_and_closed_ones, cg);
	destroy_group(cg);
}

static void a_failure_leaves_no_pipe(void)
{
	agentcg *cg = new_group();
	agentcg_spawn_options options = OWN;
	int ends[3] = { -5, -5, -5 }, before = memory_file("before"), after;

	close(before);
	options.stdin_fd = options.stdout_fd = options.stderr_fd = AGENTCG_PIPE;
	check_refused(cg, &options, -EINVAL, "ret_pipes");
	options.ret_pipes = (uintptr_t)ends;
	CHECK_ERR(agentcg_spawn(cg, "/nowhere", WORDS("x"), NULL, &options, sizeof(options), NULL, NULL, &why), -ENOENT);
	CHECK(ends[0] == -5 && ends[1] == -5 && ends[2] == -5);
	after = memory_file("after");
	CHECK_EQ(after, before);
	close(after);
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
	RUN(others_are_passed_in_any_order);
	RUN(targets_may_be_sources_of_others);
	RUN(targets_may_be_all_numbers_below_the_limit);
	RUN(what_is_between_the_targets_is_closed_also_without_close_range);
	RUN(a_standard_descriptor_may_be_a_target);
	RUN(invalid_pairs_are_refused_by_name);
	RUN(pipes_lead_to_the_caller);
	RUN(a_descriptor_without_a_pipe_is_minus_1);
	RUN(the_ends_of_pipes_are_above_2_if_the_caller_has_none_of_the_three);
	RUN(a_failure_leaves_no_pipe);
	return 0;
}
