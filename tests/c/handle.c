/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a handle knows about its group, and what becomes of the group when the handle is given up. */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static void uuid_path_directory_and_id_are_of_one_group(void)
{
	agentcg *cg = new_group();
	char uuid[AGENTCG_UUID_SIZE], path[PATH_SIZE], expected[PATH_SIZE];
	struct stat by_path, by_fd;
	agentcg_info info;

	CHECK_EQ(agentcg_uuid(cg, uuid, sizeof(uuid)), AGENTCG_UUID_SIZE - 1);
	CHECK_EQ(strspn(uuid, "0123456789abcdef-"), AGENTCG_UUID_SIZE - 1);
	CHECK(uuid[14] == '4' && strchr("89ab", uuid[19]));   /* random, RFC 9562 */

	agents_directory(expected);
	strcat(strcat(expected, "/"), uuid);
	CHECK_EQ(agentcg_path(cg, path, sizeof(path)), strlen(expected));
	CHECK_STR(path, expected);

	CHECK_EQ(stat(path, &by_path), 0);
	CHECK_EQ(fstat(agentcg_fd(cg), &by_fd), 0);
	CHECK_OK(agentcg_get_info(cg, &info, sizeof(info), &why));
	CHECK_EQ(by_fd.st_ino, by_path.st_ino);
	CHECK_EQ(by_fd.st_dev, by_path.st_dev);
	CHECK_EQ(info.id, by_path.st_ino);   /* the kernel's cgroup id is the inode number */
	destroy_group(cg);
}

static uint64_t controllers_of(agentcg *cg)
{
	static const struct {
		uint64_t bit;
		const char *name;
	} known[] = {
		{ AGENTCG_CONTROLLER_CPU, "cpu" },       { AGENTCG_CONTROLLER_MEMORY, "memory" },
		{ AGENTCG_CONTROLLER_PIDS, "pids" },     { AGENTCG_CONTROLLER_IO, "io" },
		{ AGENTCG_CONTROLLER_CPUSET, "cpuset" }, { AGENTCG_CONTROLLER_HUGETLB, "hugetlb" },
	};
	char text[256];
	uint64_t controllers = 0;

	CHECK(read_in(agentcg_fd(cg), "cgroup.controllers", text, sizeof(text)) > 0);
	for (char *name = strtok(text, " \n"); name; name = strtok(NULL, " \n"))
		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			if (strcmp(name, known[i].name) == 0)
				controllers |= known[i].bit;
	return controllers;
}

static void info_is_what_the_kernel_says(void)
{
	agentcg *cg = new_group();
	const uint64_t needed = AGENTCG_CONTROLLER_CPU | AGENTCG_CONTROLLER_MEMORY | AGENTCG_CONTROLLER_PIDS;
	char own[PATH_SIZE];
	agentcg_info info;

	CHECK_OK(agentcg_get_info(cg, &info, sizeof(info), &why));
	CHECK_EQ(info.controllers, controllers_of(cg));
	CHECK_EQ(info.controllers & needed, needed);
	CHECK_EQ(info.owned, 1);
	CHECK_EQ(info.guarded, 0);
	CHECK_EQ(info.reserved, 0);

	CHECK(read_in(AT_FDCWD, "/proc/self/cgroup", own, sizeof(own)) > 0);
	CHECK_EQ(info.place, strcmp(own, "0::/\n") == 0 ? AGENTCG_PLACE_ROOT : AGENTCG_PLACE_SIBLING);
	destroy_group(cg);
}

static agentcg *asked;

static int ask_uuid(char *buf, size_t size) { return agentcg_uuid(asked, buf, size); }
static int ask_path(char *buf, size_t size) { return agentcg_path(asked, buf, size); }
static int ask_parent(char *buf, size_t size) { return agentcg_discover_parent(buf, size, NULL); }

