//! How a relay is configured: the section `[outbox]` of a service's configuration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::RelayError;

/// Which relay publishes the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayKind {
    /// Polls unfinished rows: needs nothing but the table.
    #[default]
    Poll,
}

/// The relay's settings. The defaults are meant to be kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelayConfig {
    /// Which relay.
    pub kind: RelayKind,
    /// How often the table is read when nothing wakes the relay.
    pub poll_interval_ms: u64,
    /// How often a replica that does not lead tries to.
    pub takeover_interval_ms: u64,
    /// After how much silence the database ends the leader's session, so that a frozen leader loses its lock.
    pub session_timeout_ms: u64,
    /// The longest that one statement of the relay may take.
    pub statement_timeout_ms: u64,
    /// How many records of one topic may be unacknowledged at a time.
    pub window: usize,
    /// How many rows of one topic are held in memory.
    pub buffer_rows: usize,
    /// About how many bytes of one topic are held in memory; one row more than that at most.
    pub buffer_bytes: usize,
    /// After how long without any answer the broker's client is given up; longer than the client's own time-out.
    pub delivery_timeout_ms: u64,
    /// The longest wait between two attempts after the broker failed.
    pub backoff_max_ms: u64,
    /// How long finished rows are kept; the newest of each key is kept for ever.
    pub retention_s: u64,
    /// How often finished rows are looked through for what can be deleted.
    pub prune_interval_ms: u64,
    /// How long a shutdown waits for what is in flight.
    pub grace_ms: u64,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            kind: RelayKind::Poll,
            poll_interval_ms: 500,
            takeover_interval_ms: 1_000,
            session_timeout_ms: 10_000,
            statement_timeout_ms: 30_000,
            window: 1_000,
            buffer_rows: 4_000,
            buffer_bytes: 16 * 1024 * 1024,
            delivery_timeout_ms: 60_000,
            backoff_max_ms: 10_000,
            retention_s: 7 * 24 * 60 * 60,
            prune_interval_ms: 60_000,
            grace_ms: 5_000,
        }
    }
}

impl RelayConfig {
    /// Checks what the fields' types can't say.
    ///
    /// # Errors
    /// When two settings contradict each other.
    pub(crate) fn validate(&self) -> Result<(), RelayError> {
        let slowest_ms = self.poll_interval_ms.max(self.takeover_interval_ms);
        if self.poll_interval_ms == 0 || self.takeover_interval_ms == 0 || self.statement_timeout_ms == 0 {
            return Err(RelayError::Setup("outbox: intervals and time-outs must be above 0".to_owned()));
        }
        if self.session_timeout_ms < slowest_ms.saturating_mul(2) {
            return Err(RelayError::Setup(format!(
                "outbox: session_timeout_ms = {} ends a healthy leader: it must be at least twice \
                 poll_interval_ms and takeover_interval_ms ({slowest_ms})",
                self.session_timeout_ms
            )));
        }
        if self.window == 0 || self.buffer_rows < self.window || self.buffer_bytes == 0 {
            return Err(RelayError::Setup(
                "outbox: window and buffer_bytes must be above 0, and buffer_rows at least the window"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    pub(crate) const fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.poll_interval_ms)
    }

    pub(crate) const fn takeover_interval(&self) -> Duration {
        Duration::from_millis(self.takeover_interval_ms)
    }

    pub(crate) const fn session_timeout(&self) -> Duration {
        Duration::from_millis(self.session_timeout_ms)
    }

    pub(crate) const fn statement_timeout(&self) -> Duration {
        Duration::from_millis(self.statement_timeout_ms)
    }

    pub(crate) const fn delivery_timeout(&self) -> Duration {
        Duration::from_millis(self.delivery_timeout_ms)
    }

    pub(crate) const fn backoff_max(&self) -> Duration {
        Duration::from_millis(self.backoff_max_ms)
    }

    pub(crate) const fn prune_interval(&self) -> Duration {
        Duration::from_millis(self.prune_interval_ms)
    }

    pub(crate) const fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}
