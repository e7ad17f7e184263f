// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a process that began as a copy of the host program keeps of its memory, so that it neither holds what
//! the host gives up, nor has every page doubled that the host writes to, nor keeps page tables for it.
//!
//! It keeps the objects (in the linker's sense) whose code it runs, with their data, and what lies around
//! its thread's own data. What is needed is found in the host, where the linker can be asked.

use nix::errno::Errno;
use std::ffi::{c_int, c_void};

/// From this address to before that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub usize, pub usize);

/// Around an address of which nothing more is known: errno and what else is the thread's.
const AROUND: usize = 32 << 10;
/// The kernel's data for the clock lie just before its code, how many pages depends on its version.
const AROUND_VDSO: usize = 64 << 10;
const MOST: usize = 32;

/// What is to be kept.
#[derive(Debug, Clone, Copy)]
pub struct Needed {
    spans: [Span; MOST],
    count: usize,
    page: usize,
}

/// Where what the helper runs is. A program may put functions of its own before libc's, as a preloaded
/// library does: each is named that is called.
fn addresses() -> [usize; 40] {
    macro_rules! of {
        ($($function:ident)*) => { [$(libc::$function as *const () as usize),*] };
    }
    // SAFETY: the calls have no conditions.
    let (version, linker) = unsafe { (version(), libc::getauxval(libc::AT_BASE) as usize) };
    let known = [addresses as *const () as usize, version, linker];
    let called = of![
        __errno_location _exit access clock_gettime clock_nanosleep close faccessat fcntl fstat fstatfs
        getpid getrlimit kill memcmp memcpy memmove memset mkdirat mmap munmap nanosleep open open64 openat
        poll ppoll prctl pread pread64 read recvmsg sched_yield sendmsg strlen syscall unlinkat write
    ];
    let mut all = [0; 40];
    for (to, from) in all.iter_mut().zip(known.into_iter().chain(called)) {
        *to = from;
    }
    all
}

/// An address in the C library itself, whatever stands before its functions.
#[cfg(target_env = "gnu")]
unsafe fn version() -> usize {
    // SAFETY: the call has no conditions.
    unsafe { libc::gnu_get_libc_version() as usize }
}

#[cfg(not(target_env = "gnu"))]
unsafe fn version() -> usize {
    0
}

struct Search {
    addresses: [usize; 40],
    needed: Needed,
}

impl Needed {
    /// For a copy of the calling thread.
    pub fn find() -> Self {
        // SAFETY: the calls have no conditions.
        let (page, vdso, thread, errno) = unsafe {
            (
                libc::sysconf(libc::_SC_PAGESIZE),
                libc::getauxval(libc::AT_SYSINFO_EHDR) as usize,
                libc::pthread_self() as usize,
                libc::__errno_location() as usize,
            )
        };
        let page = usize::try_from(page).unwrap_or(4096);
        let needed = Self { spans: [Span(0, 0); MOST], count: 0, page };
        let mut search = Search { addresses: addresses(), needed };
        // SAFETY: the callback is given what it takes, while it is live.
        unsafe { libc::dl_iterate_phdr(Some(object), (&raw mut search).cast()) };
        let mut needed = search.needed;
        let own = addresses as *const () as usize;
        if !needed.spans.iter().any(|&Span(start, end)| (start..end).contains(&own)) {
            // A linker that does not tell: then all is kept.
            needed.count = MOST;
        }
        for (address, around) in [(thread, AROUND), (errno, AROUND), (vdso, AROUND_VDSO)] {
            if address != 0 {
                needed.keep(Span(address.saturating_sub(around), address.saturating_add(around)));
            }
        }
        needed
    }

    /// This, too.
    pub fn keep(&mut self, Span(start, end): Span) {
        if let Some(free) = self.spans.get_mut(self.count) {
            *free = Span(start & !(self.page - 1), end.next_multiple_of(self.page));
            self.count += 1;
        }
    }
}

/// What of the host's memory is not needed, in a process that has it still.
pub struct Ballast(Option<Needed>);

impl Ballast {
    /// # Safety
    /// In a process with one thread that uses only what is needed, as all that it has made since does.
    pub unsafe fn all_but(needed: Needed) -> Self {
        Self(Some(needed))
    }

    /// Whether it is there still.
    pub fn is_held(&self) -> bool {
        self.0.is_some()
    }

    /// Unmap it: with a gigabyte that takes a while. What the kernel does not let go is only kept longer than
    /// it need be.
    pub fn shed(&mut self) {
        let Some(mut needed) = self.0.take() else { return };
        // Something may be missing: not one more would have found room.
        if needed.count == MOST {
            return;
        }
        let Some(kept) = needed.spans.get_mut(..needed.count) else { return };
        kept.sort_unstable();
        let mut start = 0;
        for &Span(from, to) in kept.iter() {
            if from > start {
                // SAFETY: the promise of `all_but`.
                let _kept_longer = unsafe { unmap(start, from) };
            }
            start = start.max(to);
        }
        // Where the address space ends depends on the machine: nothing above the end can be named.
        for bits in (30..usize::BITS).rev() {
            let end = (1usize << bits) - needed.page;
            // SAFETY: the promise of `all_but`.
            if end > start && unsafe { unmap(start, end) }.is_ok() {
                break;
            }
        }
    }
}

unsafe fn unmap(start: usize, end: usize) -> nix::Result<()> {
    // SAFETY: the caller's promise.
    Errno::result(unsafe { libc::munmap(start as *mut c_void, end - start) }).map(drop)
}

/// Keeps an object if one of the addresses is in it.
unsafe extern "C" fn object(info: *mut libc::dl_phdr_info, _: usize, search: *mut c_void) -> c_int {
    // SAFETY: the linker's own list, while it holds it still; and `find`'s search.
    let (info, search, headers) = unsafe {
        let info = &*info;
        let headers = std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum));
        (info, &mut *search.cast::<Search>(), headers)
    };
    let parts = headers.iter().filter(|header| header.p_type == libc::PT_LOAD).map(|header| {
        let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
        Span(start, start.wrapping_add(header.p_memsz as usize))
    });
    let whole = parts.reduce(|one, other| Span(one.0.min(other.0), one.1.max(other.1)));
    if let Some(Span(start, end)) = whole {
        if search.addresses.iter().any(|&address| (start..end).contains(&address)) {
            search.needed.keep(Span(start, end));
        }
    }
    0
}
