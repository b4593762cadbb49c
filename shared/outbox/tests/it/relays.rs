//! The relays that the suite is run with: whoever adds one adds a factory here and a line in `main.rs`.

use std::sync::Arc;

use database::Database;
use messaging::Bus;
use outbox::Outbox;
use outbox::relay::{Failpoints, PollRelay, Relay, RelayConfig};

/// Makes relays of one kind.
pub(crate) trait RelayFactory: Send + Sync {
    /// A relay of `outbox` in `database`; `failpoints` hears its steps.
    fn relay(
        &self,
        database: &Database,
        outbox: &Outbox,
        bus: Arc<dyn Bus>,
        failpoints: Arc<dyn Failpoints>,
    ) -> Box<dyn Relay>;
}

/// The polling relay.
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

impl RelayFactory for Poll {
    fn relay(
        &self,
        database: &Database,
        outbox: &Outbox,
        bus: Arc<dyn Bus>,
        failpoints: Arc<dyn Failpoints>,
    ) -> Box<dyn Relay> {
        let relay = PollRelay::try_new(database.clone(), outbox, bus, self.0.clone()).unwrap();
        Box::new(relay.with_failpoints(failpoints))
    }
}
