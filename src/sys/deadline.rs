// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long a caller is willing to wait.

use std::time::{Duration, Instant};

/// A point in time, or never.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// Wait as long as it takes.
    pub const FOREVER: Self = Self(None);

    /// So long from now.
    pub fn after(wait: Duration) -> Self {
        Self(Instant::now().checked_add(wait))
    }

    /// The same where `None` is for ever.
    pub fn within(wait: Option<Duration>) -> Self {
        wait.map_or(Self::FOREVER, Self::after)
    }

    /// What is left, or `None` for ever.
    pub fn left(self) -> Option<Duration> {
        self.0.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// True when there is nothing left to wait for.
    pub fn passed(self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// The later of this one and so long from now.
    pub fn at_least(self, wait: Duration) -> Self {
        match (self.0, Self::after(wait).0) {
            (Some(a), Some(b)) => Self(Some(a.max(b))),
            _ => Self::FOREVER,
        }
    }

    /// The nearer of this one and so long from now.
    pub fn at_most(self, wait: Duration) -> Self {
        let near = Self::after(wait);
        match (self.0, near.0) {
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
    fn the_nearer_deadline_wins() {
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
