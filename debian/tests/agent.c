/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A guarded agent with a limit runs sh, which leaves a daemon behind. agentcg_destroy() ends both. C and C++ compile it. */
#include <agentcg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static int fail(const char *what, const agentcg_error *error)
{
	fprintf(stderr, "%s: %s\n", what, error->message);
	return 1;
}

int main(void)
{
	char sh[] = "sh", option[] = "-c", script[] = "sleep 1000 & exit 3";
	char *argv[] = {sh, option, script, NULL};
	agentcg_limits limits;
	agentcg_stats stats;
	agentcg_error error;
	agentcg *cg;
	pid_t pid;
	int status;

	memset(&limits, 0, sizeof(limits));
	limits.mask = AGENTCG_LIMIT_PIDS_MAX;
	limits.pids_max = 32;
	if (agentcg_new(NULL, NULL, &limits, sizeof(limits), AGENTCG_NEW_GUARD, &cg, &error) < 0)
		return fail("agentcg_new", &error);
	if (agentcg_spawn(cg, "/bin/sh", argv, NULL, NULL, 0, &pid, NULL, &error) < 0)
		return fail("agentcg_spawn", &error);
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 3) {
		fprintf(stderr, "sh has not exited with 3\n");
		return 1;
	}
	if (agentcg_read_stats(cg, AGENTCG_STAT_PIDS, &stats, sizeof(stats), &error) < 0)
		return fail("agentcg_read_stats", &error);
	if (!(stats.mask & AGENTCG_STAT_PIDS) || stats.pids_current != 1) {
		fprintf(stderr, "the daemon does not run\n");
		return 1;
	}
	if (agentcg_destroy(cg, 0, 5000, NULL, 0, &error) < 0)
		return fail("agentcg_destroy", &error);
	printf("an agent of agentcg %s\n", agentcg_version_string());
	return 0;
}
