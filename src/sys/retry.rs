// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls that are made again after a failure that may pass.

use nix::errno::Errno;

/// Makes a call again, three times in all, whose failure would leave an operation half done. `is_final` returns true for
/// an errno that another attempt would return again.
pub fn retry_transient<T>(
    is_final: impl Fn(Errno) -> bool,
    mut call: impl FnMut() -> nix::Result<T>,
) -> nix::Result<T> {
    const ATTEMPTS: usize = 3;
    let mut result = call();
    for _ in 1..ATTEMPTS {
        match result {
            Err(e) if !is_final(e) => result = call(),
            _ => break,
        }
    }
    result
}

/// Makes a call again as long as a signal interrupts it.
pub fn retry_on_eintr<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}
