//! One topic per aggregate, under a prefix that deployments choose.

use std::fmt;

/// The partitions of every business topic: topics with the same key must always have the same count.
pub const PARTITIONS: i32 = 6;

/// A business topic, apart from the prefix under which a deployment keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Key: order id. `OrderPlaced`, `OrderConfirmed`, `OrderCancelled`.
    Orders,
    /// Key: order id. `StockReserved`, `StockRejected`, `StockReleased`.
    Reservations,
    /// Key: order id. `PaymentCompleted`, `PaymentDeclined`, `PaymentRefunded`.
    Payments,
    /// Key: SKU. `StockReplenished`, `StockLevelLow`, `StockLevelRestored`.
    Stock,
}

impl Topic {
    /// Every business topic.
    pub const ALL: [Self; 4] = [Self::Orders, Self::Reservations, Self::Payments, Self::Stock];

    /// The name without the prefix.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Reservations => "reservations",
            Self::Payments => "payments",
            Self::Stock => "stock",
        }
    }
}

/// The topic names of one deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    prefix: String,
}

impl Topics {
    /// Topics under `prefix`, `tidings` unless a deployment says otherwise.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    /// The full name, such as `tidings.orders`.
    pub fn name(&self, topic: Topic) -> String {
        format!("{}.{}", self.prefix, topic.suffix())
    }

    /// The topic that bears this full name, if it is one of ours.
    pub fn parse(&self, name: &str) -> Option<Topic> {
        let suffix = name.strip_prefix(&self.prefix)?.strip_prefix('.')?;
        Topic::ALL.into_iter().find(|topic| topic.suffix() == suffix)
    }
}

impl Default for Topics {
    fn default() -> Self {
        Self::new("tidings")
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.suffix())
    }
}
