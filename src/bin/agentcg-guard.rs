// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guard of a host program, started by libagentcg: see `src/guard/mod.rs`.

fn main() {
    let protocol = std::env::args().nth(1);
    std::process::exit(agentcg::run_guard(protocol.as_deref()));
}
