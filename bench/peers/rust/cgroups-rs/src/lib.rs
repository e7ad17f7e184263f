// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same as a shared library, whose size is compared with that of the other libraries.
mod peer;

/// Runs the adapter.
#[unsafe(no_mangle)]
pub extern "C" fn peer_run() {
    adapter::run::<peer::Peer>();
}
