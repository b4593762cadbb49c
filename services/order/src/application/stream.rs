//! An order's event stream: its head, which is one locked row, and the events recorded in it.

use chrono::{DateTime, Utc};
use contracts::{Cause, TraceContext};
use uuid::Uuid;

use crate::domain::{CustomerId, Order, OrderEvent, OrderId};

/// What ties all that happens to an order together, whoever causes it: born with the request that placed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correlation {
    /// The correlation id of everything that follows from the order.
    pub correlation_id: Uuid,
    /// The trace in which it was placed.
    pub trace: TraceContext,
}

impl Correlation {
    /// The cause of what happens by itself, such as a deadline.
    pub fn as_cause(&self) -> Cause {
        Cause {
            correlation_id: self.correlation_id,
            causation_id: None,
            user_id: None,
            trace: self.trace.clone(),
        }
    }
}

/// The head of a stream. Its counters are read under the row's lock, before anything is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    /// What its events are correlated by.
    pub correlation: Correlation,
    /// How many events the stream has.
    pub version: i64,
    /// How many integration events were published under this key.
    pub last_sequence: i64,
    /// The last message under this key before this transaction.
    pub last_message_id: Option<i64>,
    /// When the last event happened; later events never happen earlier, whatever a replica's clock says.
    pub updated_at: DateTime<Utc>,
    pub order: Order,
}

/// A domain event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub order_id: OrderId,
    /// Its place in the stream: 1, 2, 3, ...
    pub version: i64,
    pub occurred_at: DateTime<Utc>,
    pub event: OrderEvent,
    /// Why: the request or event that led to it.
    pub cause: Cause,
}

impl Stream {
    pub const fn new(
        order_id: OrderId,
        customer_id: CustomerId,
        correlation: Correlation,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            order_id,
            customer_id,
            correlation,
            version: 0,
            last_sequence: 0,
            last_message_id: None,
            updated_at: now,
            order: Order::Unplaced,
        }
    }
}
