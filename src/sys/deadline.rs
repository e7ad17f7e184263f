// SPDX-License-Identifier: MIT OR Apache-2.0
//! The time until which a caller waits.

use std::time::{Duration, Instant};

/// A point in time at which a wait ends, or no such point.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// A wait without a limit.
    pub const FOREVER: Self = Self(None);

    /// Returns the deadline that is this far from now.
    pub fn after(wait: Duration) -> Self {
        Self(Instant::now().checked_add(wait))
    }

    /// The same as [`Deadline::after`]; `None` is [`Deadline::FOREVER`].
    pub fn within(wait: Option<Duration>) -> Self {
        wait.map_or(Self::FOREVER, Self::after)
    }

    /// Returns the time that is left, or `None` for [`Deadline::FOREVER`].
    pub fn left(self) -> Option<Duration> {
        self.0.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Returns true if no time is left.
    pub fn passed(self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// Returns the later of this deadline and the one that is this far from now.
    pub fn at_least(self, wait: Duration) -> Self {
        match (self.0, Self::after(wait).0) {
            (Some(a), Some(b)) => Self(Some(a.max(b))),
            _ => Self::FOREVER,
        }
    }

    /// Returns the earlier of this deadline and the one that is this far from now.
    pub fn at_most(self, wait: Duration) -> Self {
        match (self.0, Self::after(wait).0) {
            (Some(a), Some(b)) => Self(Some(a.min(b))),
            (a, b) => Self(a.or(b)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_has_passed_and_forever_never_does() {
        assert!(Deadline::after(Duration::ZERO).passed());
        assert!(!Deadline::FOREVER.passed());
        assert_eq!(Deadline::FOREVER.left(), None);
        assert!(!Deadline::after(Duration::MAX).passed());
    }

    #[test]
    fn the_earlier_deadline_wins() {
        let hour = Duration::from_secs(3600);
        assert!(Deadline::after(Duration::ZERO).at_most(hour).passed());
        assert!(Deadline::FOREVER.at_most(Duration::ZERO).passed());
        assert!(!Deadline::after(hour).at_most(hour).passed());
    }

    #[test]
    fn the_later_deadline_wins() {
        let hour = Duration::from_secs(3600);
        assert!(!Deadline::after(Duration::ZERO).at_least(hour).passed());
        assert_eq!(Deadline::FOREVER.at_least(hour).left(), None);
        assert!(Deadline::after(hour).at_least(Duration::ZERO).left().is_some_and(|left| !left.is_zero()));
    }
}
