/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The group that a handle describes, strings that are cut to fit, and a handle
 * that stays valid after a failed agentcg_destroy().
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static void uuid_path_descriptor_and_id_belong_to_one_group(void)
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

static void info_has_the_controllers_and_the_place_of_the_group(void)
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

static agentcg *group;

static int get_uuid(char *buf, size_t size) { return agentcg_uuid(group, buf, size); }
static int get_path(char *buf, size_t size) { return agentcg_path(group, buf, size); }
static int get_parent(char *buf, size_t size) { return agentcg_discover_parent(buf, size, NULL); }

static void strings_are_cut_to_fit_and_their_full_length_returned(void)
{
	int (*const functions[])(char *, size_t) = { get_uuid, get_path, get_parent };
	char whole[PATH_SIZE], part[PATH_SIZE];

	group = new_group();
	for (int f = 0; f < 3; f++) {
		int length = functions[f](whole, sizeof(whole));

		CHECK(length > 0 && length < PATH_SIZE);
		CHECK_EQ(strlen(whole), length);
		for (int size = 0; size <= length + 2; size++) {
			int expected = size == 0 ? 0 : size <= length ? size - 1 : length;

			check_poison(part, sizeof(part));
			CHECK_EQ(functions[f](part, (size_t)size), length);
			CHECK_EQ(memcmp(part, whole, (size_t)expected), 0);
			CHECK(size == 0 || part[expected] == '\0');
			CHECK(check_untouched(part + size, sizeof(part) - (size_t)size));
		}
	}
	/* The largest size is accepted, too. */
	CHECK_EQ(agentcg_uuid(group, part, SIZE_MAX), AGENTCG_UUID_SIZE - 1);
	destroy_group(group);
}

/* agentcg_destroy() frees the handle only on success. */
static void a_failed_destroy_keeps_the_handle_and_writes_no_final_stats(void)
{
	agentcg *cg = new_group();
	char path[PATH_SIZE];
	pid_t children[50];
	agentcg_stats final;
	int result;

	agentcg_path(cg, path, sizeof(path));
	for (int i = 0; i < 50; i++) {
		children[i] = pausing_child();
		CHECK_OK(agentcg_move_pid(cg, children[i], &why));
	}
	check_poison(&final, sizeof(final));
	CHECK_ERR(agentcg_destroy(cg, UINT64_MAX, SOON_MS, &final, sizeof(final), &why), -EINVAL);
	CHECK_ERR(agentcg_destroy(cg, AGENTCG_DESTROY_IF_EMPTY, SOON_MS, &final, sizeof(final), &why), -EBUSY);
	CHECK(check_untouched(&final, sizeof(final)));
	CHECK(holds(cg, children[49]));

	/* Without time to wait, it may fail or succeed. */
	while ((result = agentcg_destroy(cg, 0, 0, &final, sizeof(final), &why)) == -ETIMEDOUT) {
		CHECK(check_untouched(&final, sizeof(final)));
		CHECK(agentcg_fd(cg) >= 0);
	}
	CHECK_EQ(result, 0);
	CHECK(final.mask & AGENTCG_STAT_CPU);
	CHECK(!is_directory(path));
	for (int i = 0; i < 50; i++)
		check_killed(children[i]);
}

static void a_call_without_an_event_returns_0_and_writes_0(void)
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
	RUN(uuid_path_descriptor_and_id_belong_to_one_group);
	RUN(info_has_the_controllers_and_the_place_of_the_group);
	RUN(strings_are_cut_to_fit_and_their_full_length_returned);
	RUN(a_failed_destroy_keeps_the_handle_and_writes_no_final_stats);
	RUN(a_call_without_an_event_returns_0_and_writes_0);
	return 0;
}
