/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "bench.h"

#include <agentcg.h>
#include <err.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>

#define TIMEOUT_MS 60000

static const char *parent;
static struct controllers available;
static uint64_t stats_mask;
static agentcg_error error;

void library_init(const char *dir, struct controllers have)
{
	parent = dir;
	available = have;
	stats_mask = have.memory ? AGENTCG_STAT_BASIC : AGENTCG_STAT_CPU;
}

static void check(const char *call, int code)
{
	if (code < 0)
		errx(2, "%s: %s (%d)", call, error.message, code);
}

static agentcg_limits limits_times(unsigned times)
{
	agentcg_limits limits = { 0 };

	if (available.memory) {
		limits.mask |= AGENTCG_LIMIT_MEMORY_MAX;
		limits.memory_max_bytes = MEMORY_MAX_BYTES * times;
	}
	if (available.cpu) {
		limits.mask |= AGENTCG_LIMIT_CPU_MAX;
		limits.cpu_max_millicpu = CPU_MAX_MILLICPU * times;
	}
	if (available.pids) {
		limits.mask |= AGENTCG_LIMIT_PIDS_MAX;
		limits.pids_max = PIDS_MAX * times;
	}
	return limits;
}

static void *library_make(void)
{
	agentcg_limits limits = limits_times(1);
	agentcg *cg;

	check("agentcg_new", agentcg_new(parent, NULL, &limits, sizeof(limits), 0, &cg, &error));
	return cg;
}

static void library_remove(void *cg)
{
	check("agentcg_destroy", agentcg_destroy(cg, 0, TIMEOUT_MS, NULL, 0, &error));
}

static int library_fd(void *cg)
{
	return agentcg_fd(cg);
}

static void library_move(void *cg, pid_t pid)
{
	check("agentcg_move_pid", agentcg_move_pid(cg, pid, &error));
}

static void library_kill(void *cg)
{
	check("agentcg_kill_all", agentcg_kill_all(cg, TIMEOUT_MS, &error));
}

static void library_wait(void *cg, int timeout_ms)
{
	int code = agentcg_wait_empty(cg, timeout_ms, &error);

	if (code != -ETIMEDOUT)
		errx(2, "agentcg_wait_empty of a group with a living process: %d", code);
}

static uint64_t library_read(void *cg)
{
	agentcg_stats stats;

	check("agentcg_read_stats", agentcg_read_stats(cg, stats_mask, &stats, sizeof(stats), &error));
	return stats.cpu_usage_ns;
}

static void library_limit(void *cg, unsigned times)
{
	agentcg_limits limits = limits_times(times);

	check("agentcg_set_limits", agentcg_set_limits(cg, &limits, sizeof(limits), 0, &error));
}

static void check_found(void *cg, const agentcg_found *found, const char *place)
{
	char uuid[AGENTCG_UUID_SIZE];

	agentcg_uuid(cg, uuid, sizeof(uuid));
	if (strcmp(found->uuid, uuid) != 0 || strcmp(place, parent) != 0 || found->owner_pid == 0)
		errx(2, "agentcg_find: another agent was found, or no owner");
}

static void library_find(void *cg, pid_t pid)
{
	agentcg_found found;
	char place[PATH_MAX];

	check("agentcg_find", agentcg_find(pid, &found, sizeof(found), place, sizeof(place), &error));
	check_found(cg, &found, place);
}

static void library_find_pidfd(void *cg, int pidfd)
{
	agentcg_found found;
	char place[PATH_MAX];

	check("agentcg_find_pidfd", agentcg_find_pidfd(pidfd, &found, sizeof(found), place, sizeof(place), &error));
	check_found(cg, &found, place);
}

const struct side library_side = {
	"agentcg", library_make, library_remove, library_fd, library_move, library_kill, library_wait, library_read,
	library_limit, library_find, library_find_pidfd,
};
