// SPDX-License-Identifier: MIT OR Apache-2.0
//! The allocator of the C library: the host's malloc(3), and a reserve that serves what malloc refuses.
//!
//! Most of std allocates infallibly: when the allocator returns null the process is aborted. A library must not do
//! that to its host, and on stable Rust an allocator must not unwind. So each call of the library holds an arena from
//! its begin to its end, and the small allocations of that call come from the arena while malloc fails. What can grow
//! without bound is allocated by [`super::try_alloc`], which never takes from the reserve and returns `ENOMEM`.
//!
//! * An arena belongs to one call, and a call whose arena cannot be had does not begin: `ENOMEM`. A static region holds
//!   64 arenas; the regions for more concurrent calls are mapped when they are needed.
//! * The owner of an arena is found by pthread_self(3): thread-local data of a library that was loaded by dlopen(3) is
//!   allocated at its first use, and glibc aborts if that fails.
//! * A block may outlive its call and may be freed by any thread. Its arena is used again once it holds no block.
//! * A forked child begins with every arena of the first region unowned (MADV_WIPEONFORK): the threads that owned them
//!   are not there.
//!
//! It is part of the C library alone (feature `c-library`): a Rust program that links the crate keeps its own allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

const ARENA_BYTES: usize = 32 << 10;
/// The owners of so many arenas fill a page.
const FIRST_ARENAS: usize = 64;
/// Each region has twice the arenas of the one before: 131,008 in all.
const REGIONS: usize = 11;
/// How many arenas of a region are tried before all of them are.
const PROBES: usize = 8;
/// What malloc(3) aligns to; nothing in the library asks for more.
const ALIGNMENT: usize = 16;

/// The allocator.
pub struct ReserveAllocator;

#[global_allocator]
static ALLOCATOR: ReserveAllocator = ReserveAllocator;

/// Who owns an arena: pthread_self(3), or 0. On a cache line of its own, since every call writes one.
#[repr(C, align(64))]
struct Owner(AtomicUsize);

/// What an arena holds.
struct Arena {
    /// Blocks that were taken and not yet freed.
    live: AtomicUsize,
    /// Where the blocks end. Used by the owner alone.
    end: AtomicUsize,
}

/// In front of each block. Its size is written by the owner of the arena, `free` by whoever frees the block.
#[repr(C, align(16))]
struct Header {
    size: AtomicU32,
    free: AtomicU32,
}

const HEADER: usize = size_of::<Header>();

#[repr(C, align(4096))]
struct Owners([Owner; FIRST_ARENAS]);

#[repr(C, align(16))]
struct Memory(UnsafeCell<[u8; FIRST_ARENAS * ARENA_BYTES]>);

// SAFETY: an arena is written by its owner, and else by way of atomics alone.
unsafe impl Sync for Memory {}

static OWNERS: Owners = Owners([const { Owner(AtomicUsize::new(0)) }; FIRST_ARENAS]);
static ARENAS: [Arena; FIRST_ARENAS] =
    [const { Arena { live: AtomicUsize::new(0), end: AtomicUsize::new(0) } }; FIRST_ARENAS];
static MEMORY: Memory = Memory(UnsafeCell::new([0; FIRST_ARENAS * ARENA_BYTES]));
/// Where the regions after the first are mapped: null until then. Never unmapped.
static MAPPED: [AtomicPtr<u8>; REGIONS - 1] = [const { AtomicPtr::new(null_mut()) }; REGIONS - 1];
static BEGUN: AtomicBool = AtomicBool::new(false);

/// A number of arenas, where their owners, their states and their memory are.
#[derive(Clone, Copy)]
struct Region<'a> {
    owners: &'a [Owner],
    arenas: &'a [Arena],
    memory: *mut u8,
    /// Its memory is made accessible arena by arena.
    mapped: bool,
}

/// The arena that the calling thread holds, from [`claim_arena`] on until this is dropped.
pub struct ClaimedArena {
    thread: usize,
    region: Region<'static>,
    number: usize,
}

/// Begin a call: nothing if there is no memory for it.
#[inline]
pub fn claim_arena() -> Option<ClaimedArena> {
    if !BEGUN.load(Ordering::Relaxed) {
        begin();
    }
    let thread = this_thread();
    let (region, number) = (Region::first(), hash(thread) % FIRST_ARENAS);
    if region.claim(number, thread) {
        Some(ClaimedArena { thread, region, number })
    } else {
        claim_another(thread)
    }
}

