/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The descriptors, the directory and the file of a program that is started in a group. */
#include "spawning.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- its three descriptors ---- */

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

static int file_named(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
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

/* ---- its directory ---- */

/* A directory with what to find in it; and its descriptor. */
static int make_directory(char path[32])
{
	int fd;

	strcpy(path, "/tmp/agentcg-spawn-XXXXXX");
	CHECK(mkdtemp(path) != NULL);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0);
	return fd;
}

static void make_program(int directory, const char *name, const char *text, mode_t mode)
{
	int fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

	CHECK(fd >= 0);
	CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void remove_directory(int directory, const char *path)
{
	static const char *const names[] = { "prog", "file" };

	for (size_t i = 0; i < 2; i++)
		unlinkat(directory, names[i], 0);
	close(directory);
	CHECK_EQ(rmdir(path), 0);
}

static void it_begins_in_the_directory_that_is_given(void)
{
	agentcg *cg = new_group();
	agentcg_spawn_options options = OWN;
	char path[32], expected[40], here[PATH_SIZE];

	CHECK(getcwd(here, sizeof(here) - 1) != NULL);
	strcat(here, "\n");
	CHECK_STR(said(cg, WORDS("/bin/readlink", "/proc/self/cwd"), NULL, OWN), here);
	options.cwd_fd = make_directory(path);
	snprintf(expected, sizeof(expected), "%s\n", path);
	CHECK_STR(said(cg, WORDS("/bin/readlink", "/proc/self/cwd"), NULL, options), expected);
	CHECK_STR(said(cg, WORDS("/bin/readlink", "/proc/self/cwd"), NULL, OWN), here);

	/* A relative file starts there, too. */
	make_program(options.cwd_fd, "prog", "#!/bin/sh\necho found\n", 0755);
	CHECK_STR(said(cg, WORDS("./prog"), NULL, options), "found\n");
	CHECK_STR(said(cg, WORDS("prog"), NULL, options), "found\n");
	CHECK_ERR(agentcg_spawn(cg, "./prog", WORDS("x"), NULL, NULL, 0, NULL, NULL, &why), -ENOENT);
	remove_directory(options.cwd_fd, path);
	check_nothing_is_left(cg);
	destroy_group(cg);
}

static void what_is_no_directory_is_refused(void)
{
	agentcg *cg = new_group();
	agentcg_spawn_options options = OWN;

	options.cwd_fd = file_named("f");
	CHECK_ERR(agentcg_spawn(cg, "/bin/true", WORDS("x"), NULL, &options, sizeof(options), NULL, NULL, &why),
	          -ENOTDIR);
	/* The library is given that number next, and does not take its own for the caller's. */
	close(options.cwd_fd);
	CHECK_ERR(agentcg_spawn(cg, "/bin/true", WORDS("x"), NULL, &options, sizeof(options), NULL, NULL, &why),
	          -EBADF);
	options.cwd_fd = -7;
	CHECK_ERR(agentcg_spawn(cg, "/bin/true", WORDS("x"), NULL, &options, sizeof(options), NULL, NULL, &why),
	          -EBADF);
	check_nothing_is_left(cg);
	destroy_group(cg);
}

/* ---- its file ---- */

static const char *found_by(agentcg *cg, const char *path, char *const *envp, int cwd_fd)
{
	agentcg_spawn_options options = OWN;

	options.flags = AGENTCG_SPAWN_SEARCH_PATH;
	options.cwd_fd = cwd_fd;
	CHECK_EQ(path ? setenv("PATH", path, 1) : unsetenv("PATH"), 0);
	return said(cg, WORDS("prog", "b"), envp, options);
}

static void it_is_looked_for_in_the_caller_s_path_if_that_is_asked_for(void)
{
	agentcg *cg = new_group();
	agentcg_spawn_options options = OWN;
	char *before = strdup(getenv("PATH")), first[32], second[32], path[200];
	int first_fd = make_directory(first), second_fd = make_directory(second);
	pid_t pid;

	make_program(first_fd, "prog", "#!/bin/sh\necho first\n", 0644);
	make_program(second_fd, "prog", "#!/bin/sh\necho second $1\n", 0755);
	options.flags = AGENTCG_SPAWN_SEARCH_PATH;

	/* What may not be executed is passed over, and is the reason only if nothing else is found. */
	snprintf(path, sizeof(path), "/nowhere:%s/prog:%s:%s:/bin", first, first, second);
	CHECK_STR(found_by(cg, path, NULL, AGENTCG_INHERIT), "second b\n");
	/* That of the program itself is none to look in. */
	CHECK_STR(found_by(cg, second, WORDS("PATH=/nowhere"), AGENTCG_INHERIT), "second b\n");
	CHECK_EQ(setenv("PATH", first, 1), 0);
	CHECK_ERR(agentcg_spawn(cg, "prog", WORDS("prog"), NULL, &options, sizeof(options), NULL, NULL, &why), -EACCES);
	CHECK_EQ(setenv("PATH", "/nowhere:/etc/passwd", 1), 0);
	CHECK_ERR(agentcg_spawn(cg, "prog", WORDS("prog"), NULL, &options, sizeof(options), NULL, NULL, &why), -ENOENT);

	/* Empty, it is the directory that the program begins in; relative, it starts there. */
	CHECK_STR(found_by(cg, "/nowhere:", NULL, second_fd), "second b\n");
	CHECK_STR(found_by(cg, ":/bin", NULL, second_fd), "second b\n");
	CHECK_STR(found_by(cg, ".", NULL, second_fd), "second b\n");
	CHECK_STR(found_by(cg, "", NULL, second_fd), "second b\n");

	/* Without a PATH the usual directories are searched. */
	CHECK_EQ(unsetenv("PATH"), 0);
	CHECK_OK(agentcg_spawn(cg, "true", WORDS("true"), NULL, &options, sizeof(options), &pid, NULL, &why));
	CHECK_EQ(reap(pid), 0);
	/* With a slash in it, or without the flag, it is no name to look for. */
	CHECK_ERR(agentcg_spawn(cg, "./true", WORDS("x"), NULL, &options, sizeof(options), NULL, NULL, &why), -ENOENT);
	CHECK_ERR(agentcg_spawn(cg, "", WORDS("x"), NULL, &options, sizeof(options), NULL, NULL, &why), -ENOENT);
	CHECK_EQ(setenv("PATH", "/bin", 1), 0);
	CHECK_ERR(agentcg_spawn(cg, "true", WORDS("x"), NULL, NULL, 0, NULL, NULL, &why), -ENOENT);

	CHECK_EQ(setenv("PATH", before, 1), 0);
	free(before);
	remove_directory(first_fd, first);
	remove_directory(second_fd, second);
	check_nothing_is_left(cg);
	destroy_group(cg);
}

int main(void)
{
	RUN(each_is_the_caller_s_or_nowhere_or_another);
	RUN(they_may_be_the_caller_s_own_three_in_another_order);
	RUN(they_are_there_though_they_are_close_on_exec_in_the_caller);
	RUN(what_is_closed_in_the_caller_is_closed_in_it);
	RUN(it_has_no_other);
	RUN(it_begins_in_the_directory_that_is_given);
	RUN(what_is_no_directory_is_refused);
	RUN(it_is_looked_for_in_the_caller_s_path_if_that_is_asked_for);
	return 0;
}
