//! Exponential back-off: how long to wait after so many failures.
#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

use std::time::Duration;

/// The most doublings. Any bound in use is reached long before.
const MOST_DOUBLINGS: u32 = 20;

/// The bounds of the pauses between two tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// Pauses that begin with `first`, and become `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// The pause after `failures` in succession (1, 2, ...): twice the one before, up to the longest.
    #[must_use]
    pub fn pause(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(MOST_DOUBLINGS);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }

    /// The same, shorter by up to a half, so that replicas do not try in step; `random` in 0..=1 decides by how much.
    #[must_use]
    pub fn jittered(self, failures: u32, random: f64) -> Duration {
        self.pause(failures).mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(5);
    const BACKOFF: Backoff = Backoff::new(FIRST, LONGEST);

    #[test]
    fn pauses_double_up_to_their_bound() {
        let pauses: Vec<_> = (1..=9).map(|failures| BACKOFF.pause(failures).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(BACKOFF.pause(u32::MAX), LONGEST);
        assert_eq!(Backoff::new(Duration::MAX, Duration::MAX).pause(9), Duration::MAX);
    }

    #[test]
    fn no_failure_waits_no_longer_than_one() {
        assert_eq!(BACKOFF.pause(0), FIRST);
    }

    #[test]
    fn jitter_leaves_at_least_a_half() {
        assert_eq!(BACKOFF.jittered(2, 1.0), FIRST * 2);
        assert_eq!(BACKOFF.jittered(2, 0.5), FIRST * 3 / 2);
        assert_eq!(BACKOFF.jittered(2, 0.0), FIRST);
        assert_eq!(BACKOFF.jittered(2, -1.0), FIRST);
        assert_eq!(BACKOFF.jittered(99, 2.0), LONGEST);
    }
}