#[cold]
fn claim_another(thread: usize) -> Option<ClaimedArena> {
    // A signal handler may have left its last call by siglongjmp(3).
    let (region, number) = owned_by(thread).next().or_else(|| claim_any(thread))?;
    Some(ClaimedArena { thread, region, number })
}

impl Drop for ClaimedArena {
    #[inline]
    fn drop(&mut self) {
        // Only a call that was short of memory has taken from its arena, and only such a call may hold another one.
        if self.region.arena(self.number).is_some_and(|arena| arena.end.load(Ordering::Relaxed) != 0) {
            release_all(self.thread);
        } else if let Some(owner) = self.region.owners.get(self.number) {
            owner.0.store(0, Ordering::Release);
        }
    }
}

#[cold]
fn release_all(thread: usize) {
    for (region, number) in owned_by(thread) {
        if let Some(owner) = region.owners.get(number) {
            owner.0.store(0, Ordering::Release);
        }
    }
}

/// Once in a program.
#[cold]
fn begin() {
    // Before Linux 4.14, and where a page is larger than 4 KiB, the arenas that other threads owned at a fork stay owned
    // in the child: it has fewer.
    // SAFETY: a page of this module's own; the advice changes what a forked child finds there.
    unsafe {
        libc::madvise((&raw const OWNERS).cast_mut().cast(), size_of::<Owners>(), libc::MADV_WIPEONFORK);
    }
    BEGUN.store(true, Ordering::Relaxed);
}

fn this_thread() -> usize {
    // SAFETY: it reads a register.
    unsafe { libc::pthread_self() as usize }
}

/// The address of a thread's descriptor, whose distance from the next one's is a stack's size.
fn hash(thread: usize) -> usize {
    (thread as u64 >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize >> 40
}

/// The arenas that a thread owns.
fn owned_by(thread: usize) -> impl Iterator<Item = (Region<'static>, usize)> {
    regions().flat_map(move |region| {
        let numbers = 0..region.owners.len();
        numbers.filter(move |&number| region.is_owned_by(number, thread)).map(move |number| (region, number))
    })
}

/// An arena that nobody owns, in a new region if there must be one.
#[cold]
fn claim_any(thread: usize) -> Option<(Region<'static>, usize)> {
    let claim_in = |region: Region<'static>, tries: usize| {
        let start = hash(thread);
        let numbers = (start..start + tries.min(region.owners.len())).map(|at| at % region.owners.len());
        numbers.into_iter().find(|&number| region.claim(number, thread)).map(|number| (region, number))
    };
    if let Some(found) = regions().find_map(|region| claim_in(region, PROBES)) {
        return Some(found);
    }
    loop {
        let known = regions().count();
        if let Some(found) = regions().find_map(|region| claim_in(region, usize::MAX)) {
            return Some(found);
        }
        if regions().count() == known && !Region::map(known) {
            return None;
        }
    }
}

/// All regions that there are.
fn regions() -> impl Iterator<Item = Region<'static>> {
    let first = std::iter::once(Region::first());
    first.chain(MAPPED.iter().enumerate().map_while(|(at, start)| {
        let start = NonNull::new(start.load(Ordering::Acquire))?;
        Some(Region::at(start.as_ptr(), FIRST_ARENAS << (at + 1)))
    }))
}

