// SPDX-License-Identifier: MIT OR Apache-2.0
//! Uuids. They need to be unique, not secret. Therefore creating one never waits until the kernel's random number generator
//! is seeded, which can take seconds after boot, and succeeds also where getrandom(2) is refused.

use super::fork_id::ForkId;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use uuid::{Builder, Uuid};

const BYTES: usize = 16;

/// Returns a new uuid of version 4.
pub fn uuid() -> Uuid {
    Builder::from_random_bytes(from_kernel().unwrap_or_else(by_hashing)).into_uuid()
}

/// Returns random bytes of getrandom(2), without waiting. With GRND_INSECURE (Linux 5.6) it succeeds before the generator is
/// seeded.
fn from_kernel() -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    [libc::GRND_NONBLOCK, libc::GRND_INSECURE].into_iter().find_map(|flags| {
        // SAFETY: the kernel writes at most `BYTES` bytes, which is the array's length.
        let written = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), BYTES, flags) };
        (usize::try_from(written) == Ok(BYTES)).then_some(bytes)
    })
}

/// Returns a hash of values that differ between processes, threads and calls.
fn by_hashing() -> [u8; BYTES] {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let half = |number: u8| {
        // Its keys are constant. std's other hashers get their keys by getrandom(2).
        let mut hasher = DefaultHasher::new();
        number.hash(&mut hasher);
        COUNT.fetch_add(1, Ordering::Relaxed).hash(&mut hasher);
        SystemTime::now().duration_since(UNIX_EPOCH).ok().hash(&mut hasher);
        Instant::now().hash(&mut hasher);
        std::process::id().hash(&mut hasher);
        ForkId::current().hash(&mut hasher);
        (&raw const hasher as usize).hash(&mut hasher);
        program_bytes().hash(&mut hasher);
        hasher.finish().to_ne_bytes()
    };
    let mut bytes = [0; BYTES];
    let halves = half(0).into_iter().chain(half(1));
    bytes.iter_mut().zip(halves).for_each(|(to, from)| *to = from);
    bytes
}

/// Returns the random bytes that the kernel gives each program at execve(2).
fn program_bytes() -> Option<[u8; BYTES]> {
    // SAFETY: the call takes an integer.
    let at = unsafe { libc::getauxval(libc::AT_RANDOM) } as *const [u8; BYTES];
    // SAFETY: the value is 0 or the address of 16 bytes that exist as long as the program.
    unsafe { at.as_ref() }.copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn hashed_bytes_are_unique_across_calls_and_threads() {
        let some = || (0..5_000).map(|_| by_hashing()).collect::<Vec<_>>();
        let all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(some)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 20_000);
    }

    #[test]
    fn a_uuid_is_of_version_4() {
        assert_eq!(uuid().get_version_num(), 4);
        assert_ne!(uuid(), uuid());
    }
}
