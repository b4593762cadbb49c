//! Waiting longer after each failure, with jitter so that replicas don't return in step.

use std::time::Duration;

use rand::Rng as _;

const FIRST: Duration = Duration::from_millis(50);

/// Exponential back-off between `FIRST` and a maximum.
#[derive(Debug)]
pub(crate) struct Backoff {
    failures: u32,
    max: Duration,
}

impl Backoff {
    pub(crate) const fn new(max: Duration) -> Self {
        Self { failures: 0, max }
    }

    /// How long to wait now: half of the exponential step, plus up to the other half at random.
    pub(crate) fn next(&mut self) -> Duration {
        let step = FIRST.saturating_mul(2_u32.saturating_pow(self.failures.min(16))).min(self.max);
        self.failures = self.failures.saturating_add(1);
        step.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// It went well: the next failure begins anew.
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }
}
