// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * session - run a command in several agents, which may use 64 MiB each and 96 MiB together.
 *
 *	$ ./session 2 make -j4
 *	agent 2: The program exited with code 0.
 *	agent 1: The program exited with code 2.
 *
 * However much memory they need, the kernel kills only processes of this session. agentcg-top shows the agents below it.
 *
 * By hand: cc session.c -o session $(pkg-config --cflags --libs agentcg)
 */
#define _DEFAULT_SOURCE
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <agentcg.h>

enum { MOST = 100, KILL_TIMEOUT_MS = 10000 };

struct agent {
	agentcg *cg;
	pid_t command;
};

static agentcg_error error;

static void start(struct agent *agent, agentcg *session, char **argv)
{
	agentcg_limits limits = {
		.mask = AGENTCG_LIMIT_MEMORY_MAX | AGENTCG_LIMIT_SWAP_MAX,
		.memory_max_bytes = 64 << 20,
		.swap_max_bytes = 0,
	};
	agentcg_new_options options = { .limits = &limits, .limits_size = sizeof(limits), .label = argv[0] };
	agentcg_spawn_options how = AGENTCG_SPAWN_OPTIONS_INIT;

	if (agentcg_new_in(session, &options, sizeof(options), &agent->cg, &error) < 0)
		errx(125, "%s", error.message);
	how.flags = AGENTCG_SPAWN_SEARCH_PATH;
	if (agentcg_spawn(agent->cg, argv[0], argv, NULL, &how, sizeof(how), &agent->command, NULL, &error) < 0)
		errx(126, "%s", error.message);
}

/* The command has ended. The verdict says why. */
static void finish(struct agent *agent, int number, int status)
{
	agentcg_verdict verdict;

	if (agentcg_destroy_explained(agent->cg, 0, KILL_TIMEOUT_MS, status, NULL, 0, &verdict, sizeof(verdict), &error) < 0)
		errx(125, "%s", error.message);
	printf("agent %d: %s\n", number, verdict.text);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	agentcg_limits together = {
		.mask = AGENTCG_LIMIT_MEMORY_MAX | AGENTCG_LIMIT_SWAP_MAX,
		.memory_max_bytes = 96 << 20,
		.swap_max_bytes = 0,
	};
	struct agent agents[MOST];
	agentcg *session;
	int count = argc > 2 ? atoi(argv[1]) : 0, status;
	pid_t ended;

	if (count < 1 || count > MOST)
		errx(125, "usage: session COUNT COMMAND [ARG...], with a COUNT from 1 to %d", MOST);
	/* With the guard the session and all its agents end with this program, also by SIGKILL. */
	if (agentcg_new(NULL, NULL, &together, sizeof(together), AGENTCG_NEW_GUARD, &session, &error) < 0)
		errx(125, "%s", error.message);
	for (int i = 0; i < count; i++)
		start(&agents[i], session, argv + 2);
	for (int left = count; left > 0; left--) {
		if ((ended = wait(&status)) < 0)
			err(125, "wait");
		for (int i = 0; i < count; i++)
			if (agents[i].command == ended)
				finish(&agents[i], i + 1, status);
	}
	if (agentcg_destroy(session, 0, KILL_TIMEOUT_MS, NULL, 0, &error) < 0)
		errx(125, "%s", error.message);
	return 0;
}
