// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * supervisor - run a command in each of twenty guarded agents, to show what happens to them when their host ends.
 *
 *	$ ./supervisor
 *	pid 4711: 20 agents in /sys/fs/cgroup/.../app.slice/synwire/agents
 *	pid 4711: 20 agents alive, 31 ms of CPU time used
 *	...
 *
 * Run `kill -9 4711` in another terminal. A moment later no agent is left, and none of their daemons: check with
 * `agentcg-reap --list`, or with `pgrep sleep`. The same happens after Ctrl-C, which this program does not handle.
 * Without AGENTCG_NEW_GUARD all agents would continue to run until agentcg-reap is called.
 *
 * By hand: cc supervisor.c -o supervisor $(pkg-config --cflags --libs agentcg)
 */
#define _DEFAULT_SOURCE
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <agentcg.h>

enum { AGENTS = 20, KILL_TIMEOUT_MS = 10000 };

struct agent {
	agentcg *cg;
	pid_t command;
};

static agentcg_error error;

static void start(struct agent *agent, char **argv)
{
	agentcg_spawn_options options = AGENTCG_SPAWN_OPTIONS_INIT;

	/* The guard kills and removes the agent when this program ends, for any reason. */
	if (agentcg_new(NULL, NULL, NULL, 0, AGENTCG_NEW_GUARD, &agent->cg, &error) < 0)
		errx(1, "%s", error.message);
	/* The command is in the group before it runs. Therefore all of its descendants are, too. */
	options.flags = AGENTCG_SPAWN_SEARCH_PATH;
	if (agentcg_spawn(agent->cg, argv[0], argv, NULL, &options, sizeof(options), &agent->command, NULL, &error) < 0)
		errx(1, "cannot run %s: %s", argv[0], error.message);
}

/* The command has ended. Kills the processes that it has left. */
static void finish(struct agent *agent)
{
	agentcg_stats last;

	if (agentcg_destroy(agent->cg, 0, KILL_TIMEOUT_MS, &last, sizeof(last), &error) < 0)
		errx(1, "%s", error.message);       /* the guard ends all agents */
	printf("pid %d: process %d has ended, its agent used %" PRIu64 " ms of CPU time\n", (int)getpid(),
	       (int)agent->command, last.cpu_usage_ns / 1000000);
	agent->cg = NULL;
}

static void collect(struct agent agents[AGENTS])
{
	pid_t pid;

	/* Only the commands are children of this program. The guard is not. */
	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
		for (int i = 0; i < AGENTS; i++)
			if (agents[i].cg && agents[i].command == pid)
				finish(&agents[i]);
}

/* Prints a line. Returns the number of living agents. */
static int report(struct agent agents[AGENTS])
{
	uint64_t cpu_ns = 0;
	int left = 0;

	for (int i = 0; i < AGENTS; i++) {
		agentcg_stats stats;

		if (!agents[i].cg)
			continue;
		if (agentcg_read_stats(agents[i].cg, AGENTCG_STAT_CPU, &stats, sizeof(stats), &error) < 0)
			errx(1, "%s", error.message);
		cpu_ns += stats.cpu_usage_ns;
		left++;
	}
	printf("pid %d: %d agents alive, %" PRIu64 " ms of CPU time used\n", (int)getpid(), left, cpu_ns / 1000000);
	return left;
}

int main(int argc, char **argv)
{
	/* A daemon that has left its session and its parent, and a process that waits. */
	static char *usual[] = { "sh", "-c", "setsid sleep 1000 & exec sleep 1000", NULL };
	struct agent agents[AGENTS];
	char path[PATH_MAX];

	setvbuf(stdout, NULL, _IOLBF, 0);           /* fork(2) must not copy buffered output */
	for (int i = 0; i < AGENTS; i++)
		start(&agents[i], argc > 1 ? argv + 1 : usual);
	agentcg_path(agents[0].cg, path, sizeof(path));
	printf("pid %d: %d agents in %.*s\n", (int)getpid(), AGENTS, (int)(strrchr(path, '/') - path), path);
	while (report(agents) > 0) {
		sleep(1);
		collect(agents);
	}
	return 0;
}
