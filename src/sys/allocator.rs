// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the library's memory comes from. In the host program that is the system's allocator. The helper
//! process began as a copy of the host, where another thread may have held that allocator's lock, which is
//! then locked in the copy for ever, and soon has the host's heap no more: it takes from an arena of its own.

#[cfg(feature = "c-library")]
use super::reserve::Reserve as System;
use super::shed::Span;
use nix::errno::Errno;
#[cfg(not(feature = "c-library"))]
use std::alloc::System;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};

/// As much as a walk through the largest tree may need. What is not touched is not there.
const ARENA_BYTES: usize = 64 << 20;
const SMALLEST: usize = 16;
const PAGE: usize = 4096;

#[global_allocator]
static ALLOCATOR: Allocator =
    Allocator { apart: AtomicBool::new(false), arena: UnsafeCell::new(Arena::NONE) };

struct Allocator {
    apart: AtomicBool,
    arena: UnsafeCell<Arena>,
}

// SAFETY: the arena is used once `apart` is true, which it is in the helper only, and that has one thread.
unsafe impl Sync for Allocator {}

/// Blocks of powers of two. One that is given back serves the next of its size, so work that is done again
/// and again takes no more than it took once.
struct Arena {
    next: usize,
    end: usize,
    /// By the number of bits of their size: the first free one, which holds the address of the next.
    free: [Option<NonNull<usize>>; usize::BITS as usize],
}

impl Arena {
    const NONE: Self = Self { next: 0, end: 0, free: [None; usize::BITS as usize] };

    /// Null when there is no room.
    fn take(&mut self, layout: Layout) -> *mut u8 {
        let size = block(layout);
        let Some(first) = self.free.get_mut(class(size)) else { return null_mut() };
        if let Some(found) = *first {
            // SAFETY: a free block, at least as large and as aligned as a pointer, written by `give`.
            *first = NonNull::new(unsafe { found.read() } as *mut usize);
            return found.as_ptr().cast();
        }
        if layout.align() > PAGE {
            return null_mut();
        }
        let start = self.next.next_multiple_of(size.min(PAGE));
        match start.checked_add(size) {
            Some(end) if end <= self.end => {
                self.next = end;
                start as *mut u8
            }
            _ => null_mut(),
        }
    }

    fn give(&mut self, memory: *mut u8, layout: Layout) {
        let Some(first) = self.free.get_mut(class(block(layout))) else { return };
        let Some(given) = NonNull::new(memory.cast::<usize>()) else { return };
        // SAFETY: the block is its giver's no more, and as large and aligned as a pointer at least.
        unsafe { given.write(first.map_or(0, |next| next.as_ptr() as usize)) };
        *first = Some(given);
    }

    /// # Safety
    /// `memory` was taken with this layout.
    unsafe fn resize(&mut self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Ok(resized) = Layout::from_size_align(size, layout.align()) else { return null_mut() };
        if block(resized) == block(layout) {
            return memory;
        }
        let moved = self.take(resized);
        if !moved.is_null() {
            // SAFETY: two blocks, each at least as large as its layout says.
            unsafe { moved.copy_from_nonoverlapping(memory, layout.size().min(size)) };
            self.give(memory, layout);
        }
        moved
    }
}

fn block(layout: Layout) -> usize {
    // No layout is larger than isize::MAX.
    layout.size().max(layout.align()).max(SMALLEST).next_power_of_two()
}

fn class(block: usize) -> usize {
    block.trailing_zeros() as usize
}

impl Allocator {
    /// What `work` makes of the arena, if that is where memory comes from.
    fn apart<T>(&self, work: impl FnOnce(&mut Arena) -> T) -> Option<T> {
        // SAFETY: this process has one thread, and no work of this module allocates.
        self.apart.load(Ordering::Relaxed).then(|| work(unsafe { &mut *self.arena.get() }))
    }
}

// SAFETY: System's own promises in the host; in the helper blocks that do not overlap, as large and aligned as
// asked.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        self.apart(|arena| arena.take(layout)).unwrap_or_else(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(memory) = self.apart(|arena| arena.take(layout)) else {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc_zeroed(layout) };
        };
        if !memory.is_null() {
            // SAFETY: as large as the layout says.
            unsafe { memory.write_bytes(0, layout.size()) };
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        self.apart(|arena| arena.give(memory, layout))
            .unwrap_or_else(|| unsafe { System.dealloc(memory, layout) });
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise, for either.
        self.apart(|arena| unsafe { arena.resize(memory, layout, size) })
            .unwrap_or_else(|| unsafe { System.realloc(memory, layout, size) })
    }
}

/// From here on all memory is from an arena of this process's own; what was allocated before is not to be
/// used, and not even to be freed. Tells where the arena is.
///
/// # Safety
/// This process has one thread, and drops nothing that it had before.
pub unsafe fn set_apart() -> nix::Result<Span> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping, where the kernel likes.
    let arena =
        unsafe { libc::mmap(null_mut(), ARENA_BYTES, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if arena == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    // SAFETY: the caller's promise; nobody uses the arena before the flag is set.
    let own = unsafe { &mut *ALLOCATOR.arena.get() };
    (own.next, own.end) = (arena as usize, arena as usize + ARENA_BYTES);
    let span = Span(own.next, own.end);
    ALLOCATOR.apart.store(true, Ordering::Relaxed);
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An arena in a piece of the test's memory.
    fn arena(memory: &mut Vec<u8>) -> Arena {
        let start = memory.as_mut_ptr() as usize;
        Arena { next: start, end: start + memory.len(), ..Arena::NONE }
    }

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a layout")
    }

    #[test]
    fn blocks_are_aligned_and_do_not_overlap() {
        let mut memory = vec![0; 1 << 20];
        let mut arena = arena(&mut memory);
        let layouts = [(1, 1), (100, 8), (17, 64), (5000, 4096), (3, 2), (60_000, 16)];
        let mut taken: Vec<(usize, usize)> = Vec::new();
        for (size, align) in layouts {
            let start = arena.take(layout(size, align)) as usize;
            assert!(start != 0 && start % align == 0, "{size} bytes at {start:#x}");
            assert!(taken.iter().all(|&(other, end)| end <= start || start + size <= other), "{size}");
            taken.push((start, start + size));
        }
    }

    #[test]
    fn work_that_is_repeated_takes_no_more_than_once() {
        let mut memory = vec![0; 1 << 20];
        let mut arena = arena(&mut memory);
        let mut after_first = None;
        for _ in 0..1000 {
            let blocks: Vec<_> = (1..50).map(|n| layout(n * 37, 8)).map(|l| (arena.take(l), l)).collect();
            for (block, layout) in blocks {
                assert!(!block.is_null());
                arena.give(block, layout);
            }
            assert_eq!(arena.next, *after_first.get_or_insert(arena.next));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut memory = vec![0; 1 << 16];
        let mut arena = arena(&mut memory);
        assert!(arena.take(layout(1 << 17, 8)).is_null());
        assert!(arena.take(layout(1, 1 << 13)).is_null());
        assert!(!arena.take(layout(1, 1)).is_null());
    }
}
