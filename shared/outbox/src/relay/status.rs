//! What a relay is doing, for health checks.

use std::sync::{Arc, Mutex, PoisonError};

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
    /// It can't lead: its database does not serve it, or another relay reaches more of the broker. Rows that nobody publishes
    /// wait, and none is lost.
    Retrying {
        /// Why not.
        error: String,
    },
    /// It was asked to stop.
    Stopped,
}

/// Shared between a relay and whoever asks. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RelayStatus(Arc<Mutex<RelayState>>);

impl RelayStatus {
    /// What the relay is doing now.
    #[must_use]
    pub fn state(&self) -> RelayState {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, state: RelayState) {
        metrics::gauge!("outbox_relay_leader").set(if state == RelayState::Leading { 1.0 } else { 0.0 });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}
