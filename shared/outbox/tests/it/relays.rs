//! The relay as the suite runs it.

use std::sync::Arc;

use database::Database;
use messaging::Bus;
use outbox::internal::Failpoints;
use outbox::{Outbox, Relay, RelayConfig};

/// A relay's settings in tests.
pub(crate) struct Poll(pub(crate) RelayConfig);

impl Default for Poll {
    /// Short times, so that faults pass quickly; they change no behaviour. Not the session's: its end repeats rows, and a
    /// busy machine may well be silent for a second.
    fn default() -> Self {
        Self(RelayConfig {
            poll_interval_ms: 50,
            takeover_interval_ms: 50,
            idle_session_timeout_ms: 10_000,
            backoff_max_ms: 100,
            ..RelayConfig::default()
        })
    }
}

impl Poll {
    /// A relay of `outbox` in `database`, which calls `failpoints` at its steps.
    pub(crate) fn relay(
        &self,
        database: &Database,
        outbox: &Outbox,
        bus: Arc<dyn Bus>,
        failpoints: Option<Arc<dyn Failpoints>>,
    ) -> Relay {
        let relay = Relay::try_new(database.clone(), outbox, bus, self.0.clone()).unwrap();
        match failpoints {
            Some(failpoints) => relay.with_failpoints(failpoints),
            None => relay,
        }
    }
}
