//! A batch of facts being counted: what is known of its orders and SKUs, and what it adds to the counters.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{Alert, OrderFact, OrderId, Refusal, StockFact, Story, Tally};

/// What one transaction has locked, and what it counts.
#[derive(Debug, Default)]
pub struct Counting {
    stories: BTreeMap<OrderId, Story>,
    alerts: BTreeMap<String, Alert>,
    changed_orders: BTreeSet<OrderId>,
    changed_skus: BTreeSet<String>,
    tally: Tally,
}

impl Counting {
    /// Nothing is counted yet.
    #[must_use]
    pub fn new(stories: BTreeMap<OrderId, Story>, alerts: BTreeMap<String, Alert>) -> Self {
        Self { stories, alerts, ..Self::default() }
    }

    /// Counts a fact about an order.
    ///
    /// # Errors
    /// When it contradicts what is known; nothing is changed then.
    pub fn order(&mut self, order_id: OrderId, fact: &OrderFact) -> Result<(), Refusal> {
        let story = self.stories.get(&order_id).unwrap_or(&Story::UNKNOWN);
        let (next, milestones) = story.react(fact)?;
        if next != *story {
            self.stories.insert(order_id, next);
            self.changed_orders.insert(order_id);
        }
        for milestone in &milestones {
            self.tally.count(milestone);
        }
        Ok(())
    }

    /// Notes a fact about a SKU.
    pub fn stock(&mut self, sku: &str, fact: &StockFact) {
        let alert = self.alerts.get(sku).copied().unwrap_or_default();
        let next = alert.after(fact);
        if next != alert {
            self.alerts.insert(sku.to_owned(), next);
            self.changed_skus.insert(sku.to_owned());
        }
    }

    /// The orders whose row has to be stored.
    pub fn changed_orders(&self) -> impl Iterator<Item = (OrderId, &Story)> {
        self.changed_orders.iter().filter_map(|id| self.stories.get(id).map(|story| (*id, story)))
    }

    /// The SKUs whose row has to be stored.
    pub fn changed_alerts(&self) -> impl Iterator<Item = (&str, &Alert)> {
        self.changed_skus.iter().filter_map(|sku| self.alerts.get(sku).map(|alert| (sku.as_str(), alert)))
    }

    /// What is added to the counters.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }
}
