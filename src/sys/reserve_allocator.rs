// SPDX-License-Identifier: MIT OR Apache-2.0
//! The allocator of the C library: the host's malloc(3), and a reserve from which small allocations are served when malloc
//! fails.
//!
//! Most of std allocates infallibly: if the allocator returns null the process is aborted. A library must not do that to its
//! host, and on stable Rust an allocator must not unwind. Therefore each call of the library claims an arena for its
//! duration, and while malloc fails the small allocations of that call come from the arena. Allocations without a bound use
//! [`super::try_alloc`], which never uses the reserve and returns `ENOMEM`.
//!
//! * An arena belongs to one call. A call that can claim no arena fails with `ENOMEM` before it begins. A static region
//!   contains 64 arenas. Regions for more concurrent calls are mapped when they are needed.
//! * pthread_self(3) identifies the owner of an arena. Thread-local data is not used: in a library that was loaded by
//!   dlopen(3) it is allocated at its first use, and glibc aborts if that fails.
//! * A block may outlive its call, and any thread may free it. Its arena is reused when it contains no block.
//! * In a forked child no arena of the first region has an owner (MADV_WIPEONFORK): the threads that owned them do not exist
//!   there.
//!
//! It is part of the C library only (feature `c-library`). A Rust program that links the crate keeps its own allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

const ARENA_BYTES: usize = 32 << 10;
/// The number of arenas in the first region. Their owners fill a page.
const FIRST_ARENAS: usize = 64;
/// The number of regions. Each has twice the arenas of the one before; all have 131,008 together.
const REGIONS: usize = 11;
/// The number of arenas that are tried in each region before all arenas are tried.
const PROBES: usize = 8;
/// The alignment of malloc(3). Nothing in the library needs a larger one.
const ALIGNMENT: usize = 16;

/// The global allocator of the C library.
pub struct ReserveAllocator;

#[global_allocator]
static ALLOCATOR: ReserveAllocator = ReserveAllocator;

/// The owner of an arena, as pthread_self(3) returns it, or 0. It has a cache line of its own because every call writes one.
#[repr(C, align(64))]
struct Owner(AtomicUsize);

/// The state of an arena.
struct Arena {
    /// The number of allocated blocks.
    live: AtomicUsize,
    /// The offset at which the blocks end. Only the owner uses it.
    end: AtomicUsize,
}

/// The header before each block. The arena's owner writes `size`. The thread that frees the block writes `free`.
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

// SAFETY: only the owner of an arena writes to it; other threads use only its atomic fields.
unsafe impl Sync for Memory {}

static OWNERS: Owners = Owners([const { Owner(AtomicUsize::new(0)) }; FIRST_ARENAS]);
static ARENAS: [Arena; FIRST_ARENAS] =
    [const { Arena { live: AtomicUsize::new(0), end: AtomicUsize::new(0) } }; FIRST_ARENAS];
static MEMORY: Memory = Memory(UnsafeCell::new([0; FIRST_ARENAS * ARENA_BYTES]));
/// The addresses of the regions after the first, which are null until they are mapped. They are never unmapped.
static MAPPED: [AtomicPtr<u8>; REGIONS - 1] = [const { AtomicPtr::new(null_mut()) }; REGIONS - 1];
static INITIALIZED: AtomicBool = AtomicBool::new(false);

/// A set of arenas: their owners, their states and their memory.
#[derive(Clone, Copy)]
struct Region<'a> {
    owners: &'a [Owner],
    arenas: &'a [Arena],
    memory: *mut u8,
    /// True if the memory is made accessible arena by arena.
    mapped: bool,
}

/// The arena that the calling thread has claimed by [`claim_arena`]. Dropping this releases it.
pub struct ClaimedArena {
    thread: usize,
    region: Region<'static>,
    number: usize,
}

