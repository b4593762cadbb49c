//! What a relay is doing, for health checks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a relay is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RelayState {
    /// It has not asked the database yet.
    #[default]
    Starting,
    /// It publishes.
    Leading,
    /// Another replica publishes; this one takes over when that one ends.
    StandingBy,
    /// It can't lead: its database does not serve it, or another relay reaches more of the broker. Rows are not
    /// lost: they wait for a relay that publishes.
    Retrying {
        /// Why not.
        error: String,
    },
    /// It was asked to stop.
    Stopped,
}

/// Shared between a relay and the health checks. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RelayStatus(Arc<Mutex<Current>>);

#[derive(Debug, Default)]
struct Current {
    state: RelayState,
    stalled: usize,
}

impl RelayStatus {
    /// What the relay is doing now.
    #[must_use]
    pub fn state(&self) -> RelayState {
        self.lock().state.clone()
    }

    /// So many partitions (or topics, whose partitions are unknown) have messages that the leader could not publish for a while.
    #[must_use]
    pub fn stalled(&self) -> usize {
        self.lock().stalled
    }

    pub(crate) fn set_stalled(&self, stalled: usize) {
        self.lock().stalled = stalled;
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, state: RelayState) {
        metrics::gauge!("outbox_relay_leader").set(if state == RelayState::Leading { 1.0 } else { 0.0 });
        *self.lock() = Current { state, stalled: 0 };
    }
}
