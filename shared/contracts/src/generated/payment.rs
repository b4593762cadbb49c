//! Events of `tidings.payment`.
#![allow(missing_docs)]

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::{AnyEvent, Event};
use crate::topics::Topic;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentCompleted {
    pub event_id: Uuid,
    pub occurred_at: DateTime<Utc>,
    pub order_id: Uuid,
    pub sequence: i64,
    pub payment_id: Uuid,
    pub amount_minor: i64,
    pub currency: String,
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentDeclined {
    pub event_id: Uuid,
    pub occurred_at: DateTime<Utc>,
    pub order_id: Uuid,
    pub sequence: i64,
    pub payment_id: Uuid,
    pub amount_minor: i64,
    pub currency: String,
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefunded {
    pub event_id: Uuid,
    pub occurred_at: DateTime<Utc>,
    pub order_id: Uuid,
    pub sequence: i64,
    pub payment_id: Uuid,
    pub refund_id: Uuid,
    pub amount_minor: i64,
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
