// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a child leaves its word, in memory that is the host's too even where vfork(2) is only fork(2), as in valgrind.
//! To map such memory and to unmap it takes a fifth of what all the rest of a start does, so one piece is kept.

use super::newborn::Report;
use super::shared::Shared;
use std::ops::Deref;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// Children that the host has forked have the same piece, so it is in there whether it is in use.
#[derive(Default)]
struct Kept {
    taken: AtomicBool,
    report: Report,
}

/// Mapped at the first start, for good. No lock: a host may be forked at any moment, and its child would wait for ever.
static KEPT: AtomicPtr<Kept> = AtomicPtr::new(null_mut());

/// For one start.
pub(super) enum Word {
    /// Given back afterwards.
    Lent(&'static Report, &'static AtomicBool),
    /// Another start has what is kept.
    Own(Shared<Report>),
}

impl Word {
    pub fn new() -> nix::Result<Self> {
        let kept = kept()?;
        if kept.taken.swap(true, Ordering::AcqRel) {
            return Shared::new().map(Self::Own);
        }
        kept.report.clear();
        Ok(Self::Lent(&kept.report, &kept.taken))
    }
}

fn kept() -> nix::Result<&'static Kept> {
    let mut kept = KEPT.load(Ordering::Acquire);
    if kept.is_null() {
        let new = Shared::<Kept>::new()?;
        let ours = new.as_ptr().cast_mut();
        match KEPT.compare_exchange(null_mut(), ours, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                std::mem::forget(new);
                kept = ours;
            }
            // Another thread was first, and ours goes.
            Err(theirs) => kept = theirs,
        }
    }
    // SAFETY: a mapping that is never unmapped, of atomic integers, written before it was named.
    Ok(unsafe { &*kept })
}

impl Deref for Word {
    type Target = Report;
    fn deref(&self) -> &Report {
        match self {
            Self::Lent(report, _) => report,
            Self::Own(report) => report,
        }
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        if let Self::Lent(_, taken) = self {
            taken.store(false, Ordering::Release);
        }
    }
}
