//! How a service consumes: the section `[consumer]` of its configuration.

use std::time::Duration;

use backoff::Backoff;
use serde::{Deserialize, Serialize};

/// Bounds of batches, retries and maintenance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsumerConfig {
    /// Maximum number of records per transaction.
    pub max_batch_records: usize,
    /// Approximate maximum of bytes per transaction.
    pub max_batch_bytes: usize,
    /// First pause after a transient failure; it doubles with each failure, with jitter.
    pub backoff_initial_ms: u64,
    /// Maximum pause between two attempts.
    pub backoff_max_ms: u64,
    /// Time without progress after which a partition or a worker that has work is reported as stalled.
    pub stalled_after_ms: u64,
    /// How long event ids are remembered; older events become dead letters. 0 keeps ids without limit.
    pub deduplication_days: u32,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            max_batch_records: 500,
            max_batch_bytes: 4 * 1024 * 1024,
            backoff_initial_ms: 50,
            backoff_max_ms: 5_000,
            stalled_after_ms: 30_000,
            deduplication_days: 0,
        }
    }
}

impl ConsumerConfig {
    pub(crate) const fn stalled_after(&self) -> Duration {
        Duration::from_millis(self.stalled_after_ms)
    }

    /// The pause before try `attempt` (1, 2, ...): exponential, between half and all of its bound by `jitter` in 0..=1.
    pub(crate) fn pause(&self, attempt: u32, jitter: f64) -> Duration {
        let bounds = [self.backoff_initial_ms, self.backoff_max_ms].map(Duration::from_millis);
        Backoff::new(bounds[0], bounds[1]).jittered(attempt, jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound() {
        let config = ConsumerConfig::default();
        assert_eq!(config.pause(1, 1.0), Duration::from_millis(50));
        assert_eq!(config.pause(2, 1.0), Duration::from_millis(100));
        assert_eq!(config.pause(2, 0.0), Duration::from_millis(50));
        assert_eq!(config.pause(60, 1.0), Duration::from_secs(5));
    }
}