impl Region<'static> {
    fn first() -> Self {
        Self { owners: &OWNERS.0, arenas: &ARENAS, memory: MEMORY.0.get().cast(), mapped: false }
    }

    /// One of `count` arenas, as [`Self::map`] has laid it out.
    fn at(start: *mut u8, count: usize) -> Self {
        // SAFETY: the mapping begins with so many owners and states, for which all zeros are right, and stays.
        let (owners, arenas) = unsafe {
            let arenas = start.add(count * size_of::<Owner>()).cast::<Arena>();
            (
                std::slice::from_raw_parts(start.cast::<Owner>(), count),
                std::slice::from_raw_parts(arenas, count),
            )
        };
        Self { owners, arenas, memory: start.wrapping_add(Self::memory_at(count)), mapped: true }
    }

    /// How far the memory of a mapped region is from its start: a multiple of every size of a page.
    const fn memory_at(count: usize) -> usize {
        (count * (size_of::<Owner>() + size_of::<Arena>())).next_multiple_of(64 << 10)
    }

    /// Map the region of this number. False if there is no memory for it; true also if another thread was faster.
    fn map(number: usize) -> bool {
        let Some(place) = number.checked_sub(1).and_then(|at| MAPPED.get(at)) else { return false };
        let count = FIRST_ARENAS << number;
        let bytes = Self::memory_at(count) + count * ARENA_BYTES;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping, where the kernel likes.
        let start = unsafe { libc::mmap(null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return false;
        }
        let (head, access) = (Self::memory_at(count), libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: the mapping was made here, and nobody else knows it before the exchange has succeeded.
        unsafe {
            let accessible = libc::mprotect(start, head, access) == 0;
            let taken = accessible
                && place
                    .compare_exchange(null_mut(), start.cast(), Ordering::AcqRel, Ordering::Acquire)
                    .is_ok();
            if !taken {
                libc::munmap(start, bytes);
            }
            accessible
        }
    }

    fn arena(self, number: usize) -> Option<&'static Arena> {
        self.arenas.get(number)
    }

    fn start_of(self, number: usize) -> *mut u8 {
        self.memory.wrapping_add(number * ARENA_BYTES)
    }

    fn is_owned_by(self, number: usize, thread: usize) -> bool {
        self.owners.get(number).is_some_and(|owner| owner.0.load(Ordering::Relaxed) == thread)
    }

    /// Make an arena the thread's, if nobody owns it and it holds nothing.
    #[inline]
    fn claim(self, number: usize, thread: usize) -> bool {
        let (Some(owner), Some(arena)) = (self.owners.get(number), self.arenas.get(number)) else {
            return false;
        };
        if owner.0.compare_exchange(0, thread, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return false;
        }
        if arena.live.load(Ordering::Acquire) == 0 && (!self.mapped || self.make_accessible(number)) {
            arena.end.store(0, Ordering::Relaxed);
            return true;
        }
        owner.0.store(0, Ordering::Release);
        false
    }

    #[cold]
    fn make_accessible(self, number: usize) -> bool {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: memory of this arena's own, which holds nothing.
        unsafe { libc::mprotect(self.start_of(number).cast(), ARENA_BYTES, access) == 0 }
    }

    /// The arena in which a block is, if it is in this region.
    #[inline]
    fn arena_of(self, block: *mut u8) -> Option<&'static Arena> {
        // Below the region this is larger than any.
        let distance = (block as usize).wrapping_sub(self.memory as usize);
        self.arenas.get(distance / ARENA_BYTES)
    }

    /// A block of an arena that the calling thread owns; null if it has no room.
    fn take(self, number: usize, bytes: usize) -> *mut u8 {
        let Some(arena) = self.arenas.get(number) else { return null_mut() };
        let start = self.start_of(number);
        let size = HEADER + bytes.next_multiple_of(ALIGNMENT);
        let mut end = arena.end.load(Ordering::Relaxed);
        let mut at = 0;
        while at < end {
            // SAFETY: blocks follow one another from the arena's start to `end`, each behind its header.
            let header = unsafe { &*start.add(at).cast::<Header>() };
            let span = header.size.load(Ordering::Relaxed) as usize;
            if header.free.load(Ordering::Acquire) == 0 {
                at += span;
                continue;
            }
            let free = free_from(start, at, end);
            if at + free == end {
                // Nothing is behind it.
                end = at;
                arena.end.store(end, Ordering::Relaxed);
                break;
            }
            if free >= size {
                if free > size {
                    put_header(start, at + size, free - size, true);
                }
                return self.taken(arena, start, at, size);
            }
            put_header(start, at, free, true);
            at += free;
        }
        if size > ARENA_BYTES - end {
            return null_mut();
        }
        arena.end.store(end + size, Ordering::Relaxed);
        self.taken(arena, start, end, size)
    }

    fn taken(self, arena: &Arena, start: *mut u8, at: usize, size: usize) -> *mut u8 {
        arena.live.fetch_add(1, Ordering::Relaxed);
        put_header(start, at, size, false);
        start.wrapping_add(at + HEADER)
    }
}

