//! A decision in the making: the orders and SKUs that it concerns, and what has happened to them so far.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use contracts::Cause;

use crate::domain::{
    Lines, OrderFact, OrderId, Refusal, Reservation, Sku, StockEvent, StockLevel, Warehouse,
};

/// Something that happened, with why and when.
#[derive(Clone, Debug)]
pub struct Happening {
    /// What happened.
    pub event: StockEvent,
    /// What led to it.
    pub cause: Cause,
    /// When.
    pub at: DateTime<Utc>,
}

/// The state that one transaction has locked, and what it decides with it.
///
/// Invariant: whatever is announced about an order or a SKU gets its sequence from that aggregate's row, which this
/// transaction holds locked.
#[derive(Debug, Default)]
pub struct Fulfilment {
    warehouse: Warehouse,
    happenings: Vec<Happening>,
    changed_orders: BTreeSet<OrderId>,
    changed_skus: BTreeSet<Sku>,
}

impl Fulfilment {
    /// Nothing has happened yet to `warehouse`.
    #[must_use]
    pub fn new(warehouse: Warehouse) -> Self {
        Self { warehouse, ..Self::default() }
    }

    /// Applies a fact about an order.
    ///
    /// # Errors
    /// When the rules refuse it; nothing is changed then.
    pub fn apply(
        &mut self,
        order_id: OrderId,
        fact: &OrderFact,
        cause: &Cause,
        at: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        let events = self.warehouse.react(order_id, fact)?;
        self.record(events, cause, at)
    }

    /// Adds units of a SKU.
    ///
    /// # Errors
    /// When quantity or threshold is out of range; nothing is changed then.
    pub fn replenish(
        &mut self,
        sku: &Sku,
        quantity: i64,
        reorder_threshold: Option<i64>,
        default_threshold: i64,
        cause: &Cause,
        at: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        let events = self.warehouse.replenish(sku, quantity, reorder_threshold, default_threshold)?;
        self.record(events, cause, at)
    }

    fn record(&mut self, events: Vec<StockEvent>, cause: &Cause, at: DateTime<Utc>) -> Result<(), Refusal> {
        for event in events {
            self.warehouse.evolve(&event)?;
            match &event {
                StockEvent::Reserved { order_id, lines, .. }
                | StockEvent::Committed { order_id, lines }
                | StockEvent::Released { order_id, lines, .. } => self.mark(*order_id, Some(lines)),
                StockEvent::Rejected { order_id, .. } | StockEvent::CancelledBeforePlaced { order_id } => {
                    self.mark(*order_id, None);
                }
                StockEvent::Replenished { sku, .. } | StockEvent::FellLow { sku, .. } => {
                    self.changed_skus.insert(sku.clone());
                }
            }
            self.happenings.push(Happening { event, cause: cause.clone(), at });
        }
        Ok(())
    }

    fn mark(&mut self, order_id: OrderId, lines: Option<&Lines>) {
        self.changed_orders.insert(order_id);
        self.changed_skus.extend(lines.into_iter().flat_map(Lines::iter).map(|(sku, _)| sku.clone()));
    }

    /// What has happened, in order.
    #[must_use]
    pub fn happenings(&self) -> &[Happening] {
        &self.happenings
    }

    /// The level of a SKU now.
    #[must_use]
    pub fn level(&self, sku: &Sku) -> Option<&StockLevel> {
        self.warehouse.shelves.get(sku)
    }

    /// The orders whose row has to be stored.
    #[must_use]
    pub fn changed_orders(&self) -> BTreeMap<OrderId, &Reservation> {
        let known = |id: &OrderId| self.warehouse.reservations.get(id).map(|reservation| (*id, reservation));
        self.changed_orders.iter().filter_map(known).collect()
    }

    /// The SKUs whose row has to be stored.
    #[must_use]
    pub fn changed_levels(&self) -> BTreeMap<&Sku, &StockLevel> {
        let known = |sku| self.warehouse.shelves.get(sku).map(|level| (sku, level));
        self.changed_skus.iter().filter_map(known).collect()
    }
}
