//! The relay as the suite runs it.

use std::sync::Arc;

use database::Database;
use messaging::Bus;
use outbox::internal::Failpoints;
use outbox::{Outbox, Relay, RelayConfig, RelayKind};

/// What the suite runs a scenario with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Poll,
    Wal,
    Debezium,
}

tokio::task_local! {
    /// The kind of relay that the suite runs a scenario with.
    pub(crate) static KIND: Kind;
}

/// The kind of relay of this test: polling, unless the suite says otherwise.
pub(crate) fn kind() -> Kind {
    KIND.try_with(|kind| *kind).unwrap_or_default()
}

/// A relay's settings in tests, and how it reads.
#[derive(Clone)]
pub(crate) struct Poll(pub(crate) RelayConfig, pub(crate) Reads);

/// How a relay reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// As it does outside tests: whole pages where nearly all of them will be taken, which is so in most tests.
    AsItDoes,
    /// Always in two steps: ids, then the chosen rows.
    ById,
}

impl Reads {
    pub(crate) const BOTH: [Self; 2] = [Self::AsItDoes, Self::ById];

    /// How the relay of this test can read: Debezium only as it does.
    pub(crate) fn all() -> &'static [Self] {
        match kind() {
            Kind::Poll | Kind::Wal => &Self::BOTH,
            Kind::Debezium => &[Self::AsItDoes],
        }
    }
}

impl Default for Poll {
    /// Short times, so that faults pass quickly; they change no behaviour. Not the session's: its end repeats rows, and a
    /// busy machine may well be silent for a second.
    fn default() -> Self {
        let config = RelayConfig {
            relay: if kind() == Kind::Wal { RelayKind::Wal } else { RelayKind::Poll },
            poll_interval_ms: 50,
            takeover_interval_ms: 50,
            idle_session_timeout_ms: 10_000,
            backoff_max_ms: 100,
            ..RelayConfig::default()
        };
        Self(config, Reads::AsItDoes)
    }
}

impl Poll {
    /// The same settings for a relay that reads the write-ahead log.
    pub(crate) fn wal() -> Self {
        let Self(config, reads) = Self::default();
        Self(RelayConfig { relay: RelayKind::Wal, ..config }, reads)
    }

    pub(crate) fn reading(self, reads: Reads) -> Self {
        Self(self.0, reads)
    }

    /// A relay of `outbox` in `database`, which calls `failpoints` at its steps.
    pub(crate) fn relay(
        &self,
        database: &Database,
        outbox: &Outbox,
        bus: Arc<dyn Bus>,
        failpoints: Option<Arc<dyn Failpoints>>,
    ) -> Relay {
        let relay = Relay::try_new(database.clone(), outbox, bus, self.0.clone()).unwrap();
        let relay = match self.1 {
            Reads::AsItDoes => relay,
            Reads::ById => relay.with_reads_by_id(),
        };
        match failpoints {
            Some(failpoints) => relay.with_failpoints(failpoints),
            None => relay,
        }
    }
}
