//! The pauses of the relay after failures in succession.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);

/// Counts failures, and gives the pause after each.
#[derive(Debug)]
pub(crate) struct Backoff {
    failures: u32,
    pauses: backoff::Backoff,
}

impl Backoff {
    /// Pauses that become `longest`.
    pub(crate) const fn new(longest: Duration) -> Self {
        Self { failures: 0, pauses: backoff::Backoff::new(FIRST, longest) }
    }

    /// How long to wait now, with jitter so that replicas don't return in step.
    pub(crate) fn next(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.pauses.jittered(self.failures, rand::random())
    }

    /// Begins anew after a success.
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }
}