/// Claims an arena for a call of the library. Returns None if there is no memory for it.
#[inline]
pub fn claim_arena() -> Option<ClaimedArena> {
    if !INITIALIZED.load(Ordering::Relaxed) {
        initialize();
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
    // The thread may own one already: a signal handler may have left the last call by siglongjmp(3).
    let (region, number) = owned_by(thread).next().or_else(|| claim_any(thread))?;
    Some(ClaimedArena { thread, region, number })
}

impl Drop for ClaimedArena {
    #[inline]
    fn drop(&mut self) {
        // Only a call that was short of memory has used its arena, and only such a call may own a second one.
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

/// Runs once in a program.
#[cold]
fn initialize() {
    // Before Linux 4.14, and if a page is larger than 4 KiB, this fails. Then the arenas that other threads owned during a
    // fork remain owned in the child, which has fewer arenas.
    // SAFETY: the page contains only `OWNERS`. The advice affects only forked children.
    unsafe {
        libc::madvise((&raw const OWNERS).cast_mut().cast(), size_of::<Owners>(), libc::MADV_WIPEONFORK);
    }
    INITIALIZED.store(true, Ordering::Relaxed);
}

fn this_thread() -> usize {
    // SAFETY: the function has no preconditions.
    unsafe { libc::pthread_self() as usize }
}

/// Spreads the values of pthread_self(3), which differ by the size of a stack.
fn hash(thread: usize) -> usize {
    (thread as u64 >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize >> 40
}

/// Returns the arenas that a thread owns.
fn owned_by(thread: usize) -> impl Iterator<Item = (Region<'static>, usize)> {
    regions().flat_map(move |region| {
        let numbers = 0..region.owners.len();
        numbers.filter(move |&number| region.is_owned_by(number, thread)).map(move |number| (region, number))
    })
}

/// Claims an arena without an owner, in a new region if necessary.
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
        let count = regions().count();
        if let Some(found) = regions().find_map(|region| claim_in(region, usize::MAX)) {
            return Some(found);
        }
        if regions().count() == count && !Region::map(count) {
            return None;
        }
    }
}

/// Returns all regions that are mapped.
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

    /// Returns the region of `count` arenas that [`Self::map`] has mapped at this address.
    fn at(start: *mut u8, count: usize) -> Self {
        // SAFETY: the mapping begins with `count` owners and `count` states, for which zeros are valid. It is never unmapped.
        let (owners, arenas) = unsafe {
            let arenas = start.add(count * size_of::<Owner>()).cast::<Arena>();
            (
                std::slice::from_raw_parts(start.cast::<Owner>(), count),
                std::slice::from_raw_parts(arenas, count),
            )
        };
        Self { owners, arenas, memory: start.wrapping_add(Self::memory_at(count)), mapped: true }
    }

    /// Returns the offset of the arenas' memory in a mapped region. It is a multiple of every page size.
    const fn memory_at(count: usize) -> usize {
        (count * (size_of::<Owner>() + size_of::<Arena>())).next_multiple_of(64 << 10)
    }

    /// Maps the region of this number. Returns false if there is no memory for it, and true also if another thread has
    /// mapped it.
    fn map(number: usize) -> bool {
        let Some(slot) = number.checked_sub(1).and_then(|at| MAPPED.get(at)) else { return false };
        let count = FIRST_ARENAS << number;
        let bytes = Self::memory_at(count) + count * ARENA_BYTES;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: the kernel chooses the address of the new mapping.
        let start = unsafe { libc::mmap(null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return false;
        }
        let (head, access) = (Self::memory_at(count), libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: the mapping was created above. No other thread has its address unless the exchange succeeds.
        unsafe {
            let accessible = libc::mprotect(start, head, access) == 0;
            let stored = accessible
                && slot
                    .compare_exchange(null_mut(), start.cast(), Ordering::AcqRel, Ordering::Acquire)
                    .is_ok();
            if !stored {
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

    /// Makes the thread the owner of an arena, if the arena has no owner and contains no block.
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
        // SAFETY: the memory belongs to this arena, which contains no block.
        unsafe { libc::mprotect(self.start_of(number).cast(), ARENA_BYTES, access) == 0 }
    }

    /// Returns the arena that contains a block, if it is in this region.
    #[inline]
    fn arena_of(self, block: *mut u8) -> Option<&'static Arena> {
        // For an address below the region the distance wraps to a number beyond the last arena.
        let distance = (block as usize).wrapping_sub(self.memory as usize);
        self.arenas.get(distance / ARENA_BYTES)
    }

    /// Allocates a block in an arena that the calling thread owns. Returns null if it does not fit.
    fn allocate(self, number: usize, bytes: usize) -> *mut u8 {
        let Some(arena) = self.arenas.get(number) else { return null_mut() };
        let start = self.start_of(number);
        let size = HEADER + bytes.next_multiple_of(ALIGNMENT);
        let mut end = arena.end.load(Ordering::Relaxed);
        let mut at = 0;
        while at < end {
            // SAFETY: the blocks are contiguous from the arena's start to `end`, each after its header.
            let header = unsafe { &*start.add(at).cast::<Header>() };
            let span = header.size.load(Ordering::Relaxed) as usize;
            if header.free.load(Ordering::Acquire) == 0 {
                at += span;
                continue;
            }
            let free = free_from(start, at, end);
            if at + free == end {
                // It is the last block.
                end = at;
                arena.end.store(end, Ordering::Relaxed);
                break;
            }
            if free >= size {
                if free > size {
                    put_header(start, at + size, free - size, true);
                }
                return self.finish(arena, start, at, size);
            }
            put_header(start, at, free, true);
            at += free;
        }
        if size > ARENA_BYTES - end {
            return null_mut();
        }
        arena.end.store(end + size, Ordering::Relaxed);
        self.finish(arena, start, end, size)
    }

    fn finish(self, arena: &Arena, start: *mut u8, at: usize, size: usize) -> *mut u8 {
        arena.live.fetch_add(1, Ordering::Relaxed);
        put_header(start, at, size, false);
        start.wrapping_add(at + HEADER)
    }
}

fn put_header(start: *mut u8, at: usize, size: usize, free: bool) {
    let header = Header { size: AtomicU32::new(size as u32), free: AtomicU32::new(free.into()) };
    // SAFETY: the header lies in an arena that the calling thread owns, outside of every allocated block.
    unsafe { start.add(at).cast::<Header>().write(header) };
}

/// Returns the size of the free block at `at` together with the free blocks that follow it.
fn free_from(start: *mut u8, at: usize, end: usize) -> usize {
    let mut next = at;
    while next < end {
        // SAFETY: as in `Region::allocate`.
        let header = unsafe { &*start.add(next).cast::<Header>() };
        if header.free.load(Ordering::Acquire) == 0 {
            break;
        }
        next += header.size.load(Ordering::Relaxed) as usize;
    }
    next - at
}

/// Allocates in an arena of the calling thread, or in another one that it claims.
#[cold]
fn alloc_from_reserve(layout: Layout) -> *mut u8 {
    if layout.align() > ALIGNMENT || layout.size() > ARENA_BYTES - HEADER {
        return null_mut();
    }
    let thread = this_thread();
    let mut owns_one = false;
    for (region, number) in owned_by(thread) {
        owns_one = true;
        let block = region.allocate(number, layout.size());
        if !block.is_null() {
            return block;
        }
    }
    // Outside of a call nothing would release the arena.
    if !owns_one {
        return null_mut();
    }
    claim_any(thread).map_or(null_mut(), |(region, number)| region.allocate(number, layout.size()))
}

/// Frees a block if it belongs to the reserve. Returns false if it does not.
#[inline]
fn free(block: *mut u8) -> bool {
    let Some(arena) = regions().find_map(|region| region.arena_of(block)) else { return false };
    // SAFETY: each block of an arena follows its header. The header is valid until the block is marked as free.
    unsafe { &*block.sub(HEADER).cast::<Header>() }.free.store(1, Ordering::Release);
    arena.live.fetch_sub(1, Ordering::Release);
    true
}

fn is_of_reserve(block: *mut u8) -> bool {
    regions().any(|region| region.arena_of(block).is_some())
}

impl ReserveAllocator {
    /// Allocates memory by malloc(3) only, never from the reserve. Returns null if there is none.
    ///
    /// # Safety
    /// As for [`GlobalAlloc::alloc`].
    pub unsafe fn alloc_from_system(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
}

// SAFETY: `System` is a valid allocator. Blocks of the reserve do not overlap, have the requested size and the alignment of
// malloc(3).
unsafe impl GlobalAlloc for ReserveAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let memory = unsafe { System.alloc(layout) };
        if memory.is_null() { alloc_from_reserve(layout) } else { memory }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let memory = unsafe { System.alloc_zeroed(layout) };
        if !memory.is_null() {
            return memory;
        }
        let memory = alloc_from_reserve(layout);
        if !memory.is_null() {
            // SAFETY: the block is as large as the layout.
            unsafe { memory.write_bytes(0, layout.size()) };
        }
        memory
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if !free(memory) {
            // SAFETY: the caller's promise. The block does not belong to the reserve, so `System` allocated it.
            unsafe { System.dealloc(memory, layout) };
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !is_of_reserve(memory) {
            // SAFETY: the caller's promise. The block does not belong to the reserve, so `System` allocated it.
            let moved = unsafe { System.realloc(memory, layout, size) };
            if !moved.is_null() {
                return moved;
            }
        }
        let Ok(resized) = Layout::from_size_align(size, layout.align()) else { return null_mut() };
        // SAFETY: the caller promises that the size is not 0.
        let moved = unsafe { self.alloc(resized) };
        if !moved.is_null() {
            // SAFETY: both blocks are at least as large as their layouts, and the caller gives up the first.
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

    /// Allocates a block in an arena that the calling thread owns, and fills it.
    fn allocate(size: usize) -> *mut u8 {
        let block = alloc_from_reserve(layout(size));
        if !block.is_null() {
            // SAFETY: the block has this size.
            unsafe { block.write_bytes(0xa5, size) };
        }
        block
    }

    #[test]
    fn blocks_are_aligned_and_do_not_overlap() {
        let _held = claim_arena().expect("an arena");
        let mut allocated: Vec<(usize, usize)> = Vec::new();
        for size in [1, 100, 17, 5000, 3, 16, 32, 9000] {
            let start = allocate(size) as usize;
            assert!(start != 0 && start % ALIGNMENT == 0, "{size} bytes at {start:#x}");
            assert!(allocated.iter().all(|&(other, end)| end <= start || start + size <= other), "{size}");
            allocated.push((start, start + size));
        }
        assert!(allocated.iter().all(|&(start, _)| free(start as *mut u8)));
    }

    #[test]
    fn repeated_work_needs_no_more_memory_than_the_first_time() {
        let held = claim_arena().expect("an arena");
        let arena = held.region.arena(held.number).expect("its state");
        for _ in 0..1000 {
            let blocks: Vec<_> = (1..20).map(|n| allocate(n * 37)).collect();
            // Every second block is freed first, so that gaps must be joined.
            for block in blocks.iter().step_by(2).chain(blocks.iter().skip(1).step_by(2)) {
                assert!(free(*block));
            }
            assert!(arena.end.load(Ordering::Relaxed) <= 10_000);
        }
        assert_eq!(arena.live.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_call_that_needs_more_than_an_arena_gets_another() {
        let _held = claim_arena().expect("an arena");
        let blocks: Vec<_> = (0..10).map(|_| allocate(ARENA_BYTES - HEADER)).collect();
        assert!(blocks.iter().all(|block| !block.is_null()));
        assert!(allocate(ARENA_BYTES).is_null());
        assert!(blocks.iter().all(|&block| free(block)));
    }

    #[test]
    fn a_block_that_outlives_its_call_keeps_its_arena_from_the_next() {
        let held = claim_arena().expect("an arena");
        let (block, number) = (allocate(100), held.number);
        let arena = held.region.arena(number).expect("its state");
        drop(held);
        for _ in 0..2 * FIRST_ARENAS {
            let next = claim_arena().expect("an arena");
            assert!(next.region.mapped || next.number != number);
            let other = allocate(100);
            assert!(free(other));
        }
        // SAFETY: the block has this size.
        assert!(unsafe { std::slice::from_raw_parts(block, 100) }.iter().all(|&byte| byte == 0xa5));
        assert!(free(block));
        assert_eq!(arena.live.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn more_calls_at_once_than_the_first_region_has_arenas_are_all_served() {
        const CALLS: usize = 300;
        let (all_claimed, all_allocated) = (std::sync::Barrier::new(CALLS), std::sync::Barrier::new(CALLS));
        std::thread::scope(|scope| {
            for _ in 0..CALLS {
                scope.spawn(|| {
                    let _held = claim_arena().expect("an arena");
                    all_claimed.wait();
                    let block = allocate(1000);
                    assert!(!block.is_null());
                    all_allocated.wait();
                    assert!(free(block));
                });
            }
        });
    }

    #[test]
    fn a_block_may_be_freed_by_another_thread() {
        let held = claim_arena().expect("an arena");
        let blocks: Vec<usize> = (0..100).map(|_| allocate(50) as usize).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(blocks.iter().all(|&block| free(block as *mut u8))));
        });
        let block = allocate(20_000);
        assert!(!block.is_null() && free(block));
        drop(held);
    }

    #[test]
    fn nothing_is_allocated_outside_of_a_call() {
        assert!(alloc_from_reserve(layout(1)).is_null());
    }

    #[test]
    fn growing_a_block_keeps_its_contents() {
        let _held = claim_arena().expect("an arena");
        let block = allocate(100);
        // SAFETY: the block belongs to the reserve and has this layout.
        let grown = unsafe { ReserveAllocator.realloc(block, layout(100), 200) };
        // SAFETY: the block is at least as large.
        assert!(unsafe { std::slice::from_raw_parts(grown, 100) }.iter().all(|&byte| byte == 0xa5));
        // SAFETY: the allocator returned the block for this layout.
        unsafe { ReserveAllocator.dealloc(grown, layout(200)) };
    }

    #[test]
    fn a_forked_child_finds_the_arenas_of_other_threads_without_an_owner() {
        let held = claim_arena().expect("an arena");
        // SAFETY: the child reads the owners and exits.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let free = OWNERS.0.iter().all(|owner| owner.0.load(Ordering::Relaxed) == 0);
            // SAFETY: the call ends the process.
            unsafe { libc::_exit(i32::from(!free)) };
        }
        let mut status = -1;
        // SAFETY: the kernel writes one int.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
        drop(held);
    }
}
