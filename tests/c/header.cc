// SPDX-License-Identifier: MIT OR Apache-2.0
// header.c for C++.
#include <agentcg.h>
#include <agentcg.h>

#if AGENTCG_VERSION_NUMBER < 1000
# error "the version can be compared by the preprocessor"
#endif

static constexpr uint64_t which = AGENTCG_STAT_BASIC | AGENTCG_STAT_PIDS;
static char uuid[AGENTCG_UUID_SIZE];

int use_header(agentcg **cg, agentcg_error *error);
int use_header(agentcg **cg, agentcg_error *error)
{
	agentcg_stats stats{};
	agentcg_limits limits{};

	limits.mask = AGENTCG_LIMIT_PIDS_MAX;
	limits.pids_max = AGENTCG_UNLIMITED;
	switch (agentcg_new(nullptr, uuid, &limits, sizeof(limits), 0, cg, error)) {
	case 0:
		return agentcg_read_stats(*cg, which, &stats, sizeof(stats), error);
	default:
		return error->reason == AGENTCG_WHY_POPULATED;
	}
}
