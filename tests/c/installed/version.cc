// SPDX-License-Identifier: MIT OR Apache-2.0
#include <agentcg.h>
#include <iostream>

int main()
{
	std::cout << agentcg_version_string() << '\n';
	return agentcg_version_number() != AGENTCG_VERSION_NUMBER;
}
