//! Events of `tidings.payment`, from the newest version of every schema in `avro/payment`.
// Generated from avro/ by `make generate`; edits are overwritten.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{AnyEvent, Event};
use crate::topics::Topic;

/// The order's total was captured from the customer's payment method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentCompleted {
    /// The event's id, a UUIDv7; consumers apply each id once.
    pub event_id: Uuid,
    /// When the fact happened.
    #[serde(with = "chrono::serde::ts_microseconds")]
    pub occurred_at: DateTime<Utc>,
    /// The order concerned; the record's key.
    pub order_id: Uuid,
    /// 1, 2, 3, ... within its topic and key; counts published events.
    pub sequence: i64,
    /// The payment.
    pub payment_id: Uuid,
    /// The amount in minor units of the currency.
    pub amount_minor: i64,
    /// ISO 4217 code of the amount's currency.
    pub currency: String,
    /// The payment provider's reference of the capture.
    pub transaction_id: String,
}

impl Event for PaymentCompleted {
    const TYPE: &'static str = "tidings.payment.PaymentCompleted";
    const TOPIC: Topic = Topic::Payments;

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
        AnyEvent::PaymentCompleted(self)
    }
    fn from_any(any: &AnyEvent) -> Option<&Self> {
        match any {
            AnyEvent::PaymentCompleted(event) => Some(event),
            _ => None,
        }
    }
}

/// The order was not paid; nothing was captured and no authorization is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentDeclined {
    /// The event's id, a UUIDv7; consumers apply each id once.
    pub event_id: Uuid,
    /// When the fact happened.
    #[serde(with = "chrono::serde::ts_microseconds")]
    pub occurred_at: DateTime<Utc>,
    /// The order concerned; the record's key.
    pub order_id: Uuid,
    /// 1, 2, 3, ... within its topic and key; counts published events.
    pub sequence: i64,
    /// The payment.
    pub payment_id: Uuid,
    /// The amount in minor units of the currency.
    pub amount_minor: i64,
    /// ISO 4217 code of the amount's currency.
    pub currency: String,
    /// Which step refused and why, as a stable code such as authorization_declined.
    pub reason: String,
}

impl Event for PaymentDeclined {
    const TYPE: &'static str = "tidings.payment.PaymentDeclined";
    const TOPIC: Topic = Topic::Payments;

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
        AnyEvent::PaymentDeclined(self)
    }
    fn from_any(any: &AnyEvent) -> Option<&Self> {
        match any {
            AnyEvent::PaymentDeclined(event) => Some(event),
            _ => None,
        }
    }
}

/// What had been captured for a cancelled order went back to the customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefunded {
    /// The event's id, a UUIDv7; consumers apply each id once.
    pub event_id: Uuid,
    /// When the fact happened.
    #[serde(with = "chrono::serde::ts_microseconds")]
    pub occurred_at: DateTime<Utc>,
    /// The order concerned; the record's key.
    pub order_id: Uuid,
    /// 1, 2, 3, ... within its topic and key; counts published events.
    pub sequence: i64,
    /// The payment that was captured before.
    pub payment_id: Uuid,
    /// The refund.
    pub refund_id: Uuid,
    /// The amount given back, in minor units of the currency.
    pub amount_minor: i64,
    /// ISO 4217 code of the amount's currency.
    pub currency: String,
}

impl Event for PaymentRefunded {
    const TYPE: &'static str = "tidings.payment.PaymentRefunded";
    const TOPIC: Topic = Topic::Payments;

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
        AnyEvent::PaymentRefunded(self)
    }
    fn from_any(any: &AnyEvent) -> Option<&Self> {
        match any {
            AnyEvent::PaymentRefunded(event) => Some(event),
            _ => None,
        }
    }
}
