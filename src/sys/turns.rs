// SPDX-License-Identifier: MIT OR Apache-2.0
//! A value that threads use in turns, and that a forked child has for itself. A mutex that another thread held at
//! the fork would be locked for ever in the child; here the lock tells whose it is.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The value of this process, from its default on.
pub struct Turns<T> {
    /// The process one of whose threads has the value now; 0 for none.
    holder: AtomicU32,
    value: UnsafeCell<Owned<T>>,
}

struct Owned<T> {
    pid: u32,
    value: T,
}

// SAFETY: the value is reached by one thread at a time, and moves between threads at most.
unsafe impl<T: Send> Sync for Turns<T> {}

/// A turn takes some system calls.
const YIELDS: u32 = 100;
const NAP: Duration = Duration::from_micros(50);

impl<T: Default> Turns<T> {
    /// Use the value. `work` must not use it again.
    pub fn take<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let own = std::process::id();
        let left_by_another = self.lock(own);
        let _unlocks = Unlock(&self.holder);
        // SAFETY: we have the lock, until `_unlocks` goes.
        let owned = unsafe { &mut *self.value.get() };
        if owned.pid != own {
            let inherited = mem::replace(owned, Owned { pid: own, value: T::default() });
            if left_by_another {
                // Its owner's thread was changing it at the fork: what is in it may be half done.
                mem::forget(inherited);
            }
        }
        work(&mut owned.value)
    }

    /// Tells whether the lock was left behind by the process that we were forked from.
    fn lock(&self, own: u32) -> bool {
        let mut tries = 0;
        loop {
            match self.holder.compare_exchange(0, own, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return false,
                Err(holder) if holder != own => {
                    if self.holder.compare_exchange(holder, own, Ordering::Acquire, Ordering::Relaxed).is_ok()
                    {
                        return true;
                    }
                }
                Err(_) if tries < YIELDS => std::thread::yield_now(),
                Err(_) => std::thread::sleep(NAP),
            }
            tries += 1;
        }
    }
}

impl<T: Default> Default for Turns<T> {
    fn default() -> Self {
        let value = Owned { pid: std::process::id(), value: T::default() };
        Self { holder: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }
}

/// Not what is in it: that could not be shown without a turn.
impl<T> fmt::Debug for Turns<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turns")
    }
}

struct Unlock<'a>(&'a AtomicU32);

impl Drop for Unlock<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    #[test]
    fn threads_take_turns() {
        let turns = Turns::<u64>::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| turns.take(|count| *count += 1)));
            }
        });
        assert_eq!(turns.take(|count| *count), 40_000);
    }

    #[test]
    fn a_panic_ends_the_turn() {
        let turns = Turns::<u64>::default();
        let caught =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| turns.take(|_| panic!("on purpose"))));
        assert!(caught.is_err());
        assert_eq!(turns.take(|count| *count), 0);
    }

    /// What the child finds, forked with the lock held or not.
    fn in_a_child(turns: &Turns<u64>) -> u64 {
        // SAFETY: the child does nothing but to look at the value.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let found = turns.take(|count| *count);
                // SAFETY: ends the process at once.
                unsafe { libc::_exit(i32::try_from(found).unwrap_or(99)) }
            }
            ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
                WaitStatus::Exited(_, status) => u64::try_from(status).unwrap(),
                other => panic!("the child: {other:?}"),
            },
        }
    }

    #[test]
    fn a_forked_child_begins_anew_even_if_the_lock_was_held() {
        let turns = Turns::<u64>::default();
        turns.take(|count| *count = 7);
        assert_eq!(in_a_child(&turns), 0);
        assert_eq!(turns.take(|_| in_a_child(&turns)), 0);
        assert_eq!(turns.take(|count| *count), 7);
    }
}
