//! How a relay is configured: the section `[outbox]` of a service's configuration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::RelayError;

/// Which relay publishes the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayKind {
    /// Polls unpublished messages: needs nothing but the table.
    #[default]
    Poll,
    /// Reads the write-ahead log by logical replication: needs `wal_level = logical`, a replication slot and a role with
    /// REPLICATION.
    Wal,
}

/// The relay's settings. The defaults are meant to be kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelayConfig {
    /// The kind of relay.
    pub relay: RelayKind,
    /// Interval at which the table is read when no commit wakes the relay.
    pub poll_interval_ms: u64,
    /// Interval at which a replica that does not lead tries to take the lead.
    pub takeover_interval_ms: u64,
    /// Idle time after which the database ends the leader's session, so that a frozen leader loses its lock.
    pub idle_session_timeout_ms: u64,
    /// Time limit of a statement of the relay.
    pub statement_timeout_ms: u64,
    /// Maximum number of unacknowledged records per topic. Each partition has its share of it, and of the buffer, so that a
    /// partition that accepts no records does not use up the others' shares.
    pub max_in_flight_records: usize,
    /// Maximum number of messages per topic in memory.
    pub buffer_messages: usize,
    /// Approximate maximum of bytes per topic in memory; at most one message per partition more.
    pub buffer_bytes: usize,
    /// Time without an acknowledgement after which a partition with unacknowledged records is stalled. If all such
    /// partitions stay stalled for as long again although they have leaders, the broker's client is replaced. Must exceed
    /// the client's own time-out.
    pub delivery_timeout_ms: u64,
    /// Maximum pause between two attempts after the broker failed.
    pub backoff_max_ms: u64,
    /// First pause before a record that the broker rejected is retried; it doubles with each rejection, with jitter.
    pub refused_retry_ms: u64,
    /// Maximum pause before a rejected record is retried.
    pub refused_retry_max_ms: u64,
    /// Minimum time that messages are kept after they were appended. Published ones are dropped with their table partition,
    /// a million at a time.
    pub retention_ms: u64,
    /// Interval at which table partitions are created and dropped.
    pub maintenance_interval_ms: u64,
    /// Time limit of a shutdown for records in flight.
    pub shutdown_grace_ms: u64,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            relay: RelayKind::Poll,
            poll_interval_ms: 2_000,
            takeover_interval_ms: 1_000,
            idle_session_timeout_ms: 10_000,
            statement_timeout_ms: 8_000,
            max_in_flight_records: 4_000,
            buffer_messages: 8_000,
            buffer_bytes: 16 * 1024 * 1024,
            delivery_timeout_ms: 60_000,
            backoff_max_ms: 10_000,
            refused_retry_ms: 60_000,
            refused_retry_max_ms: 15 * 60_000,
            retention_ms: 7 * 24 * 60 * 60 * 1_000,
            maintenance_interval_ms: 60_000,
            shutdown_grace_ms: 5_000,
        }
    }
}

impl RelayConfig {
    /// Checks what the fields' types can't express.
    ///
    /// # Errors
    /// When two settings contradict each other.
    pub(crate) fn validate(&self) -> Result<(), RelayError> {
        let slowest_ms = self.poll_interval_ms.max(self.takeover_interval_ms);
        let bounds = [
            self.poll_interval_ms,
            self.takeover_interval_ms,
            self.statement_timeout_ms,
            self.maintenance_interval_ms,
            self.refused_retry_ms,
            self.refused_retry_max_ms,
        ];
        if bounds.contains(&0) {
            return Err(RelayError::Setup("outbox: intervals and time-outs must be above 0".to_owned()));
        }
        if self.idle_session_timeout_ms < slowest_ms.saturating_mul(2) {
            return Err(RelayError::Setup(format!(
                "outbox: idle_session_timeout_ms = {} ends a healthy leader: it must be at least twice \
                 poll_interval_ms and takeover_interval_ms ({slowest_ms})",
                self.idle_session_timeout_ms
            )));
        }
        if self.max_in_flight_records == 0
            || self.buffer_messages < self.max_in_flight_records
            || self.buffer_bytes == 0
        {
            return Err(RelayError::Setup(
                "outbox: max_in_flight_records and buffer_bytes must be above 0, and buffer_messages at least max_in_flight_records"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Into how many shares a topic's window and buffer are divided: one per partition, none of them empty.
    pub(crate) fn shares(&self, partitions: i32) -> usize {
        usize::try_from(partitions).unwrap_or_default().clamp(1, self.max_in_flight_records)
    }

    pub(crate) const fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.poll_interval_ms)
    }

    pub(crate) const fn takeover_interval(&self) -> Duration {
        Duration::from_millis(self.takeover_interval_ms)
    }

    pub(crate) const fn idle_session_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_session_timeout_ms)
    }

    pub(crate) const fn statement_timeout(&self) -> Duration {
        Duration::from_millis(self.statement_timeout_ms)
    }

    /// How long the answer to a statement may take: the server's bound, and half as long for the way.
    pub(crate) const fn answer_timeout(&self) -> Duration {
        Duration::from_millis(self.statement_timeout_ms * 3 / 2)
    }

    pub(crate) const fn delivery_timeout(&self) -> Duration {
        Duration::from_millis(self.delivery_timeout_ms)
    }

    pub(crate) const fn backoff_max(&self) -> Duration {
        Duration::from_millis(self.backoff_max_ms)
    }

    pub(crate) const fn refused_retry(&self) -> Duration {
        Duration::from_millis(self.refused_retry_ms)
    }

    pub(crate) const fn refused_retry_max(&self) -> Duration {
        Duration::from_millis(self.refused_retry_max_ms)
    }

    pub(crate) const fn maintenance_interval(&self) -> Duration {
        Duration::from_millis(self.maintenance_interval_ms)
    }

    pub(crate) const fn shutdown_grace(&self) -> Duration {
        Duration::from_millis(self.shutdown_grace_ms)
    }
}
