//! Whether a SKU is low, as far as the stock topic tells.

use chrono::{DateTime, Utc};

/// A fact about one SKU. The topic numbers them, so that an old one is known as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StockFact {
    /// The SKU's sequence.
    pub sequence: i64,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// Units available since.
    pub available: i64,
    /// The SKU's reorder threshold.
    pub threshold: i64,
    /// Whether the level has just fallen below the threshold; otherwise units came.
    pub fell_low: bool,
}

/// What is known of one SKU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alert {
    /// The last fact taken.
    pub sequence: i64,
    /// Units available then.
    pub available: i64,
    /// The reorder threshold then.
    pub threshold: i64,
    /// Since when the alert stands, if it does. It is raised when the level falls below the threshold, and lifted by
    /// a replenishment that reaches it.
    pub raised_at: Option<DateTime<Utc>>,
    /// How often it was raised.
    pub times_raised: i64,
}

impl Alert {
    /// What is known after `fact`; nothing new, if the fact is not newer than the last one taken.
    #[must_use]
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
