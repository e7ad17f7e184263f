// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sets of cgroup controllers.

use crate::parse;
use std::ffi::CStr;
use std::fmt;
use std::ops::{BitAnd, BitOr, Sub};

/// A set of controllers. The bits are part of the C interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Controllers(u64);

/// For each controller its name, its bit, and the values that enable and disable it. The order is the order in which the
/// library enables them: domain controllers first. The kernel refuses to enable a domain controller in a cgroup that holds
/// processes (`EBUSY`). It accepts a threaded controller (pids, cpu) there and turns the cgroup into a threaded domain,
/// whose children accept no process.
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
    /// The controllers that the library enables for agents if they are available.
    pub const WANTED: Self = Self(Self::CPU.0 | Self::MEMORY.0 | Self::PIDS.0 | Self::IO.0);

    /// The kernel's threaded controllers.
    pub const THREADED: Self = Self(Self::CPU.0 | Self::PIDS.0 | Self::CPUSET.0);

    /// The controllers that bound an agent's CPU time, memory and number of threads.
    pub const NEEDED: Self = Self(Self::CPU.0 | Self::MEMORY.0 | Self::PIDS.0);

    /// Parses `cgroup.controllers` or `cgroup.subtree_control`. Ignores unknown names.
    pub fn listed(text: &[u8]) -> Self {
        parse::words(text)
            .filter_map(|word| ALL.iter().find(|(name, ..)| name.as_bytes() == word))
            .fold(Self::NONE, |sum, (_, one, ..)| sum | *one)
    }

    /// Returns the set as `AGENTCG_CONTROLLER_` bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Returns true if the set has no controller.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns true if the set has every controller of `other`.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the wanted controller of this set that is enabled last, with a file that a group has if it is enabled.
    pub fn last(self) -> Option<(Self, &'static CStr)> {
        let files = [
            (Self::CPU, c"cpu.max"),
            (Self::PIDS, c"pids.max"),
            (Self::IO, c"io.stat"),
            (Self::MEMORY, c"memory.max"),
        ];
        files.into_iter().find(|(one, _)| self.contains(*one))
    }

    /// Returns each controller in the order of enabling, with the values that enable and disable it.
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
