//! Events of `tidings.stock`.
#![allow(missing_docs)]

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::{AnyEvent, Event};
use crate::topics::Topic;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReplenished {
    pub event_id: Uuid,
    pub occurred_at: DateTime<Utc>,
    pub sku: String,
    pub sequence: i64,
    pub quantity: i64,
    pub available: i64,
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockLevelLow {
    pub event_id: Uuid,
    pub occurred_at: DateTime<Utc>,
    pub sku: String,
    pub sequence: i64,
    pub available: i64,
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
