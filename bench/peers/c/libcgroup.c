/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "adapter.h"

#include <err.h>
#include <fcntl.h>
#include <libcgroup.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOUNT "/sys/fs/cgroup"

struct group {
	struct cgroup *cgroup;
	char name[256];
};

static const char *parent;      /* relative to the mount point */
static const char *controller;  /* the library makes no group without one */
static int with_limits;
static unsigned made;

static void check(const char *call, int code)
{
	if (code != 0)
		errx(2, "%s: %s", call, cgroup_strerror(code));
}

/* Returns a controller that is enabled below the root: the first in the list, which is sorted by the cost of a group
 * with it. The library enables it further down. */
static const char *any_controller(void)
{
	static const char *const names[] = { "pids", "hugetlb", "cpu", "memory" };
	static const char path[] = MOUNT "/cgroup.subtree_control";
	char text[256] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		err(2, "%s", path);
	close(fd);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strstr(text, names[i]))
			return names[i];
	errx(2, "%s contains no controller, and libcgroup makes no group without one", path);
}

void adapter_init(const char *directory, int limits)
{
	if (strncmp(directory, MOUNT "/", sizeof(MOUNT)) != 0)
		errx(2, "%s is not in " MOUNT, directory);
	parent = directory + sizeof(MOUNT);
	with_limits = limits;
	controller = limits ? "cpu" : any_controller();
	check("cgroup_init", cgroup_init());
}

static void *make(void)
{
	struct group *group = malloc(sizeof(*group));
	struct cgroup_controller *with;
	char value[32];

	snprintf(group->name, sizeof(group->name), "%s/%u", parent, made++);
	group->cgroup = cgroup_new_cgroup(group->name);
	with = cgroup_add_controller(group->cgroup, controller);
	if (!with)
		errx(2, "cgroup_add_controller %s failed", controller);
	if (with_limits) {
		snprintf(value, sizeof(value), "%u 100000", CPU_MAX_MILLICPU * 100);
		check("cgroup_add_value_string", cgroup_add_value_string(with, "cpu.max", value));
		with = cgroup_add_controller(group->cgroup, "memory");
		check("cgroup_add_value_uint64", cgroup_add_value_uint64(with, "memory.max", MEMORY_MAX_BYTES));
		with = cgroup_add_controller(group->cgroup, "pids");
		check("cgroup_add_value_uint64", cgroup_add_value_uint64(with, "pids.max", PIDS_MAX));
	}
	check("cgroup_create_cgroup", cgroup_create_cgroup(group->cgroup, 1));
	return group;
}

static void destroy(void *arg)
{
	struct group *group = arg;

	if (with_limits) {
		/* It removes the directory once for each controller, and fails at the second. */
		cgroup_free(&group->cgroup);
		group->cgroup = cgroup_new_cgroup(group->name);
		cgroup_add_controller(group->cgroup, controller);
	}
	check("cgroup_delete_cgroup", cgroup_delete_cgroup(group->cgroup, 1));
	cgroup_free(&group->cgroup);
	free(group);
}

static int directory(void *arg)
{
	struct group *group = arg;
	char path[512];

	snprintf(path, sizeof(path), MOUNT "/%s", group->name);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void move(void *arg, pid_t pid)
{
	struct group *group = arg;

	check("cgroup_attach_task_pid", cgroup_attach_task_pid(group->cgroup, pid));
}

/* Returns each line of cpu.stat as text. */
static uint64_t read_stats(void *arg)
{
	static volatile unsigned long long parsed;   /* volatile: computed although nothing reads it */
	struct group *group = arg;
	unsigned long long usage_us = 0;
	char line[256];
	void *handle;
	int code = cgroup_read_value_begin(controller, group->name, "cpu.stat", &handle, line, sizeof(line));

	for (; code == 0; code = cgroup_read_value_next(&handle, line, sizeof(line))) {
		char *value = strchr(line, ' ');
		parsed = value ? strtoull(value, NULL, 10) : 0;
		if (strncmp(line, "usage_usec", strlen("usage_usec")) == 0)
			usage_us = parsed;
	}
	if (code != ECGEOF)
		check("cgroup_read_value", code);
	cgroup_read_value_end(&handle);
	if (with_limits) {
		code = cgroup_read_value_begin("memory", group->name, "memory.current", &handle, line, sizeof(line));
		check("cgroup_read_value_begin", code);
		parsed = strtoull(line, NULL, 10);
		cgroup_read_value_end(&handle);
	}
	return usage_us * 1000;
}

static const struct side libcgroup_side = {
	"libcgroup", make, destroy, directory, move, NULL, NULL, read_stats, NULL,
};
const struct side *const adapter_side = &libcgroup_side;

static void enter(void *group)
{
	move(group, getpid());
}

pid_t adapter_spawn(void *group, char *const *argv)
{
	return fork_and_enter(group, argv, enter);
}
