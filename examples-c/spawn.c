// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * spawn - run a command in its own agent, for a limited number of milliseconds, and print its exit status and usage.
 *
 *	$ ./spawn 500 sh -c 'sleep 1000 & exec sleep 1000'
 *	killed after 500 ms, with all its descendants
 *	2 ms of CPU time, 1 MiB at most
 *	$ ./spawn --contain 500 cat /proc/self/cgroup
 *	0::/
 *	exit status 0
 *	...
 *
 * The command is in the group before its first instruction, and so are all its descendants. With --contain it cannot
 * leave the group, since it has its own namespaces (docs/containment.md).
 *
 * By hand: cc spawn.c -o spawn $(pkg-config --cflags --libs agentcg)
 */
#define _DEFAULT_SOURCE
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <agentcg.h>

#define KILL_TIMEOUT_MS 10000

static agentcg_error error;

/* Returns a number of milliseconds that poll(2) accepts, or -1. */
static int milliseconds(const char *text)
{
	char *end;
	long value = strtol(text, &end, 10);

	return end == text || *end || value < 0 || value > INT_MAX ? -1 : (int)value;
}

/* Returns true if the process has ended before the timeout. */
static bool ends_in_time(int pidfd, int timeout_ms)
{
	struct pollfd ended = { .fd = pidfd, .events = POLLIN };
	int ready;

	while ((ready = poll(&ended, 1, timeout_ms)) < 0)
		if (errno != EINTR)
			err(125, "poll");
	return ready > 0;
}

int main(int argc, char **argv)
{
	agentcg_spawn_options options = AGENTCG_SPAWN_OPTIONS_INIT;
	bool contain = argc > 1 && strcmp(argv[1], "--contain") == 0;
	char **command = argv + (contain ? 3 : 2);
	int timeout_ms = argc > (contain ? 3 : 2) ? milliseconds(command[-1]) : -1;
	int pidfd, status;
	agentcg_stats last;
	agentcg *cg;
	pid_t pid;

	if (timeout_ms < 0) {
		fputs("usage: spawn [--contain] MILLISECONDS COMMAND [ARG...]\n", stderr);
		return 125;
	}
	/* The guard kills the agent when this program ends, for any reason. */
	if (agentcg_new(NULL, NULL, NULL, 0, AGENTCG_NEW_GUARD, &cg, &error) < 0)
		errx(125, "%s", error.message);
	options.flags = AGENTCG_SPAWN_SEARCH_PATH | (contain ? AGENTCG_SPAWN_CONTAIN : 0);
	if (agentcg_spawn(cg, command[0], command, NULL, &options, sizeof(options), &pid, &pidfd, &error) < 0)
		errx(error.code == -ENOENT ? 127 : 126, "%s", error.message);   /* the guard removes the group */

	if (!ends_in_time(pidfd, timeout_ms))
		printf("killed after %d ms, with all its descendants\n", timeout_ms);
	/* The descendants are killed in either case. */
	if (agentcg_destroy(cg, 0, KILL_TIMEOUT_MS, &last, sizeof(last), &error) < 0)
		errx(125, "%s", error.message);
	if (waitpid(pid, &status, 0) != pid)
		err(125, "waitpid");
	if (WIFEXITED(status))
		printf("exit status %d\n", WEXITSTATUS(status));
	printf("%" PRIu64 " ms of CPU time", last.cpu_usage_ns / 1000000);
	if (last.mask & AGENTCG_STAT_MEMORY_PEAK)
		printf(", %" PRIu64 " MiB at most", last.memory_peak_bytes >> 20);
	putchar('\n');
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
