//! What the five databases say: plain rows, so that every comparison is pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use crate::services::ServiceName;

/// All five databases, each at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What every service has: outbox, inbox, positions.
    pub delivery: BTreeMap<ServiceName, Delivery>,
    /// order's stream heads.
    pub orders: Vec<OrderRow>,
    /// inventory's levels.
    pub stock: Vec<StockRow>,
    /// inventory's state of each order.
    pub reservations: Vec<(Uuid, String)>,
    /// payment's state of each order.
    pub payments: Vec<PaymentRow>,
    /// The provider's own books: every approved movement of money.
    pub ledger: Vec<LedgerRow>,
    /// notification's mails: order, kind.
    pub mails: Vec<(Uuid, String)>,
    /// analytics' totals.
    pub analytics: Analytics,
    /// Work that is due and not done: what, and how much.
    pub unfinished: Vec<(&'static str, u64)>,
}

/// A service's side of delivery.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// Rows of its outbox.
    pub outbox: Vec<OutboxRow>,
    /// Keys that its relay has blocked: `topic key (reason): detail`.
    pub blocked_keys: Vec<String>,
    /// Its next offset by full topic name and partition.
    pub positions: HashMap<(String, i32), i64>,
    /// Ids of events that had their effect, or are dead letters.
    pub inbox: HashSet<Uuid>,
    /// Ids below were pruned from the inbox: what became of them can't be seen any more.
    pub inbox_floor: Uuid,
    /// Its dead letters.
    pub dead_letters: Vec<DeadLetterRow>,
}

/// One published or waiting event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its id.
    pub event_id: Uuid,
    /// Full topic name.
    pub topic: String,
    /// Its key.
    pub key: String,
    /// Its number.
    pub sequence: i64,
    /// Whether it is known to be published.
    pub is_published: bool,
}

/// One dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterRow {
    /// Full topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// Offset within it.
    pub offset: i64,
    /// The record's key, as text.
    pub key: String,
    /// The event's id; one that begins with ff was made, because the record's own can't be read.
    pub event_id: Uuid,
    /// Why.
    pub reason: String,
}

/// One order, as order knows it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx_macros::FromRow)]
pub struct OrderRow {
    /// Its id.
    pub order_id: Uuid,
    /// `placed`, `confirmed` or `cancelled`.
    pub status: String,
    /// Why it was cancelled.
    pub reason: Option<String>,
    /// ISO 4217.
    pub currency: String,
    /// What it costs.
    pub total_minor: i64,
    /// How many events it has published.
    pub last_sequence: i64,
}

/// One SKU, as inventory knows it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx_macros::FromRow)]
pub struct StockRow {
    /// The stock code.
    pub sku: String,
    /// Ever given.
    pub replenished: i64,
    /// Free.
    pub available: i64,
    /// Held.
    pub reserved: i64,
    /// Gone.
    pub committed: i64,
}

/// One payment, as payment knows it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx_macros::FromRow)]
pub struct PaymentRow {
    /// Whose.
    pub order_id: Uuid,
    /// Its id.
    pub payment_id: Uuid,
    /// Its state's name.
    pub state: String,
}

/// One approved step in the provider's ledger.
#[derive(Clone, Debug, PartialEq, Eq, sqlx_macros::FromRow)]
pub struct LedgerRow {
    /// For which payment.
    pub payment_id: Uuid,
    /// `authorize`, `check_fraud`, `capture`, `void` or `refund`.
    pub step: String,
    /// How much.
    pub amount_minor: i64,
    /// ISO 4217.
    pub currency: String,
}

/// analytics' read models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Analytics {
    /// How many orders reached which stage.
    pub funnel: BTreeMap<String, i64>,
    /// Confirmed orders by currency: orders, units, minor units of revenue.
    pub revenue: BTreeMap<String, (i64, i64, i64)>,
    /// Confirmed sales by currency and SKU (`GBP TEAPOT`): units, minor units of revenue.
    pub sales: BTreeMap<String, (i64, i64)>,
    /// How often which SKU fell below its threshold.
    pub alerts: BTreeMap<String, i64>,
}

impl Snapshot {
    /// A service's side of delivery; empty if it was not read.
    #[must_use]
    pub fn delivery(&self, service: ServiceName) -> Delivery {
        self.delivery.get(&service).cloned().unwrap_or_default()
    }

    /// Every dead letter, with its service.
    pub fn dead_letters(&self) -> impl Iterator<Item = (ServiceName, &DeadLetterRow)> {
        self.delivery
            .iter()
            .flat_map(|(service, delivery)| delivery.dead_letters.iter().map(move |row| (*service, row)))
    }
}
