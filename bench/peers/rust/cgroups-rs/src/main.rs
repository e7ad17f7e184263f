// SPDX-License-Identifier: MIT OR Apache-2.0
//! The adapter's program.
mod peer;

fn main() {
    adapter::run::<peer::Peer>();
}
