//! Events of `tidings.order`, from the newest version of every schema in `avro/order`.
// Generated from avro/ by `make generate`; edits are overwritten.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{AnyEvent, Event};
use crate::topics::Topic;

/// Why an order was cancelled; a reader meets reasons newer than itself as UNKNOWN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CancellationReason {
    /// `UNKNOWN`
    #[serde(rename = "UNKNOWN")]
    Unknown,
    /// `out_of_stock`
    #[serde(rename = "out_of_stock")]
    OutOfStock,
    /// `payment_declined`
    #[serde(rename = "payment_declined")]
    PaymentDeclined,
    /// `customer_request`
    #[serde(rename = "customer_request")]
    CustomerRequest,
    /// `timed_out`
    #[serde(rename = "timed_out")]
    TimedOut,
}

/// Where the goods go.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Street and house number.
    pub street: String,
    /// City or town.
    pub city: String,
    /// Postal code, as the country writes it.
    pub postal_code: String,
    /// Country, as the customer gave it.
    pub country: String,
}

/// Without what is personal or secret.
impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address").finish_non_exhaustive()
    }
}

/// One line of an order, as the cart quoted it; a SKU may repeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    /// The article ordered.
    pub sku: String,
    /// Units ordered, at least 1.
    pub quantity: i64,
    /// Price of one unit in minor units of the order's currency.
    pub unit_price_minor: i64,
}

/// Who receives the goods; the only personal data in any event.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The recipient's name.
    pub name: String,
    /// Where notifications go.
    pub email: String,
    /// Where the goods go.
    pub address: Address,
}

/// Without what is personal or secret.
impl std::fmt::Debug for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recipient").finish_non_exhaustive()
    }
}

/// The order reached its other end: its stock and its money are to be given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancelled {
    /// The event's id, a UUIDv7; consumers apply each id once.
    pub event_id: Uuid,
    /// When the fact happened.
    #[serde(with = "chrono::serde::ts_microseconds")]
    pub occurred_at: DateTime<Utc>,
    /// The order concerned; the record's key.
    pub order_id: Uuid,
    /// 1, 2, 3, ... within its topic and key; counts published events.
    pub sequence: i64,
    /// Why the order was cancelled.
    pub reason: CancellationReason,
    /// The reason in words, where there is more to say.
    pub detail: Option<String>,
}

impl Event for OrderCancelled {
    const TYPE: &'static str = "tidings.order.OrderCancelled";
    const TOPIC: Topic = Topic::Orders;

    fn event_id(&self) -> Uuid {
        self.event_id
    }
    fn occurred_at(&self) -> DateTime<Utc> {
        self.occurred_at
    }
    fn key(&self) -> String {
        self.order_id.to_string()
    }
    fn sequence(&self) -> i64 {
        self.sequence
    }
    fn into_any(self) -> AnyEvent {
        AnyEvent::OrderCancelled(self)
    }
    fn from_any(any: &AnyEvent) -> Option<&Self> {
        match any {
            AnyEvent::OrderCancelled(event) => Some(event),
            _ => None,
        }
    }
}

/// The order reached its good end: its stock is reserved and its payment captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderConfirmed {
    /// The event's id, a UUIDv7; consumers apply each id once.
    pub event_id: Uuid,
    /// When the fact happened.
    #[serde(with = "chrono::serde::ts_microseconds")]
    pub occurred_at: DateTime<Utc>,
    /// The order concerned; the record's key.
    pub order_id: Uuid,
    /// 1, 2, 3, ... within its topic and key; counts published events.
    pub sequence: i64,
    /// The payment that paid for the order.
    pub payment_id: Uuid,
}

impl Event for OrderConfirmed {
    const TYPE: &'static str = "tidings.order.OrderConfirmed";
    const TOPIC: Topic = Topic::Orders;

    fn event_id(&self) -> Uuid {
        self.event_id
    }
    fn occurred_at(&self) -> DateTime<Utc> {
        self.occurred_at
    }
    fn key(&self) -> String {
        self.order_id.to_string()
    }
    fn sequence(&self) -> i64 {
        self.sequence
    }
    fn into_any(self) -> AnyEvent {
        AnyEvent::OrderConfirmed(self)
    }
    fn from_any(any: &AnyEvent) -> Option<&Self> {
        match any {
            AnyEvent::OrderConfirmed(event) => Some(event),
            _ => None,
        }
    }
}

/// A customer's order was accepted; carries all that others need to know of it (event-carried state).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPlaced {
    /// The event's id, a UUIDv7; consumers apply each id once.
    pub event_id: Uuid,
    /// When the fact happened.
    #[serde(with = "chrono::serde::ts_microseconds")]
    pub occurred_at: DateTime<Utc>,
    /// The order concerned; the record's key.
    pub order_id: Uuid,
    /// 1, 2, 3, ... within its topic and key; counts published events.
    pub sequence: i64,
    /// Who ordered: the customer's id in the shop.
    pub customer_id: String,
    /// What was ordered, in the cart's order.
    pub lines: Vec<OrderLine>,
    /// Sum of quantity times unit price over all lines, in minor units.
    pub total_minor: i64,
    /// Token of the payment method, as the payment provider issued it.
    pub payment_method: String,
    /// Who receives the goods, where known.
    pub recipient: Option<Recipient>,
    /// ISO 4217 code of all amounts' currency; orders written before this field existed are in USD.
    pub currency: String,
}

/// Without what is personal or secret.
impl std::fmt::Debug for OrderPlaced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OrderPlaced")
            .field("event_id", &self.event_id)
            .field("occurred_at", &self.occurred_at)
            .field("order_id", &self.order_id)
            .field("sequence", &self.sequence)
            .field("customer_id", &self.customer_id)
            .field("lines", &self.lines)
            .field("total_minor", &self.total_minor)
            .field("recipient", &self.recipient)
            .field("currency", &self.currency)
            .finish_non_exhaustive()
    }
}

impl Event for OrderPlaced {
    const TYPE: &'static str = "tidings.order.OrderPlaced";
    const TOPIC: Topic = Topic::Orders;

    fn event_id(&self) -> Uuid {
        self.event_id
    }
    fn occurred_at(&self) -> DateTime<Utc> {
        self.occurred_at
    }
    fn key(&self) -> String {
        self.order_id.to_string()
    }
    fn sequence(&self) -> i64 {
        self.sequence
    }
    fn into_any(self) -> AnyEvent {
        AnyEvent::OrderPlaced(self)
    }
    fn from_any(any: &AnyEvent) -> Option<&Self> {
        match any {
            AnyEvent::OrderPlaced(event) => Some(event),
            _ => None,
        }
    }
}
