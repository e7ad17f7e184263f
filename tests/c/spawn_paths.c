/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* agentcg_spawn(): the search for the program, and its working directory. */
#include "spawning.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the working directory ---- */

/* Make a directory. Returns its descriptor. */
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

static void it_starts_in_the_given_directory(void)
{
	agentcg *cg = new_group();
	agentcg_spawn_options options = OWN;
	char path[32], expected[40], here[PATH_SIZE];

	CHECK(getcwd(here, sizeof(here) - 1) != NULL);
	strcat(here, "\n");
	CHECK_STR(output_of(cg, WORDS("/bin/readlink", "/proc/self/cwd"), NULL, OWN), here);
	options.cwd_fd = make_directory(path);
	snprintf(expected, sizeof(expected), "%s\n", path);
	CHECK_STR(output_of(cg, WORDS("/bin/readlink", "/proc/self/cwd"), NULL, options), expected);
	CHECK_STR(output_of(cg, WORDS("/bin/readlink", "/proc/self/cwd"), NULL, OWN), here);

	/* A relative path of the program starts there, too. */
	make_program(options.cwd_fd, "prog", "#!/bin/sh\necho found\n", 0755);
	CHECK_STR(output_of(cg, WORDS("./prog"), NULL, options), "found\n");
	CHECK_STR(output_of(cg, WORDS("prog"), NULL, options), "found\n");
	CHECK_ERR(agentcg_spawn(cg, "./prog", WORDS("x"), NULL, NULL, 0, NULL, NULL, &why), -ENOENT);
	remove_directory(options.cwd_fd, path);
	check_nothing_is_left(cg);
	destroy_group(cg);
}

static void a_descriptor_of_no_directory_is_refused(void)
{
	agentcg *cg = new_group();
	agentcg_spawn_options options = OWN;

	options.cwd_fd = memory_file("f");
	CHECK_ERR(agentcg_spawn(cg, "/bin/true", WORDS("x"), NULL, &options, sizeof(options), NULL, NULL, &why),
	          -ENOTDIR);
	/* The library's next descriptor has this number and is not used as the caller's. */
	close(options.cwd_fd);
	CHECK_ERR(agentcg_spawn(cg, "/bin/true", WORDS("x"), NULL, &options, sizeof(options), NULL, NULL, &why),
	          -EBADF);
	options.cwd_fd = -7;
	CHECK_ERR(agentcg_spawn(cg, "/bin/true", WORDS("x"), NULL, &options, sizeof(options), NULL, NULL, &why),
	          -EBADF);
	check_nothing_is_left(cg);
	destroy_group(cg);
}

/* ---- the search in PATH ---- */

static const char *found_by(agentcg *cg, const char *path, char *const *envp, int cwd_fd)
{
	agentcg_spawn_options options = OWN;

	options.flags = AGENTCG_SPAWN_SEARCH_PATH;
	options.cwd_fd = cwd_fd;
	CHECK_EQ(path ? setenv("PATH", path, 1) : unsetenv("PATH"), 0);
	return output_of(cg, WORDS("prog", "b"), envp, options);
}

static void the_caller_s_path_is_searched_if_the_flag_is_set(void)
{
	agentcg *cg = new_group();
	agentcg_spawn_options options = OWN;
	char *before = strdup(getenv("PATH")), first[32], second[32], path[200];
	int first_fd = make_directory(first), second_fd = make_directory(second);
	pid_t pid;

	make_program(first_fd, "prog", "#!/bin/sh\necho first\n", 0644);
	make_program(second_fd, "prog", "#!/bin/sh\necho second $1\n", 0755);
	options.flags = AGENTCG_SPAWN_SEARCH_PATH;

	/* A file that may not be executed is skipped. Its error is returned only if no other file is found. */
	snprintf(path, sizeof(path), "/nowhere:%s/prog:%s:%s:/bin", first, first, second);
	CHECK_STR(found_by(cg, path, NULL, AGENTCG_INHERIT), "second b\n");
	/* The PATH of envp is not searched. */
	CHECK_STR(found_by(cg, second, WORDS("PATH=/nowhere"), AGENTCG_INHERIT), "second b\n");
	CHECK_EQ(setenv("PATH", first, 1), 0);
	CHECK_ERR(agentcg_spawn(cg, "prog", WORDS("prog"), NULL, &options, sizeof(options), NULL, NULL, &why), -EACCES);
	CHECK_EQ(setenv("PATH", "/nowhere:/etc/passwd", 1), 0);
	CHECK_ERR(agentcg_spawn(cg, "prog", WORDS("prog"), NULL, &options, sizeof(options), NULL, NULL, &why), -ENOENT);

	/* An empty element is the program's working directory; a relative one starts there. */
	CHECK_STR(found_by(cg, "/nowhere:", NULL, second_fd), "second b\n");
	CHECK_STR(found_by(cg, ":/bin", NULL, second_fd), "second b\n");
	CHECK_STR(found_by(cg, ".", NULL, second_fd), "second b\n");
	CHECK_STR(found_by(cg, "", NULL, second_fd), "second b\n");

	/* Without PATH the default directories are searched. */
	CHECK_EQ(unsetenv("PATH"), 0);
	CHECK_OK(agentcg_spawn(cg, "true", WORDS("true"), NULL, &options, sizeof(options), &pid, NULL, &why));
	CHECK_EQ(reap(pid), 0);
	/* A name with a slash, an empty name, and a name without the flag are not searched for. */
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

static void read_the_environment(void *null_by_hand)
{
	agentcg *cg = new_group();
	agentcg_spawn_options options = OWN;
	pid_t pid;

	if (null_by_hand)
		environ = NULL;
	else
		CHECK_EQ(clearenv(), 0);
	CHECK(environ == NULL);
	CHECK_STR(output_of(cg, WORDS("/usr/bin/env"), NULL, OWN), "");
	/* The default directories are searched, and the program has no environment either. */
	options.flags = AGENTCG_SPAWN_SEARCH_PATH;
	CHECK_OK(agentcg_spawn(cg, "sh", WORDS("sh", "-c", "! read x < /proc/$$/environ"), NULL, &options, sizeof(options),
		&pid, NULL, &why));
	CHECK_EQ(reap(pid), 0);
	destroy_group(cg);
}

static void a_null_environ_is_an_empty_environment(void)
{
	in_child(read_the_environment, NULL);
	in_child(read_the_environment, &why);
}

int main(void)
{
	RUN(it_starts_in_the_given_directory);
	RUN(a_descriptor_of_no_directory_is_refused);
	RUN(the_caller_s_path_is_searched_if_the_flag_is_set);
	RUN(a_null_environ_is_an_empty_environment);
	return 0;
}
