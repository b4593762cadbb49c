//! Idempotency keys: a request places at most one order, and is answered the same however often it is sent.

use serde_json::Value;

use crate::domain::{CustomerId, OrderId};

/// A customer's key for one request.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomerKey {
    /// Whose key: others may use the same.
    pub customer_id: CustomerId,
    /// The key.
    pub key: String,
    /// The parsed request: the same key must come with the same.
    pub request: Value,
}

/// An answer as it was given, to the byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status_code: u16,
    /// The header `ETag`.
    pub etag: String,
    /// The body.
    pub body: String,
}

/// What became of a request to place an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceOutcome {
    /// A new order.
    Placed,
    /// The key has placed this order before; the answer is the one given then.
    Replayed {
        /// The order.
        order_id: OrderId,
        /// The stored answer.
        answer: Answer,
    },
    /// The key has placed an order by another request.
    KeyReused,
}
