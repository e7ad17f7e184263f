/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The header compiles as the first one, included twice, with all warnings, in each
 * standard that CMakeLists.txt lists. header.cc does the same for C++. */
#include <agentcg.h>
#include <agentcg.h>

#if AGENTCG_VERSION_NUMBER < 1000
# error "the version can be compared by the preprocessor"
#endif

/* Designated initializers, and constants in constant expressions. */
static const agentcg_limits limits = { .mask = AGENTCG_LIMIT_PIDS_MAX, .pids_max = AGENTCG_UNLIMITED };
static char uuid[AGENTCG_UUID_SIZE];

int use_header(agentcg **cg, agentcg_error *error);
int use_header(agentcg **cg, agentcg_error *error)
{
	switch (agentcg_new(0, uuid, &limits, sizeof(limits), 0, cg, error)) {
	case 0:
		return agentcg_kill_all(*cg, AGENTCG_FOREVER, error);
	default:
		return error->reason == AGENTCG_WHY_POPULATED;
	}
}
