// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * fork-bomb - each of its processes forks forever. Without a limit it would make the whole machine unusable: it refuses
 * to start in a cgroup whose path does not contain "/agents/".
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
	bool printed = false;

	if (!is_in_agent()) {
		fprintf(stderr, "fork-bomb: not started: outside an agent it would affect the whole machine\n");
		return 2;
	}
	for (;;) {
		if (fork() < 0 && !printed && getpid() == first) {
			printf("fork-bomb: fork refused: %s\n", strerror(errno));
			fflush(stdout);
			printed = true;
		}
	}
}
