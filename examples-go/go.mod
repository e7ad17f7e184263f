// SPDX-License-Identifier: MIT OR Apache-2.0
module agentcg-examples

go 1.19

require agentcg v0.0.0

replace agentcg => ../go
