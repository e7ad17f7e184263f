// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * fork-bomb - every process of it forks for ever. Only where agentcg put it: without a limit it takes the whole
 * machine down, so it does not start in a cgroup whose path has no "/agents/".
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool is_in_agent(void)
{
	char line[8192];
	bool found = false;
	FILE *file = fopen("/proc/self/cgroup", "re");

	while (file && fgets(line, sizeof(line), file))
		found = found || (strncmp(line, "0::", 3) == 0 && strstr(line, "/agents/"));
	if (file)
		fclose(file);
	return found;
}

int main(void)
{
	pid_t first = getpid();
	bool told = false;

	if (!is_in_agent()) {
		fprintf(stderr, "fork-bomb: not in an agent's cgroup, so it would hit the whole machine: not started\n");
		return 2;
	}
	for (;;) {
		if (fork() < 0 && !told && getpid() == first) {
			printf("fork-bomb: fork refused: %s\n", strerror(errno));
			fflush(stdout);
			told = true;
		}
	}
}
