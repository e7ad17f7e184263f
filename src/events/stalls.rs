// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds stalled groups by the growth of `total` in the pressure files (PSI), which the kernel counts for every group.
//!
//! The triggers of PSI are not used. One trigger needs one open descriptor for each group. A privileged one also makes the
//! kernel run a thread for each group. Unprivileged ones exist from Linux 6.4 on, work for cgroups from 6.7 on, and have
//! windows of multiples of 2 s. A total can be read by any user, on every kernel with PSI, and by the descriptor that the
//! statistics use.
//!
//! The total of a group that hardly waits is read once for each window. While the group waits, it is read in each quarter of
//! a window, and its growth since each of the last four looks is examined. All groups are looked at at the same moments, so
//! that a host with many groups wakes once for all of them. If the host does not look, the timer has expired once and nothing
//! runs.
//!
//! After a look that comes late the growth is that of more than one window, and the kernel keeps no record of its course.
//! Then only a growth counts from which a stall within some window follows ([`StallWatch::sufficient_growth`]).

use crate::cgroupfs::{Dir, FileError, NamedFile};
use crate::parse::{self, Pressure};
use crate::stats::Files;
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// What processes wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// A CPU that another process has, or that `cpu.max` withholds.
    Cpu,
    /// Memory that is reclaimed, refaulted or swapped in.
    Memory,
    /// The end of I/O.
    Io,
}

/// How many of the processes that are not idle wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// At least one process waits.
    Some,
    /// All of them wait.
    Full,
}

/// The time for which processes must have waited within a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// Not more than the window.
    pub stall: Duration,
    /// Not 0.
    pub window: Duration,
}

const RESOURCES: [Resource; 3] = [Resource::Cpu, Resource::Memory, Resource::Io];
const KINDS: [Kind; 2] = [Kind::Some, Kind::Full];

/// The looks in a window of a group that waits.
const LOOKS: u32 = 4;

/// The watched totals of one group, at most one for each resource and kind.
#[derive(Debug, Default)]
pub struct Stalls([[Option<StallWatch>; KINDS.len()]; RESOURCES.len()]);

/// One watched total.
#[derive(Debug)]
struct StallWatch {
    threshold: Threshold,
    /// The totals at the last looks since the last report, the newest first. None while its file is missing.
    seen: [Option<Total>; LOOKS as usize],
    /// The time of the next look, on the monotonic clock.
    look_at: Duration,
}

/// A total and the time before it was read.
#[derive(Debug, Clone, Copy)]
struct Total {
    us: u64,
    read_at: Duration,
}

impl Resource {
    fn file(self, files: &Files) -> NamedFile<'_> {
        match self {
            Self::Cpu => files.cpu_pressure(),
            Self::Memory => files.memory_pressure(),
            Self::Io => files.io_pressure(),
        }
    }
}

impl Kind {
    fn of(self, pressure: Pressure) -> Option<u64> {
        match self {
            Self::Some => pressure.some_us,
            Self::Full => pressure.full_us,
        }
    }
}

impl Stalls {
    /// Watches a total from now on, in place of the present watch of the same resource and kind. Fails with `ENOENT` if the
    /// group has no such file, and with `ENODATA` if the file has no such line.
    pub fn watch(
        &mut self,
        dir: &Dir,
        files: &Files,
        resource: Resource,
        kind: Kind,
        threshold: Threshold,
    ) -> Result<(), FileError> {
        let name = resource.file(files).name;
        let read_at = now();
        let Some(pressure) = read(dir, files, resource)? else {
            return Err((if dir.is_alive() { Errno::ENOENT } else { Errno::ENODEV }, name));
        };
        let us = kind.of(pressure).ok_or((Errno::ENODATA, name))?;
        self.set(resource, kind, Some(StallWatch::new(threshold, Some(Total { us, read_at }), now())));
        Ok(())
    }

    /// Ends a watch.
    pub fn end(&mut self, resource: Resource, kind: Kind) {
        self.set(resource, kind, None);
    }

    fn set(&mut self, resource: Resource, kind: Kind, watch: Option<StallWatch>) {
        let of_resource = RESOURCES.iter().zip(&mut self.0).find(|(one, _)| **one == resource);
        let of_kind =
            of_resource.and_then(|(_, kinds)| KINDS.iter().zip(kinds).find(|(one, _)| **one == kind));
        if let Some((_, place)) = of_kind {
            *place = watch;
        }
    }

