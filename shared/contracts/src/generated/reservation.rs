//! Events of `tidings.reservation`, from the newest version of every schema in `avro/reservation`.
// Generated from avro/ by `make generate`; edits are overwritten.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{AnyEvent, Event};
use crate::topics::Topic;

/// Units of one article held for an order; each article once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservedLine {
    /// The article.
    pub sku: String,
    /// Units, at least 1.
    pub quantity: i64,
}

/// An article of which too little is available.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    /// The article.
    pub sku: String,
    /// Units that the order asks for, summed over its lines.
    pub requested: i64,
    /// Units available when the order was looked at; 0 for an article never stocked.
    pub available: i64,
}

/// Nothing was set aside for the order, because at least one article is short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockRejected {
    /// The event's id, a UUIDv7; consumers apply each id once.
    pub event_id: Uuid,
    /// When the fact happened.
    #[serde(with = "chrono::serde::ts_microseconds")]
    pub occurred_at: DateTime<Utc>,
    /// The order concerned; the record's key.
    pub order_id: Uuid,
    /// 1, 2, 3, ... within its topic and key; counts published events.
    pub sequence: i64,
    /// The articles that are short, each once.
    pub shortages: Vec<Shortage>,
}

impl Event for StockRejected {
    const TYPE: &'static str = "tidings.reservation.StockRejected";
    const TOPIC: Topic = Topic::Reservations;

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
        AnyEvent::StockRejected(self)
    }
    fn from_any(any: &AnyEvent) -> Option<&Self> {
        match any {
            AnyEvent::StockRejected(event) => Some(event),
            _ => None,
        }
    }
}

/// The units set aside for the order are available again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReleased {
    /// The event's id, a UUIDv7; consumers apply each id once.
    pub event_id: Uuid,
    /// When the fact happened.
    #[serde(with = "chrono::serde::ts_microseconds")]
    pub occurred_at: DateTime<Utc>,
    /// The order concerned; the record's key.
    pub order_id: Uuid,
    /// 1, 2, 3, ... within its topic and key; counts published events.
    pub sequence: i64,
    /// The reservation that ended.
    pub reservation_id: Uuid,
    /// What became available again, summed by article.
    pub lines: Vec<ReservedLine>,
}

impl Event for StockReleased {
    const TYPE: &'static str = "tidings.reservation.StockReleased";
    const TOPIC: Topic = Topic::Reservations;

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
        AnyEvent::StockReleased(self)
    }
    fn from_any(any: &AnyEvent) -> Option<&Self> {
        match any {
            AnyEvent::StockReleased(event) => Some(event),
            _ => None,
        }
    }
}

/// All units of the order are set aside for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReserved {
    /// The event's id, a UUIDv7; consumers apply each id once.
    pub event_id: Uuid,
    /// When the fact happened.
    #[serde(with = "chrono::serde::ts_microseconds")]
    pub occurred_at: DateTime<Utc>,
    /// The order concerned; the record's key.
    pub order_id: Uuid,
    /// 1, 2, 3, ... within its topic and key; counts published events.
    pub sequence: i64,
    /// The reservation; StockReleased names the same.
    pub reservation_id: Uuid,
    /// What is set aside, summed by article.
    pub lines: Vec<ReservedLine>,
}

impl Event for StockReserved {
    const TYPE: &'static str = "tidings.reservation.StockReserved";
    const TOPIC: Topic = Topic::Reservations;

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
        AnyEvent::StockReserved(self)
    }
    fn from_any(any: &AnyEvent) -> Option<&Self> {
        match any {
            AnyEvent::StockReserved(event) => Some(event),
            _ => None,
        }
    }
}