fn put_header(start: *mut u8, at: usize, size: usize, free: bool) {
    let header = Header { size: AtomicU32::new(size as u32), free: AtomicU32::new(free.into()) };
    // SAFETY: within an arena that the calling thread owns, where no block in use is.
    unsafe { start.add(at).cast::<Header>().write(header) };
}

/// How much is free from the free block at `at` on, with the free blocks that follow it.
fn free_from(start: *mut u8, at: usize, end: usize) -> usize {
    let mut next = at;
    while next < end {
        // SAFETY: as in `Region::take`.
        let header = unsafe { &*start.add(next).cast::<Header>() };
        if header.free.load(Ordering::Acquire) == 0 {
            break;
        }
        next += header.size.load(Ordering::Relaxed) as usize;
    }
    next - at
}

/// From an arena of the calling thread's, or from one more.
#[cold]
fn from_reserve(layout: Layout) -> *mut u8 {
    if layout.align() > ALIGNMENT || layout.size() > ARENA_BYTES - HEADER {
        return null_mut();
    }
    let thread = this_thread();
    let mut holds_one = false;
    for (region, number) in owned_by(thread) {
        holds_one = true;
        let block = region.take(number, layout.size());
        if !block.is_null() {
            return block;
        }
    }
    // Outside of a call there is nobody to give it back.
    if !holds_one {
        return null_mut();
    }
    claim_any(thread).map_or(null_mut(), |(region, number)| region.take(number, layout.size()))
}

/// Give a block back, if it is one of the reserve's.
#[inline]
fn give_back(block: *mut u8) -> bool {
    let Some(arena) = regions().find_map(|region| region.arena_of(block)) else { return false };
    // SAFETY: each block of an arena stands behind its header, which stays until the block is marked as free.
    unsafe { &*block.sub(HEADER).cast::<Header>() }.free.store(1, Ordering::Release);
    arena.live.fetch_sub(1, Ordering::Release);
    true
}

fn is_of_reserve(block: *mut u8) -> bool {
    regions().any(|region| region.arena_of(block).is_some())
}

