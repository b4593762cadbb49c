//! Idempotency keys: a request places at most one order, and is answered the same however often it is sent.

use std::fmt;
use std::sync::Arc;

use crate::domain::{CustomerId, OrderId, Placement};

/// A customer's key for one request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CustomerKey {
    /// Whose key: others may use the same.
    pub customer_id: CustomerId,
    pub key: String,
}

/// An answer as it was given, to the byte. Its body has personal data, and is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    pub status_code: u16,
    pub etag: String,
    pub body: String,
}

/// A request whose order is decided and its answer written, but not yet stored.
#[derive(Clone, Debug)]
pub struct Placing<P> {
    pub key: CustomerKey,
    pub order_id: OrderId,
    /// The parsed request: the same key must come with the same, also through another release.
    pub request: Arc<Placement>,
    pub answer: Answer,
    pub prepared: P,
}

/// What became of a request to place an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceOutcome {
    /// A new order.
    Placed,
    /// The key has placed this order before; the answer is the one given then.
    Replayed { order_id: OrderId, answer: Answer },
    /// The key has placed an order by another request.
    KeyReused,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status_code, etag, body: _ } = self;
        f.debug_struct("Answer").field("status_code", status_code).field("etag", etag).finish_non_exhaustive()
    }
}
