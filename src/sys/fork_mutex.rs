// SPDX-License-Identifier: MIT OR Apache-2.0
//! A mutex with a separate value in each process. If another thread holds an ordinary mutex during a fork, the mutex stays
//! locked in the child forever. This one stores which process holds it.

use super::fork_id::ForkId;
use std::cell::UnsafeCell;
use std::fmt;
use std::mem;
use std::num::NonZeroU64;
use std::ops::{Deref, DerefMut};
use std::ptr::null;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A mutex whose value starts as its default in each process. It is not recursive.
pub struct ForkMutex<T> {
    /// The id of the process that has a thread holding the lock, or 0.
    holder: AtomicU64,
    /// The number of releases. Waiters sleep on it by futex(2).
    releases: AtomicU32,
    waiters: AtomicU32,
    value: UnsafeCell<Option<Owned<T>>>,
}

struct Owned<T> {
    process: ForkId,
    value: T,
}

// SAFETY: only the thread that holds the lock accesses the value, so that it need not be `Sync`.
unsafe impl<T: Send> Sync for ForkMutex<T> {}

impl<T> ForkMutex<T> {
    /// Creates an unlocked mutex. The value is created at the first use.
    pub const fn new() -> Self {
        Self {
            holder: AtomicU64::new(0),
            releases: AtomicU32::new(0),
            waiters: AtomicU32::new(0),
            value: UnsafeCell::new(None),
        }
    }

    fn unlock(&self) {
        self.holder.store(0, Ordering::SeqCst);
        self.releases.fetch_add(1, Ordering::SeqCst);
        if self.waiters.load(Ordering::SeqCst) != 0 {
            futex(&self.releases, libc::FUTEX_WAKE, 1);
        }
    }

    /// Returns true if the process from which this one was forked held the lock.
    fn acquire(&self, own: NonZeroU64) -> bool {
        if let Some(abandoned) = self.try_acquire(own) {
            return abandoned;
        }
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let abandoned = loop {
            let seen = self.releases.load(Ordering::SeqCst);
            if let Some(abandoned) = self.try_acquire(own) {
                break abandoned;
            }
            // It returns at once if the lock was released since `seen` was read.
            futex(&self.releases, libc::FUTEX_WAIT, seen);
        };
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        abandoned
    }

    /// Returns `None` if another thread of this process holds the lock, otherwise the same as [`Self::acquire`].
    fn try_acquire(&self, own: NonZeroU64) -> Option<bool> {
        let mut holder = 0;
        while holder != own.get() {
            match self.holder.compare_exchange(holder, own.get(), Ordering::SeqCst, Ordering::SeqCst) {
                Ok(previous) => return Some(previous != 0),
                Err(current) => holder = current,
            }
        }
        None
    }
}

impl<T: Default> ForkMutex<T> {
    /// Locks the mutex. In a forked child the value is a new one. The copy of the parent's value is dropped, but leaked if a
    /// thread of the parent held the lock during the fork.
    pub fn lock(&self) -> ForkMutexGuard<'_, T> {
        let own = ForkId::current();
        let abandoned = self.acquire(own.into());
        self.guard(own, abandoned)
    }

    /// Locks the mutex unless another thread holds it.
    pub fn try_lock(&self) -> Option<ForkMutexGuard<'_, T>> {
        let own = ForkId::current();
        let abandoned = self.try_acquire(own.into())?;
        Some(self.guard(own, abandoned))
    }

    /// Returns the guard. This thread has acquired the lock.
    fn guard(&self, own: ForkId, abandoned: bool) -> ForkMutexGuard<'_, T> {
        // SAFETY: this thread holds the lock until `unlock` is dropped.
        let (unlock, value) = (Unlock(self), unsafe { &mut *self.value.get() });
        match value {
            Some(owned) if owned.process == own => {}
            _ => {
                let inherited = value.take();
                if abandoned {
                    mem::forget(inherited);
                }
            }
        }
        let owned = value.get_or_insert_with(|| Owned { process: own, value: T::default() });
        ForkMutexGuard { value: &mut owned.value, _unlock: unlock }
    }
}

impl<T> Default for ForkMutex<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Prints no value: only the holder of the lock may read it.
impl<T> fmt::Debug for ForkMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForkMutex")
    }
}

/// Gives access to the value, and releases the lock when it is dropped.
pub struct ForkMutexGuard<'a, T> {
    value: &'a mut T,
    _unlock: Unlock<'a, T>,
}

impl<T> Deref for ForkMutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value
    }
}

impl<T> DerefMut for ForkMutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value
    }
}

struct Unlock<'a, T>(&'a ForkMutex<T>);

impl<T> Drop for Unlock<'_, T> {
    fn drop(&mut self) {
        self.0.unlock();
    }
}

/// futex(2) within one process. Its result does not matter: each caller checks its condition again.
fn futex(word: &AtomicU32, operation: libc::c_int, value: u32) {
    let no_timeout = null::<libc::timespec>();
    // SAFETY: the kernel accesses only the word, which lives.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), operation | libc::FUTEX_PRIVATE_FLAG, value, no_timeout)
    };
}

#[cfg(test)]
mod tests {
    use super::super::fork_id::tests::in_a_child;
    use super::*;

    #[test]
    fn only_one_thread_at_a_time_accesses_the_value() {
        let mutex = ForkMutex::<u64>::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| *mutex.lock() += 1));
            }
        });
        assert_eq!(*mutex.lock(), 40_000);
    }

    /// The thread that holds the lock waits until the waiter is about to sleep.
    #[test]
    fn a_waiting_thread_is_woken() {
        let mutex = ForkMutex::<u64>::new();
        let held = mutex.lock();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| *mutex.lock());
            while mutex.waiters.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            drop(held);
            assert_eq!(waiter.join().unwrap(), 0);
        });
        assert_eq!(mutex.waiters.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_panic_releases_the_lock() {
        let mutex = ForkMutex::<u64>::new();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _held = mutex.lock();
            panic!("on purpose")
        }));
        assert!(caught.is_err());
        assert_eq!(*mutex.lock(), 0);
    }

    #[test]
    fn a_forked_child_has_a_new_value_even_if_the_lock_was_held() {
        let mutex = ForkMutex::<u8>::new();
        *mutex.lock() = 7;
        assert_eq!(in_a_child(|| *mutex.lock()), 0);
        let held = mutex.lock();
        assert_eq!(in_a_child(|| *mutex.lock()), 0);
        drop(held);
        assert_eq!(*mutex.lock(), 7);
    }
}
