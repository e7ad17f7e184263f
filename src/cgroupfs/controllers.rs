// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sets of controllers, and what distinguishes one from another.

use crate::parse;
use std::ffi::CStr;
use std::fmt;
use std::ops::{BitAnd, BitOr, Sub};

/// A set of controllers. The bits are part of the C interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Controllers(u64);

/// Name, bit and the value that switches it on, in the order in which they are to be enabled:
/// domain controllers first. Enabling one of those in a cgroup that holds processes is refused with
/// EBUSY, while a threaded one (pids, cpu) would be accepted and turn the cgroup into a threaded
/// domain, whose children take no process any more.
const ALL: [(&str, Controllers, &CStr, &CStr); 6] = [
    ("memory", Controllers::MEMORY, c"+memory", c"-memory"),
    ("io", Controllers::IO, c"+io", c"-io"),
    ("hugetlb", Controllers::HUGETLB, c"+hugetlb", c"-hugetlb"),
    ("pids", Controllers::PIDS, c"+pids", c"-pids"),
    ("cpuset", Controllers::CPUSET, c"+cpuset", c"-cpuset"),
    ("cpu", Controllers::CPU, c"+cpu", c"-cpu"),
];

impl Controllers {
    /// No controller.
    pub const NONE: Self = Self(0);
    /// CPU bandwidth and weight.
    pub const CPU: Self = Self(1 << 0);
    /// Memory and swap.
    pub const MEMORY: Self = Self(1 << 1);
    /// The number of threads.
    pub const PIDS: Self = Self(1 << 2);
    /// Block devices.
    pub const IO: Self = Self(1 << 3);
    /// CPUs and memory nodes.
    pub const CPUSET: Self = Self(1 << 4);
    /// Huge pages.
    pub const HUGETLB: Self = Self(1 << 5);
    /// What an agent gets wherever it is to be had.
    pub const WANTED: Self = Self(Self::CPU.0 | Self::MEMORY.0 | Self::PIDS.0 | Self::IO.0);

    /// Those that work on threads: the kernel's threaded controllers.
    pub const THREADED: Self = Self(Self::CPU.0 | Self::PIDS.0 | Self::CPUSET.0);

    /// Without these nothing is held in bounds.
    pub const NEEDED: Self = Self(Self::CPU.0 | Self::MEMORY.0 | Self::PIDS.0);

    /// What `cgroup.controllers` or `cgroup.subtree_control` lists; names we do not know pass.
    pub fn listed(text: &[u8]) -> Self {
        parse::words(text)
            .filter_map(|word| ALL.iter().find(|(name, ..)| name.as_bytes() == word))
            .fold(Self::NONE, |sum, (_, one, ..)| sum | *one)
    }

    /// As AGENTCG_CONTROLLER_ bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Nothing in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// All of `other` in it.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// One by one, in the order of enabling, each with the values that switch it on and off.
    pub fn each(self) -> impl DoubleEndedIterator<Item = (Self, &'static CStr, &'static CStr)> {
        ALL.iter().filter(move |(_, one, ..)| self.contains(*one)).map(|(_, one, on, off)| (*one, *on, *off))
    }
}

impl BitOr for Controllers {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Controllers {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Sub for Controllers {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl fmt::Display for Controllers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ALL.iter().filter(|(_, one, ..)| self.contains(*one)).map(|(name, ..)| *name);
        f.write_str(&names.collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_gives_the_known_controllers_and_passes_over_others() {
        let set = Controllers::listed(b"cpuset cpu io memory hugetlb pids rdma misc dmem\n");
        assert!(set.contains(Controllers::WANTED | Controllers::CPUSET | Controllers::HUGETLB));
        assert_eq!(Controllers::listed(b"\n"), Controllers::NONE);
        assert_eq!(Controllers::listed(b"cpusetx memory2\n"), Controllers::NONE);
    }

    #[test]
    fn domain_controllers_are_enabled_before_threaded_ones() {
        let order: Vec<_> = Controllers::WANTED.each().map(|(_, on, _)| on.to_bytes()).collect();
        assert_eq!(order, [b"+memory".as_slice(), b"+io", b"+pids", b"+cpu"]);
    }

    #[test]
    fn a_set_is_told_by_name() {
        assert_eq!((Controllers::CPU | Controllers::MEMORY).to_string(), "memory cpu");
    }
}
