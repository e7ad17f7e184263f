// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * limited - run a command with at most 64 MiB of memory, half of a CPU and 32 processes, and print what it used. The manual
 * page agentcg(7) shows this program.
 *
 *	$ ./limited make -j8
 *	...
 *	1700 ms of CPU time, 0 processes killed for lack of memory
 *
 * By hand: cc limited.c -o limited $(pkg-config --cflags --libs agentcg)
 */
#define _DEFAULT_SOURCE
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/wait.h>

#include <agentcg.h>

int main(int argc, char **argv)
{
	agentcg_limits limits = {
		.mask = AGENTCG_LIMIT_MEMORY_MAX | AGENTCG_LIMIT_SWAP_MAX |
			AGENTCG_LIMIT_CPU_MAX | AGENTCG_LIMIT_PIDS_MAX,
		.memory_max_bytes = 64 << 20,
		.swap_max_bytes = 0,
		.cpu_max_millicpu = 500,
		.pids_max = 32,
	};
	agentcg_spawn_options options = AGENTCG_SPAWN_OPTIONS_INIT;
	agentcg_stats last;
	agentcg_error error;
	agentcg *cg;
	pid_t pid;
	int status;

	if (argc < 2)
		errx(125, "usage: limited COMMAND [ARG...]");

	/* With the guard the agent ends with this program, also by SIGKILL. */
	if (agentcg_new(NULL, NULL, &limits, sizeof(limits),
			AGENTCG_NEW_GUARD, &cg, &error) < 0)
		errx(125, "%s", error.message);

	options.flags = AGENTCG_SPAWN_SEARCH_PATH;
	if (agentcg_spawn(cg, argv[1], argv + 1, NULL, &options,
			  sizeof(options), &pid, NULL, &error) < 0)
		errx(126, "%s", error.message);
	if (waitpid(pid, &status, 0) != pid)
		err(125, "waitpid");

	/* This kills what the command has left, and waits for its end. */
	if (agentcg_destroy(cg, 0, 10000, &last, sizeof(last), &error) < 0)
		errx(125, "%s", error.message);
	printf("%" PRIu64 " ms of CPU time, %" PRIu64
	       " processes killed for lack of memory\n",
	       last.cpu_usage_ns / 1000000, last.memory_events_oom_kill);
	return WIFEXITED(status) ? WEXITSTATUS(status)
				 : 128 + WTERMSIG(status);
}