    /// Returns true if nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.0.iter().flatten().flatten().next().is_none()
    }

    /// Returns the time from now until the next look.
    pub fn next_look(&self) -> Option<Duration> {
        let looks = self.0.iter().flatten().flatten().map(|watch| watch.look_at);
        looks.min().map(|at| at.saturating_sub(now()))
    }

    /// Begins all watches again. What has grown before does not count.
    pub fn restart(&mut self, dir: &Dir, files: &Files) {
        for watch in self.0.iter_mut().flatten().flatten() {
            (watch.seen, watch.look_at) = (Default::default(), Duration::ZERO);
        }
        self.look(dir, files, now(), || {});
    }

    /// Reads the totals at which it is time to look at `at`, and calls `stalled` for each that has grown by what was asked
    /// for. Returns false if a file was missing.
    pub fn look(&mut self, dir: &Dir, files: &Files, at: Duration, mut stalled: impl FnMut()) -> bool {
        let mut complete = true;
        for (resource, watches) in RESOURCES.into_iter().zip(&mut self.0) {
            let is_due = |watch: &StallWatch| watch.look_at <= at;
            if !watches.iter().flatten().any(is_due) {
                continue;
            }
            let pressure = read(dir, files, resource);
            let after = now();
            complete &= !matches!(pressure, Ok(None));
            for (kind, watch) in KINDS.into_iter().zip(watches) {
                match (watch.as_mut().filter(|watch| is_due(watch)), &pressure) {
                    (Some(watch), Ok(pressure)) => {
                        let us = pressure.and_then(|pressure| kind.of(pressure));
                        if watch.look(us.map(|us| Total { us, read_at: at }), after) {
                            stalled();
                        }
                    }
                    // No descriptor or no memory is left, or the agent has changed the mode of the file.
                    (Some(watch), Err(_)) => watch.postpone(after),
                    (None, _) => {}
                }
            }
        }
        complete
    }
}

impl StallWatch {
    /// Begins a watch with this total. `at` is a time after the read.
    fn new(threshold: Threshold, total: Option<Total>, at: Duration) -> Self {
        let look_at = next_multiple(at, threshold.window);
        Self { threshold, seen: [total, None, None, None], look_at }
    }

    /// Sets the next look after one that could not read the total.
    fn postpone(&mut self, at: Duration) {
        self.look_at = next_multiple(at, self.threshold.window / LOOKS);
    }

    /// Returns true if the total has grown by what was asked for. `at` is a time after the read.
    fn look(&mut self, total: Option<Total>, at: Duration) -> bool {
        let Threshold { stall, window } = self.threshold;
        let quarter = window / LOOKS;
        let [last, second, third, _] = self.seen;
        let growth =
            |since: Total| total.and_then(|total| total.us.checked_sub(since.us)).map(Duration::from_micros);
        // A smaller total is that of another count.
        let Some(growth_since_last) = last.and_then(growth) else {
            *self = Self::new(self.threshold, total, at);
            return false;
        };
        let stalled = self.seen.iter().flatten().any(|&since| {
            growth(since)
                .is_some_and(|growth| growth >= self.sufficient_growth(at.saturating_sub(since.read_at)))
        });
        if stalled {
            // At most one report for each window.
            (self.seen, self.look_at) =
                ([total, None, None, None], next_multiple(at, quarter).saturating_add(window - quarter));
        } else {
            let waits = growth_since_last >= stall / (2 * LOOKS);
            self.look_at = next_multiple(at, if waits { quarter } else { window });
            self.seen = [total, last, second, third];
        }
        stalled
    }

    /// Returns the least growth in `elapsed` from which it follows that the total has grown by `stall` within one window. In
    /// a window in which it has grown by less than `stall`, and in a rest that is shorter than `stall` by no more than the
    /// rest itself: a total grows by at most one second in a second.
    fn sufficient_growth(&self, elapsed: Duration) -> Duration {
        let Threshold { stall, window } = self.threshold;
        if elapsed <= window {
            return stall;
        }
        let (elapsed, window) = (elapsed.as_nanos(), window.as_nanos().max(1));
        let rest = (elapsed % window).min(stall.as_nanos());
        let sufficient = (elapsed / window).saturating_mul(stall.as_nanos()).saturating_add(rest);
        Duration::from_nanos(u64::try_from(sufficient).unwrap_or(u64::MAX))
    }
}

/// Reads the pressure file of a resource. Returns `None` if the group has none, or was removed.
fn read(dir: &Dir, files: &Files, resource: Resource) -> Result<Option<Pressure>, FileError> {
    let (file, mut buf) = (resource.file(files), [0; 512]);
    file.read(dir, &mut buf).map(|text| text.map(parse::pressure)).map_err(|e| (e, file.name))
}

/// Returns the next time of the monotonic clock that is a multiple of the interval.
fn next_multiple(at: Duration, interval: Duration) -> Duration {
    let interval = interval.as_nanos().max(1);
    let left = interval - at.as_nanos() % interval;
    at.saturating_add(Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX)))
}

