// SPDX-License-Identifier: MIT OR Apache-2.0
//! One program for all parsers: `AGENTCG_FUZZ` names the parser to run, or is `list`. `fuzz/run` builds and runs it.

#![no_main]

// The parsers are private to the library. They are pure: their file needs no other module.
#[path = "../../src/parse/mod.rs"]
#[allow(missing_docs, reason = "a file of the library")]
mod parse;
mod targets;

use std::sync::OnceLock;
use targets::{TARGETS, Target};

static CHOSEN: OnceLock<Target> = OnceLock::new();

fn choose() {
    let wanted = std::env::var("AGENTCG_FUZZ").unwrap_or_default();
    match TARGETS.iter().find(|(name, _)| *name == wanted) {
        Some((_, target)) => {
            let _ = CHOSEN.set(*target); // called once, before the first input
        }
        None => {
            TARGETS.iter().for_each(|(name, _)| println!("{name}"));
            std::process::exit(if wanted == "list" { 0 } else { 2 });
        }
    }
}

libfuzzer_sys::fuzz_target!(init: choose(), |bytes: &[u8]| {
    if let Some(target) = CHOSEN.get() {
        target(bytes);
    }
});
