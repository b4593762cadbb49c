//! Events of `tidings.stock`, from the newest version of every schema in `avro/stock`.
// Generated from avro/ by `make generate`; edits are overwritten.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{AnyEvent, Event};
use crate::topics::Topic;

/// The available units of an article fell below its threshold; once per downward crossing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockLevelLow {
    /// The event's id, a UUIDv7; consumers apply each id once.
    pub event_id: Uuid,
    /// When the fact happened.
    #[serde(with = "chrono::serde::ts_microseconds")]
    pub occurred_at: DateTime<Utc>,
    /// The article concerned; the record's key.
    pub sku: String,
    /// 1, 2, 3, ... within its topic and key; counts published events.
    pub sequence: i64,
    /// Units available after the crossing.
    pub available: i64,
    /// The threshold that was crossed.
    pub threshold: i64,
}

impl Event for StockLevelLow {
    const TYPE: &'static str = "tidings.stock.StockLevelLow";
    const TOPIC: Topic = Topic::Stock;

    fn event_id(&self) -> Uuid {
        self.event_id
    }
    fn occurred_at(&self) -> DateTime<Utc> {
        self.occurred_at
    }
    fn key(&self) -> String {
        self.sku.clone()
    }
    fn sequence(&self) -> i64 {
        self.sequence
    }
    fn into_any(self) -> AnyEvent {
        AnyEvent::StockLevelLow(self)
    }
    fn from_any(any: &AnyEvent) -> Option<&Self> {
        match any {
            AnyEvent::StockLevelLow(event) => Some(event),
            _ => None,
        }
    }
}

/// The available units of an article reached its threshold again by a release; once per such crossing.
/// A replenishment says so itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockLevelRestored {
    /// The event's id, a UUIDv7; consumers apply each id once.
    pub event_id: Uuid,
    /// When the fact happened.
    #[serde(with = "chrono::serde::ts_microseconds")]
    pub occurred_at: DateTime<Utc>,
    /// The article concerned; the record's key.
    pub sku: String,
    /// 1, 2, 3, ... within its topic and key; counts published events.
    pub sequence: i64,
    /// Units available after the crossing.
    pub available: i64,
    /// The threshold that was reached.
    pub threshold: i64,
}

impl Event for StockLevelRestored {
    const TYPE: &'static str = "tidings.stock.StockLevelRestored";
    const TOPIC: Topic = Topic::Stock;

    fn event_id(&self) -> Uuid {
        self.event_id
    }
    fn occurred_at(&self) -> DateTime<Utc> {
        self.occurred_at
    }
    fn key(&self) -> String {
        self.sku.clone()
    }
    fn sequence(&self) -> i64 {
        self.sequence
    }
    fn into_any(self) -> AnyEvent {
        AnyEvent::StockLevelRestored(self)
    }
    fn from_any(any: &AnyEvent) -> Option<&Self> {
        match any {
            AnyEvent::StockLevelRestored(event) => Some(event),
            _ => None,
        }
    }
}

/// Units of an article arrived in stock; every unit came by such an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReplenished {
    /// The event's id, a UUIDv7; consumers apply each id once.
    pub event_id: Uuid,
    /// When the fact happened.
    #[serde(with = "chrono::serde::ts_microseconds")]
    pub occurred_at: DateTime<Utc>,
    /// The article concerned; the record's key.
    pub sku: String,
    /// 1, 2, 3, ... within its topic and key; counts published events.
    pub sequence: i64,
    /// Units that arrived, at least 1.
    pub quantity: i64,
    /// Units available afterwards.
    pub available: i64,
    /// Below this many available units the article is low.
    pub threshold: i64,
}

impl Event for StockReplenished {
    const TYPE: &'static str = "tidings.stock.StockReplenished";
    const TOPIC: Topic = Topic::Stock;

    fn event_id(&self) -> Uuid {
        self.event_id
    }
    fn occurred_at(&self) -> DateTime<Utc> {
        self.occurred_at
    }
    fn key(&self) -> String {
        self.sku.clone()
    }
    fn sequence(&self) -> i64 {
        self.sequence
    }
    fn into_any(self) -> AnyEvent {
        AnyEvent::StockReplenished(self)
    }
    fn from_any(any: &AnyEvent) -> Option<&Self> {
        match any {
            AnyEvent::StockReplenished(event) => Some(event),
            _ => None,
        }
    }
}