/// Returns the time of the monotonic clock.
pub fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const THRESHOLD: Threshold = Threshold { stall: ms(100), window: ms(1_000) };

    fn total(us: u64, read_at: Duration) -> Option<Total> {
        Some(Total { us, read_at })
    }

    fn watch() -> StallWatch {
        StallWatch::new(THRESHOLD, total(5_000, ms(10_500)), ms(10_501))
    }

    #[test]
    fn a_total_that_has_grown_by_the_stall_within_a_window_is_reported_once() {
        let mut watch = watch();
        assert_eq!(watch.look_at, ms(11_000));
        assert!(watch.look(total(105_000, ms(11_000)), ms(11_001)));
        assert_eq!(watch.look_at, ms(12_000), "one report for each window");
        assert!(!watch.look(total(105_000, ms(12_000)), ms(12_001)));
        assert!(!watch.look(total(204_999, ms(13_000)), ms(13_000)), "a microsecond is missing");
        assert!(watch.look(total(304_999, ms(13_250)), ms(13_251)));
        assert_eq!(watch.look_at, ms(14_250));
    }

    #[test]
    fn a_group_that_waits_is_looked_at_more_often_and_its_growth_over_several_looks_counts() {
        let mut watch = watch();
        assert!(!watch.look(total(17_499, ms(11_000)), ms(11_001)));
        assert_eq!(watch.look_at, ms(12_000), "it hardly waits");
        for (us, at, next) in [(54_999, 12_000, 12_250), (79_999, 12_250, 12_500), (104_999, 12_500, 12_750)]
        {
            assert!(!watch.look(total(us, ms(at)), ms(at)));
            assert_eq!(watch.look_at, ms(next));
        }
        let mut ended = StallWatch { ..watch };
        assert!(watch.look(total(154_999, ms(12_750)), ms(12_750)), "100 ms since 12 s");
        assert!(!ended.look(total(154_998, ms(12_750)), ms(12_750)), "137,499 us since 11 s are no stall");
        assert!(!ended.look(total(154_998, ms(13_000)), ms(13_000)));
        assert_eq!(ended.look_at, ms(14_000), "it waits no longer");
    }

    #[test]
    fn a_total_that_is_missing_or_counts_anew_is_not_compared() {
        let mut watch = watch();
        assert!(!watch.look(None, ms(11_000)));
        assert!(!watch.look(total(900_000, ms(12_000)), ms(12_000)));
        assert!(!watch.look(total(500_000, ms(13_000)), ms(13_000)));
        assert!(watch.look(total(600_000, ms(14_000)), ms(14_000)));
    }

    /// Each growth that is not sufficient has a course without a stall: the most in the rest and in each window.
    #[test]
    fn after_a_late_look_only_a_growth_counts_that_is_impossible_without_a_stall() {
        let sufficient = |elapsed| watch().sufficient_growth(elapsed);
        assert_eq!(sufficient(ms(20)), ms(100));
        assert_eq!(sufficient(ms(1_000)), ms(100));
        assert_eq!(sufficient(ms(1_010)), ms(110), "at most 10 ms in the 10 ms before the window");
        assert_eq!(sufficient(ms(1_500)), ms(200), "99 ms in each of two windows are no stall");
        assert_eq!(sufficient(ms(600_000)), ms(60_000));
        assert_eq!(sufficient(Duration::MAX), Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn all_groups_are_looked_at_at_the_same_moments() {
        assert_eq!(next_multiple(ms(10_001), ms(1_000)), ms(11_000));
        assert_eq!(next_multiple(ms(10_999), ms(1_000)), ms(11_000));
        assert_eq!(next_multiple(ms(11_000), ms(1_000)), ms(12_000), "not at once");
        assert_eq!(next_multiple(ms(7), Duration::ZERO), ms(7) + Duration::from_nanos(1));
    }

    #[test]
    fn each_resource_and_kind_has_one_watch() {
        let mut stalls = Stalls::default();
        assert!(stalls.is_empty() && stalls.next_look().is_none());
        for (resource, kind) in RESOURCES.into_iter().flat_map(|one| KINDS.map(|kind| (one, kind))) {
            stalls.set(resource, kind, Some(watch()));
        }
        assert_eq!(stalls.0.iter().flatten().flatten().count(), 6);
        for (resource, kind) in RESOURCES.into_iter().flat_map(|one| KINDS.map(|kind| (one, kind))) {
            assert!(!stalls.is_empty());
            stalls.end(resource, kind);
        }
        assert!(stalls.is_empty());
    }
}
