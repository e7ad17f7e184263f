// SPDX-License-Identifier: MIT OR Apache-2.0
//! A mutex whose value each process has for itself. One that another thread held at the fork would be locked for ever
//! in the child; here the lock names the process that holds it.

use super::fork_id::ForkId;
use std::cell::UnsafeCell;
use std::fmt;
use std::mem;
use std::num::NonZeroU64;
use std::ops::{Deref, DerefMut};
use std::ptr::null;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A value that begins with its default in each process. It is not for recursive use.
pub struct ForkMutex<T> {
    /// The process one of whose threads holds the lock; 0 if none does.
    holder: AtomicU64,
    /// Counts the releases: the word that waiters sleep on.
    releases: AtomicU32,
    waiters: AtomicU32,
    value: UnsafeCell<Option<Owned<T>>>,
}

struct Owned<T> {
    process: ForkId,
    value: T,
}

// SAFETY: the value is reached by one thread at a time, and moves between threads at most.
unsafe impl<T: Send> Sync for ForkMutex<T> {}

impl<T> ForkMutex<T> {
    /// Unlocked. The value is made at the first use.
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
            // Returns at once if there was a release since.
            futex(&self.releases, libc::FUTEX_WAIT, seen);
        };
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        abandoned
    }

    /// `None` if another thread of this process holds it.
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
    /// Lock it. In a forked child the value is a new one. The parent's is dropped there, but leaked if one of the
    /// parent's threads was changing it at the fork.
    pub fn lock(&self) -> ForkMutexGuard<'_, T> {
        let own = ForkId::current();
        let abandoned = self.acquire(own.into());
        self.locked(own, abandoned)
    }

    /// The same, unless another thread holds it.
    pub fn try_lock(&self) -> Option<ForkMutexGuard<'_, T>> {
        let own = ForkId::current();
        let abandoned = self.try_acquire(own.into())?;
        Some(self.locked(own, abandoned))
    }

    /// This thread has the lock.
    fn locked(&self, own: ForkId, abandoned: bool) -> ForkMutexGuard<'_, T> {
        // SAFETY: this thread holds the lock until `guard` is dropped.
        let (guard, slot) = (Unlock(self), unsafe { &mut *self.value.get() });
        match slot {
            Some(owned) if owned.process == own => {}
            _ => {
                let inherited = slot.take();
                if abandoned {
                    mem::forget(inherited);
                }
            }
        }
        let owned = slot.get_or_insert_with(|| Owned { process: own, value: T::default() });
        ForkMutexGuard { value: &mut owned.value, _unlocks: guard }
    }
}

impl<T> Default for ForkMutex<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Without the value, which only its holder may read.
impl<T> fmt::Debug for ForkMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForkMutex")
    }
}

/// The lock is held until this is dropped.
pub struct ForkMutexGuard<'a, T> {
    value: &'a mut T,
    _unlocks: Unlock<'a, T>,
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

/// futex(2) within one process. Each caller looks again at what it waits for, so that no result matters.
fn futex(word: &AtomicU32, operation: libc::c_int, value: u32) {
    let for_ever = null::<libc::timespec>();
    // SAFETY: the word is live, and the call reads nothing else.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), operation | libc::FUTEX_PRIVATE_FLAG, value, for_ever)
    };
}

#[cfg(test)]
mod tests {
    use super::super::fork_id::tests::in_a_child;
    use super::*;

    #[test]
    fn one_thread_at_a_time_has_the_value() {
        let mutex = ForkMutex::<u64>::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| *mutex.lock() += 1));
            }
        });
        assert_eq!(*mutex.lock(), 40_000);
    }

    /// The waiter has to sleep: its holder waits to see it do so.
    #[test]
    fn whoever_waits_is_woken() {
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
    fn a_panic_releases_it() {
        let mutex = ForkMutex::<u64>::new();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _held = mutex.lock();
            panic!("on purpose")
        }));
        assert!(caught.is_err());
        assert_eq!(*mutex.lock(), 0);
    }

    #[test]
    fn a_forked_child_begins_anew_even_if_the_lock_was_held() {
        let mutex = ForkMutex::<u8>::new();
        *mutex.lock() = 7;
        assert_eq!(in_a_child(|| *mutex.lock()), 0);
        let held = mutex.lock();
        assert_eq!(in_a_child(|| *mutex.lock()), 0);
        drop(held);
        assert_eq!(*mutex.lock(), 7);
    }
}
