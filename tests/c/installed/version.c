/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <agentcg.h>
#include <stdio.h>

int main(void)
{
	puts(agentcg_version_string());
	return agentcg_version_number() != AGENTCG_VERSION_NUMBER;
}
