// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * supervisor - twenty guarded agents, each running a command, to show what becomes of them when their host ends.
 *
 *	$ ./supervisor
 *	pid 4711: 20 agents in /sys/fs/cgroup/.../app.slice/synwire/agents
 *	pid 4711: 20 agents alive, 31 ms of CPU time used
 *	...
 *
 * Now `kill -9 4711` it, from another terminal. Nothing of the agents is left a moment later, their daemons
 * included: look with `agentcg-reap --list`, or with `pgrep sleep`. It is the same with Ctrl-C, which is not handled
 * here. Without AGENTCG_NEW_GUARD they would all run on, until somebody runs agentcg-reap.
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

	/* Whatever becomes of us, the group is killed and removed. */
	if (agentcg_new(NULL, NULL, NULL, 0, AGENTCG_NEW_GUARD, &agent->cg, &error) < 0)
		errx(1, "%s", error.message);
	/* There before it runs: then all that it ever starts is in the group, too. */
	options.flags = AGENTCG_SPAWN_SEARCH_PATH;
	if (agentcg_spawn(agent->cg, argv[0], argv, NULL, &options, sizeof(options), &agent->command, NULL, &error) < 0)
		errx(1, "cannot run %s: %s", argv[0], error.message);
}

/* The command has ended. What it has left behind ends now. */
static void finish(struct agent *agent)
{
	agentcg_stats last;

	if (agentcg_destroy(agent->cg, 0, KILL_TIMEOUT_MS, &last, sizeof(last), &error) < 0)
		errx(1, "%s", error.message);       /* what is left ends with us */
	printf("pid %d: process %d has ended, its agent used %" PRIu64 " ms of CPU time\n", (int)getpid(),
	       (int)agent->command, last.cpu_usage_ns / 1000000);
	agent->cg = NULL;
}

static void collect(struct agent agents[AGENTS])
{
	pid_t pid;

	/* Only children of ours are found: the guard is none, and nothing has to be waited for but these. */
	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
		for (int i = 0; i < AGENTS; i++)
			if (agents[i].cg && agents[i].command == pid)
				finish(&agents[i]);
}

/* Returns how many are left. */
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
	/* A daemon that has left its session and its parent, and somebody who waits. */
	static char *usual[] = { "sh", "-c", "setsid sleep 1000 & exec sleep 1000", NULL };
	struct agent agents[AGENTS];
	char path[PATH_MAX];

	setvbuf(stdout, NULL, _IOLBF, 0);           /* nothing unwritten may be copied by fork(2) */
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
