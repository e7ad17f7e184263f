// SPDX-License-Identifier: MIT OR Apache-2.0
module agentcg

go 1.19
