/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "adapter.h"

#include <agentcg.h>
#include <err.h>
#include <stdlib.h>
#include <string.h>

#define BELOW_PARENT "/synwire/agents"

const struct side *const adapter_side = &library_side;

/* Another agent exists during the measurement: the first agent of a place also makes its directories, and the last
 * removes them. */
void adapter_init(const char *directory, int limits)
{
	const struct controllers all = { 1, 1, 1 }, none = { 0, 0, 0 };
	size_t length = strlen(directory), below = strlen(BELOW_PARENT);

	if (length <= below || strcmp(directory + length - below, BELOW_PARENT) != 0)
		errx(2, "%s does not end in %s", directory, BELOW_PARENT);
	library_init(strndup(directory, length - below), limits ? all : none);
	library_side.make();
}

pid_t adapter_spawn(void *group, char *const *argv)
{
	agentcg_error error;
	pid_t pid;

	if (agentcg_spawn(group, argv[0], argv, no_environment, NULL, 0, &pid, NULL, &error) < 0)
		errx(2, "agentcg_spawn: %s", error.message);
	return pid;
}
