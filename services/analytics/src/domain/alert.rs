//! Whether a SKU is low, by the events of the stock topic.

use chrono::{DateTime, Utc};

/// A fact about one SKU, which the topic numbers: an old one is known as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StockFact {
    pub sequence: i64,
    pub at: DateTime<Utc>,
    pub available: i64,
    pub threshold: i64,
    /// Whether the level has just fallen below the threshold; otherwise it has risen.
    pub fell_low: bool,
}

/// What is known of one SKU, by the last fact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alert {
    pub sequence: i64,
    pub available: i64,
    pub threshold: i64,
    /// Raised when the level falls below the threshold, and lifted by what brings it back: a replenishment or a release.
    pub raised_at: Option<DateTime<Utc>>,
    pub times_raised: i64,
}

impl Alert {
    /// A fact that is not newer than the last one changes nothing.
    pub fn after(&self, fact: &StockFact) -> Self {
        if fact.sequence <= self.sequence {
            return *self;
        }
        let raised_at = match (fact.fell_low, fact.available < fact.threshold) {
            (true, _) => Some(fact.at),
            (false, true) => self.raised_at,
            (false, false) => None,
        };
        Self {
            sequence: fact.sequence,
            available: fact.available,
            threshold: fact.threshold,
            raised_at,
            times_raised: self.times_raised + i64::from(fact.fell_low),
        }
    }
}
