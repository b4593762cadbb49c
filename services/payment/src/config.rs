//! The section `[payment]` of the configuration.

use std::time::Duration;

use anyhow::ensure;
use backoff::Backoff;
use serde::{Deserialize, Serialize};
use service::leases::{COOL_DOWN, Settings};

use crate::adapters::provider::Delays;
use crate::application::saga_job::LeasePolicy;

/// How the saga's worker and the built-in provider behave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Maximum number of concurrent calls to the provider.
    pub concurrency: usize,
    /// Maximum number of connections of the built-in provider to its ledger.
    pub provider_max_connections: usize,
    /// Time limit of a call.
    pub provider_timeout_ms: u32,
    /// Time after which a worker that has not returned is considered dead; must exceed two calls.
    pub lease_ms: u32,
    /// First pause before a step is retried; it doubles with each retry.
    pub backoff_initial_ms: u32,
    /// Maximum pause before a step is retried.
    pub backoff_max_ms: u32,
    /// Longest time between two looks for due steps when nothing wakes the worker. It looks earlier when one becomes due.
    pub poll_interval_ms: u32,
    /// Delay of the answer to `tok_slow`.
    pub provider_slow_response_ms: u32,
    /// Delay of the answer to `tok_timeout`.
    pub provider_late_response_ms: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            concurrency: 32,
            provider_max_connections: 8,
            provider_timeout_ms: 2_000,
            lease_ms: 15_000,
            backoff_initial_ms: 100,
            backoff_max_ms: 30_000,
            poll_interval_ms: 5_000,
            provider_slow_response_ms: 500,
            provider_late_response_ms: 3_000,
        }
    }
}

const fn ms(ms: u32) -> Duration {
    Duration::from_millis(ms as u64)
}

impl Config {
    /// Rejects settings that can't work together.
    ///
    /// # Errors
    /// When a worker could lose its lease while it waits, or could do nothing at all.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(self.concurrency > 0, "payment.concurrency is 0: nothing would ever be charged");
        ensure!(self.provider_max_connections > 0, "payment.provider_max_connections is 0");
        ensure!(self.poll_interval_ms > 0, "payment.poll_interval_ms is 0");
        ensure!(
            u64::from(self.lease_ms) > 2 * u64::from(self.provider_timeout_ms),
            "payment.lease_ms ({}) must exceed twice payment.provider_timeout_ms ({})",
            self.lease_ms,
            self.provider_timeout_ms
        );
        Ok(())
    }

    pub const fn lease_policy(&self) -> LeasePolicy {
        LeasePolicy {
            lease: ms(self.lease_ms),
            backoff: Backoff::new(ms(self.backoff_initial_ms), ms(self.backoff_max_ms)),
        }
    }

    pub const fn worker(&self) -> Settings {
        Settings {
            concurrency: self.concurrency,
            call_timeout: ms(self.provider_timeout_ms),
            poll_interval: ms(self.poll_interval_ms),
            record_timeout: ms(self.lease_ms),
            cool_down: COOL_DOWN,
        }
    }

    pub const fn delays(&self) -> Delays {
        Delays { slow: ms(self.provider_slow_response_ms), too_late: ms(self.provider_late_response_ms) }
    }
}