impl ReserveAllocator {
    /// Memory of the system's and not of the reserve's; null if there is none. It is freed and grown as any other.
    ///
    /// # Safety
    /// As of [`GlobalAlloc::alloc`].
    pub unsafe fn alloc_from_system(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
}

// SAFETY: System's own promises; and blocks of the reserve that do not overlap, are as large as asked, and aligned to
// what malloc(3) aligns to.
unsafe impl GlobalAlloc for ReserveAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let memory = unsafe { System.alloc(layout) };
        if memory.is_null() { from_reserve(layout) } else { memory }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let memory = unsafe { System.alloc_zeroed(layout) };
        if !memory.is_null() {
            return memory;
        }
        let memory = from_reserve(layout);
        if !memory.is_null() {
            // SAFETY: as large as the layout says.
            unsafe { memory.write_bytes(0, layout.size()) };
        }
        memory
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if !give_back(memory) {
            // SAFETY: the caller's promise, and it is not of the reserve.
            unsafe { System.dealloc(memory, layout) };
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !is_of_reserve(memory) {
            // SAFETY: the caller's promise, and it is not of the reserve.
            let moved = unsafe { System.realloc(memory, layout, size) };
            if !moved.is_null() {
                return moved;
            }
        }
        let Ok(resized) = Layout::from_size_align(size, layout.align()) else { return null_mut() };
        // SAFETY: the caller's promise: the size is not 0.
        let moved = unsafe { self.alloc(resized) };
        if !moved.is_null() {
            // SAFETY: two blocks, each at least as large as its layout says; the first is the caller's to free.
            unsafe {
                moved.copy_from_nonoverlapping(memory, layout.size().min(size));
                self.dealloc(memory, layout);
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).expect("a layout")
    }

    /// Blocks of an arena that the calling thread holds.
    fn take(size: usize) -> *mut u8 {
        let block = from_reserve(layout(size));
        if !block.is_null() {
            // SAFETY: a block of this size.
            unsafe { block.write_bytes(0xa5, size) };
        }
        block
    }

    #[test]
    fn blocks_are_aligned_and_do_not_overlap() {
        let _held = claim_arena().expect("an arena");
        let mut taken: Vec<(usize, usize)> = Vec::new();
        for size in [1, 100, 17, 5000, 3, 16, 32, 9000] {
            let start = take(size) as usize;
            assert!(start != 0 && start % ALIGNMENT == 0, "{size} bytes at {start:#x}");
            assert!(taken.iter().all(|&(other, end)| end <= start || start + size <= other), "{size}");
            taken.push((start, start + size));
        }
        assert!(taken.iter().all(|&(start, _)| give_back(start as *mut u8)));
    }

    #[test]
    fn work_that_is_repeated_takes_no_more_than_once() {
        let held = claim_arena().expect("an arena");
        let arena = held.region.arena(held.number).expect("its state");
        for _ in 0..1000 {
            let blocks: Vec<_> = (1..20).map(|n| take(n * 37)).collect();
            // Every other one first, so that gaps are joined.
            for block in blocks.iter().step_by(2).chain(blocks.iter().skip(1).step_by(2)) {
                assert!(give_back(*block));
            }
            assert!(arena.end.load(Ordering::Relaxed) <= 10_000);
        }
        assert_eq!(arena.live.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_call_that_needs_more_than_an_arena_gets_another() {
        let _held = claim_arena().expect("an arena");
        let blocks: Vec<_> = (0..10).map(|_| take(ARENA_BYTES - HEADER)).collect();
        assert!(blocks.iter().all(|block| !block.is_null()));
        assert!(take(ARENA_BYTES).is_null());
        assert!(blocks.iter().all(|&block| give_back(block)));
    }

    #[test]
    fn a_block_that_outlives_its_call_keeps_its_arena_from_the_next() {
        let held = claim_arena().expect("an arena");
        let (block, number) = (take(100), held.number);
        let arena = held.region.arena(number).expect("its state");
        drop(held);
        for _ in 0..2 * FIRST_ARENAS {
            let next = claim_arena().expect("an arena");
            assert!(next.region.mapped || next.number != number);
            let other = take(100);
            assert!(give_back(other));
        }
        // SAFETY: a block of this size.
        assert!(unsafe { std::slice::from_raw_parts(block, 100) }.iter().all(|&byte| byte == 0xa5));
        assert!(give_back(block));
        assert_eq!(arena.live.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn more_calls_at_once_than_the_first_region_has_arenas_are_all_served() {
        const CALLS: usize = 300;
        let (all_hold, all_took) = (std::sync::Barrier::new(CALLS), std::sync::Barrier::new(CALLS));
        std::thread::scope(|scope| {
            for _ in 0..CALLS {
                scope.spawn(|| {
                    let _held = claim_arena().expect("an arena");
                    all_hold.wait();
                    let block = take(1000);
                    assert!(!block.is_null());
                    all_took.wait();
                    assert!(give_back(block));
                });
            }
        });
    }

    #[test]
    fn a_block_may_be_freed_by_another_thread() {
        let held = claim_arena().expect("an arena");
        let blocks: Vec<usize> = (0..100).map(|_| take(50) as usize).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(blocks.iter().all(|&block| give_back(block as *mut u8))));
        });
        let block = take(20_000);
        assert!(!block.is_null() && give_back(block));
        drop(held);
    }

    #[test]
    fn nothing_is_served_outside_of_a_call() {
        assert!(from_reserve(layout(1)).is_null());
    }

    #[test]
    fn growing_keeps_what_is_in_the_block() {
        let _held = claim_arena().expect("an arena");
        let block = take(100);
        // SAFETY: a block of the reserve's, of this layout.
        let grown = unsafe { ReserveAllocator.realloc(block, layout(100), 200) };
        // SAFETY: as large as that.
        assert!(unsafe { std::slice::from_raw_parts(grown, 100) }.iter().all(|&byte| byte == 0xa5));
        // SAFETY: a block of the allocator's, of this layout.
        unsafe { ReserveAllocator.dealloc(grown, layout(200)) };
    }

    #[test]
    fn a_forked_child_finds_the_arenas_of_other_threads_free() {
        let held = claim_arena().expect("an arena");
        // SAFETY: the child looks at the owners and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let free = OWNERS.0.iter().all(|owner| owner.0.load(Ordering::Relaxed) == 0);
            // SAFETY: ends the process.
            unsafe { libc::_exit(i32::from(!free)) };
        }
        let mut status = -1;
        // SAFETY: the integer is this function's.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
        drop(held);
    }
}