static void strings_are_cut_to_fit_and_their_full_length_returned(void)
{
	int (*const questions[])(char *, size_t) = { ask_uuid, ask_path, ask_parent };
	char whole[PATH_SIZE], part[PATH_SIZE];

	asked = new_group();
	for (int q = 0; q < 3; q++) {
		int length = questions[q](whole, sizeof(whole));

		CHECK(length > 0 && length < PATH_SIZE);
		CHECK_EQ(strlen(whole), length);
		for (int size = 0; size <= length + 2; size++) {
			int expected = size == 0 ? 0 : size <= length ? size - 1 : length;

			check_poison(part, sizeof(part));
			CHECK_EQ(questions[q](part, (size_t)size), length);
			CHECK_EQ(memcmp(part, whole, (size_t)expected), 0);
			CHECK(size == 0 || part[expected] == '\0');
			CHECK(check_untouched(part + size, sizeof(part) - (size_t)size));
		}
	}
	/* "As much as it takes." */
	CHECK_EQ(agentcg_uuid(asked, part, SIZE_MAX), AGENTCG_UUID_SIZE - 1);
	destroy_group(asked);
}

static void free_leaves_the_group_and_its_processes_be(void)
{
	agentcg *cg = new_group();
	char path[PATH_SIZE], text[64];
	pid_t child = pausing_child();
	int directory;

	agentcg_path(cg, path, sizeof(path));
	CHECK_OK(agentcg_move_pid(cg, child, &why));
	agentcg_free(cg);

	directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(directory >= 0);
	CHECK(read_in(directory, "cgroup.procs", text, sizeof(text)) > 0);
	CHECK_EQ(atoi(text), child);
	close(directory);

	kill_and_reap(child);
	CHECK_EQ(rmdir(path), 0);
}

static void use_and_free(void *handle)
{
	agentcg *cg = handle;
	agentcg_stats stats;

	CHECK_OK(agentcg_read_stats(cg, AGENTCG_STAT_ALL, &stats, sizeof(stats), &why));
	CHECK_EQ(agentcg_move_self(cg), 0);
	CHECK(holds(cg, getpid()));
	agentcg_free(cg);
}

static void a_handle_works_in_a_forked_child_whose_free_gives_up_nothing(void)
{
	agentcg *cg = new_group();
	agentcg_info info;
	pid_t child;

	in_child(use_and_free, cg);
	CHECK_OK(agentcg_get_info(cg, &info, sizeof(info), &why));
	CHECK_EQ(info.owned, 1);

	child = pausing_child();
	CHECK_OK(agentcg_move_pid(cg, child, &why));
	destroy_group(cg);
	check_killed(child);
}

static void a_directory_made_again_under_the_same_name_is_not_mistaken_for_it(void)
{
	agentcg *cg = new_group();
	char path[PATH_SIZE];
	agentcg_stats stats;
	pid_t child = pausing_child();

	agentcg_path(cg, path, sizeof(path));
	CHECK_EQ(rmdir(path), 0);
	CHECK_EQ(mkdir(path, 0755), 0);

	CHECK_ERR(agentcg_read_stats(cg, AGENTCG_STAT_BASIC, &stats, sizeof(stats), &why), -ENODEV);
	CHECK_ERR(agentcg_move_pid(cg, child, &why), -ENODEV);
	/* What is there now is somebody else's: destroying ours must not take it. */
	CHECK_OK(agentcg_destroy(cg, 0, SOON_MS, NULL, 0, &why));
	CHECK(is_directory(path));
	CHECK_EQ(rmdir(path), 0);
	kill_and_reap(child);
}

static void where_no_event_came_it_says_so_in_both_ways(void)
{
	agentcg *cg = new_group();
	uint64_t events = 7;

	CHECK_OK(agentcg_event_fd(cg, AGENTCG_EVENT_EMPTY, &why));
	CHECK_EQ(agentcg_next_events(cg, 0, &events, &why), 0);
	CHECK_EQ(events, 0);
	destroy_group(cg);
}

int main(void)
{
	RUN(where_no_event_came_it_says_so_in_both_ways);
	RUN(uuid_path_directory_and_id_are_of_one_group);
	RUN(info_is_what_the_kernel_says);
	RUN(strings_are_cut_to_fit_and_their_full_length_returned);
	RUN(free_leaves_the_group_and_its_processes_be);
	RUN(a_handle_works_in_a_forked_child_whose_free_gives_up_nothing);
	RUN(a_directory_made_again_under_the_same_name_is_not_mistaken_for_it);
	return 0;
}
