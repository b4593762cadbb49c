//! What a handler of domain events is told.

use chrono::{DateTime, Utc};
use contracts::Cause;
use uuid::Uuid;

use super::stream::Stream;
use crate::domain::{OrderEvent, OrderId};

/// A domain event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Whose stream.
    pub order_id: OrderId,
    /// Its place in the stream: 1, 2, 3, ...
    pub version: i64,
    /// Its id; an integration event made of it bears the same.
    pub event_id: Uuid,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// What happened.
    pub event: OrderEvent,
    /// Why: the request or event that led to it.
    pub cause: Cause,
}

/// Told of every domain event, in order, in the transaction that stores it. Gathers rows in memory, so that the
/// adapter writes them set-based.
pub trait DomainEventHandler {
    /// `recorded` has just happened; `stream` already stands after it.
    fn handle(&mut self, recorded: &Recorded, stream: &mut Stream);
}
